#!/bin/sh
# Prints the path of promtool, which checks the rules for Prometheus and tests them: the one on the search path, or else
# that of Debian's package `prometheus`, which is unpacked into target/tools of this checkout. The package is not
# installed: that would start a Prometheus. Without promtool those tests are skipped, and say so.
#
# ROLLCALL_NO_INSTALL=1 forbids the download: then the exit status is 1.
set -eu

say() { echo "promtool.sh: $*" >&2; }

if command -v promtool; then
    exit 0
fi

tools=$(cd "$(dirname "$0")/.." && pwd)/target/tools
promtool=$tools/prometheus/usr/bin/promtool
if [ -x "$promtool" ] && "$promtool" --version >/dev/null 2>&1; then
    echo "$promtool"
    exit 0
fi

if [ "${ROLLCALL_NO_INSTALL:-}" = 1 ] || ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    say "there is no promtool on the search path; it comes with Prometheus (https://prometheus.io/download)"
    exit 1
fi

say "unpacking promtool of Debian's package prometheus into $tools"
place=$(mktemp -d "${TMPDIR:-/tmp}/promtool.XXXXXX")
trap 'rm -rf "$place"' EXIT
# Its own user reads lists and writes the file, so it must be able to.
chmod 755 "$place"
download() { (cd "$place" && apt-get -q download prometheus >&2); }
# Lists that are missing or too old are the usual reason for a failure.
if ! download && ! { apt-get -q update >&2 && download; }; then
    say "apt-get could not download the package; its reason is above"
    exit 1
fi
mkdir -p "$tools"
# Put there whole, so that one that was cut short is no promtool.
dpkg-deb -x "$place"/prometheus_*.deb "$place/unpacked"
mkdir -p "$tools/prometheus/usr/bin"
cp "$place/unpacked/usr/bin/promtool" "$promtool.new"
mv "$promtool.new" "$promtool"
"$promtool" --version >/dev/null
echo "$promtool"
