#!/bin/sh
# Prints where libfaketime is, with which a test gives a program another clock than that of the machine (T18 of
# docs/faults.md), and installs it first when it is nowhere: by apt-get or dnf, saying on stderr what it does. Without
# it those tests are skipped, and say so; nothing else needs it.
#
# ROLLCALL_NO_INSTALL=1 forbids the installation: then the command is printed and the exit status is 1.
#
# The places are those that tests/it/faults/clocks.rs searches.
set -eu

say() { echo "faketime.sh: $*" >&2; }

find_library() {
    for found in /usr/lib/*/faketime/libfaketime.so.1 /usr/lib64/faketime/libfaketime.so.1; do
        if [ -e "$found" ]; then
            echo "$found"
            return
        fi
    done
    return 1
}

find_library && exit 0

if command -v apt-get >/dev/null; then
    install='apt-get install -y --no-install-recommends libfaketime' refresh='apt-get update'
elif command -v dnf >/dev/null; then
    install='dnf install -y libfaketime' refresh='dnf makecache'
else
    say "there is no libfaketime, and neither apt-get nor dnf to install it with"
    exit 1
fi
sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
fi
if [ "${ROLLCALL_NO_INSTALL:-}" = 1 ] || ! command -v ${sudo:-true} >/dev/null; then
    say "there is no libfaketime; as root, run: $install"
    exit 1
fi

as_root() {
    say "running: $*"
    $sudo env DEBIAN_FRONTEND=noninteractive "$@" >&2
}

# Lists that are missing or too old are the usual reason for a failure. The commands are split into words on purpose.
as_root $install || { as_root $refresh && as_root $install; }
find_library
