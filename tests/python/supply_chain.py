"""Looks at what a release is made by: Dockerfile, the list of what is in the program, the release script and its workflow.

    supply_chain.py ROLLCALL

ROLLCALL is the program. Prints a line `ok NAME` for each check, and ends at the first one that fails.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What the image below the program has: glibc and what comes with a C compiler.
OF_THE_IMAGE = {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1", "linux-vdso.so.1"}


def output(*command, **more):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120, **more).stdout


def the_dockerfile_has_no_findings(_):
    hadolint = shutil.which("hadolint", path=str(pathlib.Path(sys.executable).parent))
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    last = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("USER ")][-1]
    assert last == "USER 65532:65532", last


def the_image_is_built_of_all_that_it_needs(_):
    """cargo understands what .dockerignore lets through, and no text that is compiled in is missing."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert lines[0] == "*" and all(line.startswith("!") for line in lines[1:]), lines
    with tempfile.TemporaryDirectory() as folder:
        context = pathlib.Path(folder)
        for name in (line[1:] for line in lines[1:]):
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, context / name)
        command = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]
        done = subprocess.run(command, cwd=context, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        found = 0
        for source in context.glob("src/**/*.rs"):
            # What stands below is for tests, which the image does not build.
            compiled = source.read_text().split("#[cfg(test)]\nmod tests {")[0]
            for text in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', compiled):
                found += 1
                assert (source.parent / text).exists(), f"{source.relative_to(context)} has {text}"
        assert found > 0
        assert list(context.glob("migrations/*/up.sql"))


def the_program_needs_no_more_than_the_image_has(program):
    if sys.platform != "linux":
        print("skipped: the image is one of Linux, and this program is not")
        return
    needed = {pathlib.Path(line.split()[0]).name for line in output("ldd", program).splitlines()}
    assert "libc.so.6" in needed, needed
    assert needed <= OF_THE_IMAGE, needed - OF_THE_IMAGE


def what_is_in_the_program_is_listed(_):
    text = output("scripts/sbom.py")
    assert text == output("scripts/sbom.py"), "the same checkout gives another list"
    errors = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    assert errors is None, errors
    document = json.loads(text)
    listed = {(part["name"], part["version"]): part for part in document["components"]}
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    locked = {(package["name"], package["version"]): package.get("checksum") for package in locked}
    assert listed.keys() <= locked.keys()
    own = {"rollcall-client"}
    for (name, version), part in listed.items():
        assert part["licenses"], name
        sums = [one["content"] for one in part.get("hashes", [])]
        assert sums == ([] if name in own else [locked[name, version]]), name
    scopes = {name: part["scope"] for (name, _), part in listed.items()}
    assert scopes["tonic"] == "required" and scopes["protox"] == "excluded", scopes
    # Only tests have it.
    assert "proptest" not in scopes
    references = {part["bom-ref"] for part in document["components"]} | {document["metadata"]["component"]["bom-ref"]}
    assert {one["ref"] for one in document["dependencies"]} == references
    print(f"{len(listed)} packages, {list(scopes.values()).count('excluded')} of them only to build it")


def a_release_is_signed_by_digest(_):
    chart = yaml.safe_load((ROOT / "helm/rollcall/Chart.yaml").read_text())
    version = chart["version"]
    dry = os.environ | {"ROLLCALL_DRY": "1"}
    lines = output("sh", "scripts/release.sh", version, "registry.example.com/team", env=dry).splitlines()
    image = "registry.example.com/team/rollcall"
    files = f"target/release-{version}/rollcall-{version}"
    wanted = [
        ["docker buildx build", f"--tag {image}:{version}", "--push"],
        [f"cosign sign --yes {image}@sha256:"],
        ["cosign attest --yes --type cyclonedx", f"{files}.cdx.json", f"{image}@sha256:"],
        ["helm package helm/rollcall"],
        [f"helm push {files}.tgz oci://registry.example.com/team/charts"],
        ["cosign sign-blob --yes", f"{files}.tgz"],
        ["cosign sign-blob --yes", f"{files}.cdx.json"],
        [f"{image}@sha256:"],
    ]
    assert len(lines) == len(wanted), lines
    for line, parts in zip(lines, wanted, strict=True):
        assert line.startswith(parts[0]) and all(part in line for part in parts), line
    assert json.loads((ROOT / f"{files}.cdx.json").read_text())["bomFormat"] == "CycloneDX"


def a_version_that_is_another_one_is_refused(_):
    for arguments, code, wanted in (
        (["9.9.9", "registry.example.com"], 1, "the Cargo.toml is "),
        (["0.1.0"], 2, "say what and whereto"),
    ):
        command = ["sh", "scripts/release.sh", *arguments]
        environment = os.environ | {"ROLLCALL_DRY": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code and wanted in done.stderr, done.stderr
        assert done.stdout == "", done.stdout


def the_workflow_may_no_more_than_it_must(_):
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    assert "permissions" not in jobs["check"] and jobs["publish"]["needs"] == "check"
    assert jobs["publish"]["permissions"] == {"contents": "write", "packages": "write", "id-token": "write"}
    scripts = set()
    for job in jobs.values():
        for step in job["steps"]:
            # What somebody else wrote, a tag or a form, must not become part of a command.
            assert "${{" not in step.get("run", ""), step
            scripts |= set(re.findall(r"(?:scripts|\.ci)/\S+", step.get("run", "")))
            assert re.fullmatch(r"(actions|sigstore)/[a-z-]+@v\d+", step.get("uses", "actions/none@v1")), step
    assert scripts == {"scripts/deny.sh", ".ci/run", "scripts/release.sh"}, scripts
    assert all((ROOT / script).exists() for script in scripts)


CHECKS = [
    the_dockerfile_has_no_findings,
    the_image_is_built_of_all_that_it_needs,
    the_program_needs_no_more_than_the_image_has,
    what_is_in_the_program_is_listed,
    a_release_is_signed_by_digest,
    a_version_that_is_another_one_is_refused,
    the_workflow_may_no_more_than_it_must,
]

for check in CHECKS:
    check(sys.argv[1])
    print(f"ok {check.__name__}", flush=True)
