#!/usr/bin/env python3
"""Writes what the program is made of, as CycloneDX 1.5 in JSON, to stdout.

    scripts/sbom.py [TARGET]

Every package that is compiled for TARGET (x86_64-unknown-linux-gnu) on the way to `rollcall`, from Cargo.lock by way of
`cargo metadata`: name, version, licence, where it comes from, its checksum, and what needs it. Packages that only take part in
building, build scripts and their like, have the scope `excluded`. The same checkout gives the same bytes: no time, no random
number.
"""

import json
import pathlib
import subprocess
import sys
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-gnu"


def metadata(target):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


def reached(nodes, start, kinds):
    """What is needed from there on, by dependencies of these kinds."""
    seen, left = set(), [start]
    while left:
        one = left.pop()
        if one in seen:
            continue
        seen.add(one)
        for needed in nodes[one]["deps"]:
            if any(kind["kind"] in kinds for kind in needed["dep_kinds"]):
                left.append(needed["pkg"])
    return seen


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums, scope):
    made = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "scope": scope,
        "purl": purl(package),
    }
    if package["license"]:
        # The slash is how it was written before there were expressions.
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return made


def main():
    known = metadata(sys.argv[1] if len(sys.argv) > 1 else TARGET)
    packages = {package["id"]: package for package in known["packages"]}
    nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
    (start,) = (one for one in packages if packages[one]["name"] == "rollcall")
    runs = reached(nodes, start, {None})
    builds = reached(nodes, start, {None, "build"})
    lock = (ROOT / "Cargo.lock").read_bytes()
    checksums = {
        (package["name"], package["version"]): package.get("checksum")
        for package in tomllib.loads(lock.decode())["package"]
    }
    parts = [
        component(packages[one], checksums, "required" if one in runs else "excluded")
        for one in sorted(builds - {start}, key=lambda one: purl(packages[one]))
    ]
    graph = []
    for one in builds:
        needed = {needed["pkg"] for needed in nodes[one]["deps"]} & builds
        graph.append({"ref": purl(packages[one]), "dependsOn": sorted(purl(packages[other]) for other in needed)})
    program = component(packages[start], checksums, "required") | {"type": "application"}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, purl(packages[start]) + lock.decode())}",
        "version": 1,
        "metadata": {"component": program},
        "components": parts,
        "dependencies": sorted(graph, key=lambda entry: entry["ref"]),
    }
    json.dump(document, sys.stdout, indent=1)
    print()


main()
