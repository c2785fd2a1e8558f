#!/usr/bin/env bash
# Runs tests that failed in a log of `cargo test` once more, one at a time: `scripts/again.sh LOG`. What passes alone failed of
# how busy the machine was: it is named at the end, for somebody to mend. More than three, or what is no plain test, fail at once.
set -euo pipefail
log="$1"
failed="$(grep -cE '^test .* \.\.\. FAILED$' "$log" || true)"
names="$(sed -nE 's/^test ([A-Za-z0-9_:]+) \.\.\. FAILED$/\1/p' "$log" | sort -u)"
count="$(printf '%s' "$names" | grep -c . || true)"
if [ "$count" -eq 0 ] || [ "$count" -gt 3 ] || [ "$count" -ne "$failed" ]; then
    echo "$failed tests failed: they are not run again" >&2
    exit 1
fi
for name in $names; do
    out="$(cargo test --workspace --no-fail-fast -- --exact "$name" --test-threads 1 2>&1)" || { printf '%s\n' "$out"; exit 1; }
    # It must have been run: a filter that finds nothing passes too.
    printf '%s\n' "$out" | grep -qxF "test $name ... ok" || { printf '%s\n' "$out"; exit 1; }
    echo "failed beside the other tests, passed alone: $name"
done
