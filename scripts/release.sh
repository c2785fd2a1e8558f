#!/bin/sh
# Publishes a release: the image, the chart and the list of what the program is made of, each signed.
#
#     scripts/release.sh VERSION REGISTRY
#
# VERSION is that of Cargo.toml and of the chart; REGISTRY is where both go: ghcr.io/OWNER. Needs docker with buildx, helm,
# cosign (without a key: it asks the identity of whoever runs it, which in .github/workflows/release.yml is the workflow)
# and Python. ROLLCALL_DRY=1 prints the commands that would publish or sign, and runs none of them.
set -eu

say() { echo "release.sh: $*" >&2; }

if [ $# -ne 2 ]; then
    say "say what and whereto: scripts/release.sh VERSION REGISTRY"
    exit 2
fi
version=$1 registry=$2
cd "$(dirname "$0")/.."

crate=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
chart=$(sed -n 's/^version: \(.*\)$/\1/p' helm/rollcall/Chart.yaml)
app=$(sed -n 's/^appVersion: "\(.*\)"$/\1/p' helm/rollcall/Chart.yaml)
for found in "Cargo.toml:$crate" "version of the chart:$chart" "appVersion of the chart:$app"; do
    if [ "${found##*:}" != "$version" ]; then
        say "the ${found%%:*} is ${found##*:}, and this is to be $version"
        exit 1
    fi
done

# Into files, so that what is published is what is here.
out=target/release-$version
mkdir -p "$out"
python3 scripts/sbom.py >"$out/rollcall-$version.cdx.json"

run() {
    if [ "${ROLLCALL_DRY:-}" = 1 ]; then
        echo "$*"
    else
        "$@"
    fi
}

image=$registry/rollcall
run docker buildx build --platform linux/amd64 --provenance mode=max --tag "$image:$version" \
    --label "org.opencontainers.image.version=$version" --metadata-file "$out/image.json" --push .
if [ "${ROLLCALL_DRY:-}" = 1 ]; then
    digest=sha256:DIGEST
else
    digest=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["containerimage.digest"])' "$out/image.json")
fi
# By digest: a tag can be made to mean something else between the two commands.
run cosign sign --yes "$image@$digest"
run cosign attest --yes --type cyclonedx --predicate "$out/rollcall-$version.cdx.json" "$image@$digest"

run helm package helm/rollcall --destination "$out"
run helm push "$out/rollcall-$version.tgz" "oci://$registry/charts"
run cosign sign-blob --yes --bundle "$out/rollcall-$version.tgz.sigstore.json" "$out/rollcall-$version.tgz"
run cosign sign-blob --yes --bundle "$out/rollcall-$version.cdx.json.sigstore.json" "$out/rollcall-$version.cdx.json"
echo "$image@$digest"
