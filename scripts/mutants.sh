#!/bin/sh
# Changes the rules in one place at a time and runs their tests on each: a change that no test notices is a hole in them.
# The rules import nothing of ours, so that they are built alone, in seconds, in a copy below target/mutants. Prints the
# score; what was missed is listed in target/mutants/mutants.out/missed.txt. Needs cargo-mutants, which it installs into
# target/tools if there is none. Arguments are handed on, as in `scripts/mutants.sh --file '*seats*'`.
set -eu
cd "$(dirname "$0")/.."
tools="$PWD/target/tools/mutants"
if ! PATH="$tools/bin:$PATH" command -v cargo-mutants >/dev/null; then
    echo 'mutants.sh: installing cargo-mutants into target/tools' >&2
    cargo install cargo-mutants --locked --root "$tools" >&2
fi
PATH="$tools/bin:$PATH"

place=target/mutants
mkdir -p "$place/src"
rm -rf "$place/src/rules" "$place/mutants.out"
cp -r src/rules "$place/src/rules"
cp Cargo.lock "$place/Cargo.lock"
echo 'pub mod rules;' > "$place/src/lib.rs"
dependency() {
    grep -m 1 "^$1 = " Cargo.toml
}
{
    printf '[package]\nname = "rules"\nversion = "0.0.0"\nedition = "%s"\n\n[workspace]\n\n[dependencies]\n' \
        "$(sed -n 's/^edition = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
    for name in email_address idna thiserror uuid; do dependency "$name"; done
    printf '\n[dev-dependencies]\n'
    dependency proptest
} > "$place/Cargo.toml"

status=0
cargo mutants --dir "$place" --output "$place" --no-shuffle --colors never "$@" || status=$?
# 2: some were missed. What that means is for people to say; anything else is a failure of the run.
case "$status" in 0 | 2) ;; *) exit "$status" ;; esac
count() { wc -l < "$place/mutants.out/$1.txt" | tr -d ' '; }
caught=$(($(count caught) + $(count timeout)))
missed=$(count missed)
echo "mutants_caught = $caught"
echo "mutants_missed = $missed"
awk "BEGIN { printf \"mutants_score = %.3f\\n\", $caught / ($caught + $missed) }"
