"""The values of the chart: what `values.yaml` says of each, as rows for the README, and what the schema says there is."""

import json
import pathlib
import re

import yaml

CHART = pathlib.Path(__file__).parents[2] / "helm" / "rollcall"
# Maps with keys of Kubernetes' own: one value each.
WHOLE = {"resources.requests", "resources.limits"}
BEGIN, END = "<!-- values: begin -->\n", "<!-- values: end -->\n"


def schema():
    return json.loads((CHART / "values.schema.json").read_text())


def defaults():
    return yaml.safe_load((CHART / "values.yaml").read_text())


def of_schema(part=None, path=""):
    """The names of all values that the schema knows."""
    part = schema() if part is None else part
    names = []
    for name, inner in part["properties"].items():
        at = f"{path}{name}"
        if at == "global":
            continue
        if "properties" in inner and at not in WHOLE:
            names += of_schema(inner, at + ".")
        else:
            names.append(at)
    return names


def lookup(values, path):
    for name in path.split("."):
        if not isinstance(values, dict) or name not in values:
            return None
        values = values[name]
    return values


def comments():
    """What stands above each key of values.yaml. A key without a comment shares that of the key before it."""
    said, stack, pending = {}, [], []
    for line in (CHART / "values.yaml").read_text().splitlines():
        comment = re.match(r" *# ?(.*)", line)
        key = re.match(r"( *)([A-Za-z0-9]+):", line)
        if comment:
            pending.append(comment[1])
        elif key:
            depth = len(key[1]) // 2
            before = ".".join(stack[: depth + 1])
            stack = [*stack[:depth], key[2]]
            path = ".".join(stack)
            siblings = before.rpartition(".")[0] == path.rpartition(".")[0]
            said[path] = " ".join(pending) if pending else said.get(before, "") if siblings else ""
            pending = []
        else:
            pending = []
    return said


def table():
    """The rows for the README."""
    said, given = comments(), defaults()
    rows = ["| value | where nothing is said | what it is |", "| --- | --- | --- |"]
    for name in of_schema():
        default = json.dumps(lookup(given, name))
        rows.append(f"| `{name}` | `{default}` | {said[name].replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def readme():
    """The README as it has to be."""
    text = (CHART / "README.md").read_text()
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


def closed(part, at=""):
    """Every place of the schema where an object may have keys that nobody named."""
    open_places = []
    if isinstance(part, dict):
        if "properties" in part and part.get("type") == "object" and part.get("additionalProperties") is not False:
            open_places.append(at)
        for name, inner in part.items():
            open_places += closed(inner, f"{at}/{name}")
    elif isinstance(part, list):
        for number, inner in enumerate(part):
            open_places += closed(inner, f"{at}/{number}")
    return open_places


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme())
