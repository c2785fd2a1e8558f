#!/bin/sh
# Looks with cargo-deny at what Rollcall is built from, by deny.toml: licences, sources, what is kept out, advisories.
#
# cargo-deny is the one on the search path, or else one that cargo installs into target/tools: some minutes, once.
# ROLLCALL_NO_INSTALL=1 forbids that. Advisories need their database, from GitHub: where it cannot be had they are left out,
# which is said, unless ROLLCALL_REQUIRE_ADVISORIES=1: then it is a failure.
set -eu

pinned=0.20.2

say() { echo "deny.sh: $*" >&2; }

root=$(cd "$(dirname "$0")/.." && pwd)
tools=$root/target/tools
if command -v cargo-deny >/dev/null; then
    deny=cargo-deny
elif [ -x "$tools/bin/cargo-deny" ]; then
    deny=$tools/bin/cargo-deny
elif [ "${ROLLCALL_NO_INSTALL:-}" = 1 ]; then
    say "there is no cargo-deny; run: cargo install cargo-deny --locked --version $pinned"
    exit 1
else
    say "installing cargo-deny $pinned by cargo into $tools"
    # A target of its own: what the checkout has built is not for it.
    CARGO_TARGET_DIR=$tools/cargo-deny.target cargo install cargo-deny --locked --version "$pinned" --root "$tools" >&2
    rm -rf "$tools/cargo-deny.target"
    deny=$tools/bin/cargo-deny
fi

cd "$root"
what='bans licenses sources'
if "$deny" --locked fetch db >/dev/null 2>&1; then
    what="$what advisories"
elif [ "${ROLLCALL_REQUIRE_ADVISORIES:-}" = 1 ]; then
    say "the database of advisories cannot be had"
    exit 1
else
    say "advisories are left out: their database cannot be had"
fi
# Split into words on purpose.
"$deny" --locked check $what
