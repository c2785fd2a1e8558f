#!/bin/sh
# Prints where nginx and haproxy are, which T37 of docs/faults.md puts before replicas, a line each. What is on this machine
# is taken; what is not is downloaded by apt-get and unpacked into target/tools/proxies, without being installed and without
# root, and said on stderr. Without one of them its tests are skipped, and say so; nothing else needs them. (Envoy is a
# package of Python, which the tests install by themselves.)
#
# ROLLCALL_NO_INSTALL=1 forbids the download: then the command is printed and the exit status is 1.
#
# The places are those that tests/it/faults/proxies/programs.rs searches.
set -eu

own=$(cd "$(dirname "$0")/.." && pwd)/target/tools/proxies

say() { echo "proxies.sh: $*" >&2; }

find_program() {
    for place in /usr/sbin /usr/local/sbin /usr/bin /usr/local/bin "$own/usr/sbin"; do
        if [ -x "$place/$1" ]; then
            echo "$place/$1"
            return
        fi
    done
    return 1
}

missing=
for name in nginx haproxy; do
    find_program "$name" || missing="$missing $name"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    say "there is no$missing, and no apt-get to get them with"
    exit 1
fi
if [ "${ROLLCALL_NO_INSTALL:-}" = 1 ]; then
    say "there is no$missing; as root, run: apt-get install -y --no-install-recommends$missing"
    exit 1
fi

# They come with the libraries that are not on this machine: what an installation would install is downloaded. The names are
# split into words on purpose.
packages() {
    apt-get install --simulate --no-install-recommends $missing | awk '$1 == "Inst" { print $2 }'
}

# Beside the place where they are looked for: what was cut short is never found there.
work=$own.$$
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/packages"
if [ -d "$own" ]; then
    cp -R "$own/." "$work"
fi
fetch() {
    say "downloading:" $(packages)
    (cd "$work/packages" && apt-get download $(packages) >&2)
}
if ! fetch; then
    # Lists that are missing or too old are the usual reason. Reading them anew needs root.
    say "running: apt-get update"
    apt-get update >&2
    fetch
fi
for package in "$work"/packages/*.deb; do
    dpkg -x "$package" "$work"
done
rm -rf "$work/packages" "$own"
mv "$work" "$own"
for name in $missing; do
    find_program "$name"
done
