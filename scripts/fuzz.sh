#!/bin/sh
# Runs every fuzzer of fuzz/ for some seconds, and prints what each tried and found:
#     sh scripts/fuzz.sh 60
# or one of them with whatever cargo-fuzz and libFuzzer take:
#     sh scripts/fuzz.sh run filter fuzz/artifacts/filter/crash-…
# Ends with 1 where anything crashed.
set -eu

pinned=0.13.2

say() { echo "fuzz.sh: $*" >&2; }

cd "$(dirname "$0")/.."
tools=$PWD/target/tools
if ! command -v cargo-fuzz >/dev/null; then
    if [ ! -x "$tools/bin/cargo-fuzz" ]; then
        say "installing cargo-fuzz $pinned by cargo into $tools"
        cargo install --quiet --locked --root "$tools" --version "$pinned" cargo-fuzz
    fi
    PATH=$tools/bin:$PATH
fi

# The same versions as the service's.
cp Cargo.lock fuzz/Cargo.lock
# The counters at every branch are an unstable flag; the stable compiler has it too, if it is told that this is meant.
export RUSTC_BOOTSTRAP=1
# Nothing here is unsafe code of ours: what an address sanitizer looks for cannot be, and it halves the speed.
options="--fuzz-dir fuzz --sanitizer none"

if [ "$1" = run ]; then
    target=$2
    shift 2
    # shellcheck disable=SC2086
    exec cargo fuzz run $options "$target" "$@"
fi

seconds=$1
# shellcheck disable=SC2086
cargo fuzz build $options
built=fuzz/target/$(rustc -vV | sed -n 's/^host: //p')/release
mkdir -p target
failed=0
for path in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$path" .rs)
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    log=target/fuzz-$target.log
    # An input that takes a second, or memory out of all proportion, is a finding too.
    if "$built/$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -artifact_prefix="fuzz/artifacts/$target/" \
        -max_total_time="$seconds" -max_len=4096 -timeout=1 -rss_limit_mb=1024 -malloc_limit_mb=64 \
        -print_final_stats=1 >"$log" 2>&1; then
        crashes=0
    else
        crashes=1
        failed=1
        tail -n 40 "$log" >&2
    fi
    # Who crashes does not get to say how many it tried: the last line that it wrote does.
    tried=$(sed -n 's/^stat::number_of_executed_units: *//p; s/^#\([0-9]*\)[^0-9].*/\1/p' "$log" | tail -n 1)
    peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log" | tail -n 1)
    echo "fuzz_$target = ${tried:-0} executions, $crashes crashes, ${peak:-?} MiB at most"
done
exit "$failed"
