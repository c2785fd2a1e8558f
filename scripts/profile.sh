#!/bin/sh
# Shows where the time goes: runs a bench without its yardstick and samples the whole machine with perf meanwhile.
#
#   scripts/profile.sh writes     32 callers write as fast as they can
#   scripts/profile.sh fanout     a thousand streams receive a hundred changes a second
#
# Prints which processes the CPU time went to, and the hottest functions of the service. PROFILE_SECONDS: how long
# (default 10). Needs perf and the permission to use it (root, or kernel.perf_event_paranoid of -1). The samples stay in
# target/profile/.
set -eu
cd "$(dirname "$0")/.."

what="${1:-writes}"
seconds="${PROFILE_SECONDS:-10}"
case "$what" in
writes)
    bench=writes
    export BENCH_PARTS=service BENCH_CALLERS=32
    ;;
fanout)
    bench=streams
    export BENCH_PARTS=fanout
    ;;
*)
    echo "scripts/profile.sh: $what is neither writes nor fanout" >&2
    exit 2
    ;;
esac
command -v perf >/dev/null || {
    echo "scripts/profile.sh: perf is not installed (Debian: linux-perf)" >&2
    exit 1
}

out=target/profile
mkdir -p "$out"
cargo bench --no-run --bench "$bench"
BENCH_ROUNDS=1 BENCH_SECONDS=$((seconds + 4)) cargo bench --bench "$bench" >"$out/$what.txt" 2>&1 &
running=$!
# The measurement has begun when the bench says so.
until grep -q 'round 1 of 1' "$out/$what.txt" 2>/dev/null; do
    kill -0 "$running" 2>/dev/null || {
        cat "$out/$what.txt" >&2
        exit 1
    }
    sleep 0.2
done
sleep 2
service=$(pgrep -n -f 'rollcall serve --listen')
perf record -a -g -F 199 -o "$out/$what.data" -- sleep "$seconds" >/dev/null 2>&1
wait "$running"

report() {
    perf report -i "$out/$what.data" -g none --stdio --no-children "$@" 2>/dev/null |
        grep -v '^#' | grep . | sed 's/ *- *- *$//'
}
echo "== CPU time by kind of process (tokio-rt-worker: the service and the load)"
report --sort comm | head -8
echo "== of that, the service"
report --pid "$service" --sort comm
echo "== its hottest functions, without what they call"
report --pid "$service" --sort dso,symbol --percentage relative | head -40
echo "== what the bench said"
grep '^[a-z_0-9]* = ' "$out/$what.txt"
