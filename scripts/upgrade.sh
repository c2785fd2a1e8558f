#!/bin/sh
# Builds the release of a git ref beside this one, and lets replicas of both serve one database under load while it is
# migrated: scripts/upgrade.sh REF. What it builds stays in target/upgrade, so that the next run is quick.
set -eu
cd "$(dirname "$0")/.."
ref=${1:-}
if [ -z "$ref" ]; then
    echo "upgrade.sh: say from which release: make upgrade FROM=REF" >&2
    exit 2
fi
commit=$(git rev-parse --verify "$ref^{commit}")
source="$PWD/target/upgrade/source"
if [ -e "$source/.git" ]; then
    git -C "$source" checkout --quiet --detach "$commit"
else
    git worktree prune
    git worktree add --quiet --detach "$source" "$commit"
fi
(cd "$source" && CARGO_TARGET_DIR="$PWD/../build" cargo build --locked --bin rollcall)
ROLLCALL_PREVIOUS="$PWD/target/upgrade/build/debug/rollcall" cargo test --workspace --test it -- t33_ --nocapture
