#!/bin/sh
# Prints the path of buf, which checks the API definitions: the one on the search path, or else a pinned one
# that npm installs into target/tools of this checkout and nowhere else.
set -eu

pinned=1.75.0

say() { echo "buf.sh: $*" >&2; }

if command -v buf; then
    exit 0
fi

tools=$(cd "$(dirname "$0")/.." && pwd)/target/tools
buf=$tools/node_modules/.bin/buf
# The file says which version is complete, so that a changed pin and a broken installation are noticed.
if [ -x "$buf" ] && [ "$(cat "$tools/buf.version" 2>/dev/null)" = "$pinned" ]; then
    echo "$buf"
    exit 0
fi

if ! command -v npm >/dev/null; then
    say "there is neither buf on the search path nor npm to install it with; install one of them"
    exit 1
fi

say "installing @bufbuild/buf $pinned by npm into $tools"
mkdir -p "$tools"
if ! npm install --prefix "$tools" --no-save --no-package-lock --no-audit --no-fund \
    "@bufbuild/buf@$pinned" >&2; then
    say "npm could not install @bufbuild/buf $pinned; its reason is above"
    exit 1
fi
echo "$pinned" >"$tools/buf.version"
echo "$buf"
