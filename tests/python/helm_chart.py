"""Tries the chart with Helm's own engine: what it renders, what it refuses, and whether that fits the program.

    helm_chart.py ROLLCALL

ROLLCALL is the program. Prints a line `ok NAME` for each check, and ends at the first one that fails.
"""

import asyncio
import contextlib
import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import helm_sdkpy
import kubernetes_validate
import yaml

from cluster import Cluster
from helm_refused import REFUSED
from helm_values import CHART, closed, comments, defaults, lookup, of_schema, readme, schema

# Kinds that other programs bring: Kubernetes' own schemas do not have them.
FOREIGN = {"PrometheusRule", "ServiceMonitor"}
# Settings of the service that the chart leaves out, and why.
LEFT_OUT = {
    "ROLLCALL_AUDIT_HEADS_FILE": "nothing is written in a pod: heads are in the log",
    "ROLLCALL_CONFIG": "each setting is a value",
    "ROLLCALL_DATA_DIR": "a private Postgres is for a desk",
    "ROLLCALL_MIGRATION_DATABASE_URL": "who serves has no credentials of the owner",
    "ROLLCALL_POSTGRES_BIN": "a private Postgres is for a desk",
}
# Read by the library for TLS, not by the program.
OF_LIBRARIES = {"SSL_CERT_FILE"}


def render(values, version="1.31"):
    """Installs into a cluster of paper. Gives the release."""
    cluster = Cluster(version)
    try:
        configuration = helm_sdkpy.Configuration(namespace="rollcall", kubeconfig=cluster.kubeconfig())
        install = helm_sdkpy.Install(configuration)
        asyncio.run(install.run("rollcall", str(CHART), values, wait=False, timeout=30))
        return cluster.release()
    finally:
        cluster.close()


def objects(release):
    texts = [release["manifest"], *(hook["manifest"] for hook in release["hooks"] or [])]
    return [made for text in texts for made in yaml.safe_load_all(text) if made is not None]


def good():
    """The value files that must work, by name."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CHART / "ci").glob("*.yaml"))}


def put(values, path, value):
    *folders, name = path.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
    values[name] = value


def drop(values, path):
    *folders, name = path.split(".")
    for folder in folders:
        values = values[folder]
    del values[name]


def kind(made, wanted):
    return [one for one in made if one["kind"] == wanted]


def pods(made):
    """The pods of all objects: whose they are, their labels, and what runs in them."""
    for one in made:
        if one["kind"] == "Pod":
            yield one["metadata"]["name"], one["metadata"], one["spec"]
        elif one["kind"] in ("Deployment", "Job"):
            yield one["metadata"]["name"], one["spec"]["template"]["metadata"], one["spec"]["template"]["spec"]


def containers(spec):
    return [*spec.get("initContainers", []), *spec["containers"]]


def settings_of(program, command):
    """The environment variables that a command knows, by its own help."""
    said = subprocess.run([program, command, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"\[env:\s+([A-Z_]+)[=\]\s]", said))


class Checks:
    def __init__(self, program):
        self.program = program
        self.values = good()
        self.releases = dict(zip(self.values, side_by_side(render, self.values.values()), strict=True))
        self.made = {name: objects(release) for name, release in self.releases.items()}

    def manifests_are_valid(self):
        tried = 0
        for name, made in self.made.items():
            for one in made:
                if one["kind"] in FOREIGN:
                    continue
                for version in VERSIONS:
                    try:
                        kubernetes_validate.validate(one, version, strict=True)
                    except kubernetes_validate.ValidationError as error:
                        raise AssertionError(f"{name}: {one['kind']} for {version}: {error}") from error
                    tried += 1
        print(f"{tried} manifests, {len(self.made)} value files, Kubernetes {', '.join(VERSIONS)}")

    def an_older_kubernetes_is_refused(self):
        said = refusal(self.values["small"], "1.29")
        wanted = "chart requires kubeVersion: >=1.30.0-0 which is incompatible with Kubernetes v1.29.0"
        assert wanted in said, said

    def bad_values_are_refused_by_name(self):
        def say(case):
            values = copy.deepcopy(self.values["small"])
            for path, value in case[0].items():
                put(values, path, value)
            return refusal(values)

        for (over, wanted), said in zip(REFUSED, side_by_side(say, REFUSED), strict=True):
            lines = [line.strip().removeprefix("- ") for line in said.splitlines()]
            lines = [re.sub(r"^install failed: execution error at \(.*?\): ", "", line) for line in lines]
            lines = [line for line in lines if line.startswith("at ") or not line.endswith(":")]
            lines = [line for line in lines if line and not line.endswith("failed")]
            assert sorted(lines) == sorted(wanted), f"{over}: {said}"
        print(f"{len(REFUSED)} refused")

    def the_schema_is_closed_and_complete(self):
        assert closed(schema()) == []
        given = defaults()
        names = of_schema()
        missing = [name for name in names if lookup(given, name) is None and not has(given, name)]
        assert missing == [], f"not in values.yaml: {missing}"
        unknown = [name for name in leaves(given) if not any(is_under(name, known) for known in names)]
        assert unknown == [], f"not in the schema: {unknown}"

    def every_value_is_explained(self):
        said = comments()
        silent = [name for name in of_schema() if not said.get(name)]
        assert silent == [], f"without a comment in values.yaml: {silent}"
        is_so = (CHART / "README.md").read_text() == readme()
        assert is_so, "helm/rollcall/README.md is out of date: tests/python/helm_values.py writes it"

    def every_value_changes_something(self):
        """In one of the files each is something else than the default; without it, something else is rendered."""

        def lives(name):
            for file, values in self.values.items():
                if not has(values, name) or lookup(values, name) == lookup(defaults(), name):
                    continue
                less = copy.deepcopy(values)
                drop(less, name)
                try:
                    release = render(less)
                except helm_sdkpy.InstallError:
                    return True
                if shown(release) != shown(self.releases[file]):
                    return True
            return False

        names = of_schema()
        dead = [name for name, alive in zip(names, side_by_side(lives, names), strict=True) if not alive]
        assert dead == [], f"in no file of ci/, or without any effect: {dead}"

    def variables_are_settings_of_the_program(self):
        known = {command: settings_of(self.program, command) for command in ("serve", "migrate", "health")}
        assert len(known["serve"]) > 20, known
        used = {command: set() for command in known}
        for name, made in self.made.items():
            for owner, _, spec in pods(made):
                for container in containers(spec):
                    (command,) = container["args"]
                    names = [variable["name"] for variable in container["env"]]
                    assert len(names) == len(set(names)), f"{name}: {owner} has one twice: {names}"
                    unknown = set(names) - known[command] - OF_LIBRARIES
                    assert unknown == set(), f"{name}: rollcall {command} does not know {unknown}"
                    used[command] |= set(names)
        assert used["serve"] & LEFT_OUT.keys() == set()
        silent = known["serve"] - used["serve"] - LEFT_OUT.keys()
        assert silent == set(), f"no value sets {sorted(silent)}"
        assert LEFT_OUT.keys() <= known["serve"], LEFT_OUT.keys() - known["serve"]

    def the_program_takes_what_the_chart_says(self):
        """Started with the very variables of each file, it gets as far as to the database, or to its certificate."""
        for name, made in self.made.items():
            (deployment,) = kind(made, "Deployment")
            (container,) = deployment["spec"]["template"]["spec"]["containers"]
            environment = environment_of(container)
            with tempfile.TemporaryDirectory() as folder:
                for variable, text in MOUNTED.items():
                    if variable in environment:
                        environment[variable] = f"{folder}/{variable}"
                        pathlib.Path(environment[variable]).write_text(text)
                done = subprocess.run(
                    [self.program, *container["args"]], capture_output=True, text=True, env=environment, timeout=60
                )
            # 2 is what a setting that is not understood ends with, and a certificate that is not there.
            direct = environment["ROLLCALL_IDENTITY"] == "direct"
            wanted = (2, "cannot read /etc/rollcall/tls/tls.crt") if direct else (1, "database")
            assert done.returncode == wanted[0] and wanted[1] in done.stderr, f"{name}: {done.stderr}"

    def the_pods_of_the_chart_serve(self):
        """The containers of ci/linkerd.yaml one after the other, as different roles, on a real Postgres; then they are ended."""
        made = self.made["linkerd"]
        (deployment,) = kind(made, "Deployment")
        (callers,) = kind(made, "ConfigMap")
        spec = deployment["spec"]["template"]["spec"]
        (before,), (container,) = spec["initContainers"], spec["containers"]
        with tempfile.TemporaryDirectory() as folder, private_postgres(self.program, folder) as url:
            environment = environment_of(before) | {
                "ROLLCALL_DATABASE_URL": url.format("rollcall"),
                "ROLLCALL_SERVICE_ROLE": "rollcall_service",
            }
            del environment["SSL_CERT_FILE"]
            command = [self.program, *before["args"]]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
            assert (done.returncode, done.stdout) == (0, "nothing to migrate\n"), done
            file = pathlib.Path(folder, "callers.toml")
            file.write_text(callers["data"]["callers.toml"])
            environment = environment_of(container) | {
                "ROLLCALL_DATABASE_URL": url.format("rollcall_service"),
                "ROLLCALL_CALLERS": str(file),
            }
            del environment["SSL_CERT_FILE"]
            command = [self.program, *container["args"]]
            with started(command, environment) as service:
                addresses = [said(service, word).replace("0.0.0.0", "127.0.0.1") for word in ("metrics", "listening")]
                for probe in ("readinessProbe", "livenessProbe"):
                    path = lookup(container[probe], "httpGet.path") or "/readyz"
                    with urllib.request.urlopen(f"http://{addresses[0]}{path}", timeout=30) as answer:
                        assert answer.status == 200, path
                (test,) = [pod for owner, _, pod in pods(made) if owner.endswith("-test")]
                command = [self.program, *test["containers"][0]["args"]]
                environment = {"ROLLCALL_ENDPOINT": f"http://{addresses[1]}"}
                done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
                assert (done.returncode, done.stdout) == (0, "SERVING\n"), done
                service.terminate()
                assert service.wait(spec["terminationGracePeriodSeconds"]) == 0

    def nobody_is_root(self):
        for name, made in self.made.items():
            for owner, _, spec in pods(made):
                where = f"{name}: {owner}"
                assert spec["securityContext"]["runAsNonRoot"] is True, where
                assert spec["securityContext"].get("runAsUser") != 0, where
                assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
                token = lookup(self.values[name], "serviceAccount.automountToken") or False
                wanted = token if owner in serving(made) else False
                assert spec["automountServiceAccountToken"] is wanted, where
                assert spec["enableServiceLinks"] is False, where
                for container in containers(spec):
                    assert container["securityContext"] == {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    }, where

    def secrets_exist_already_and_each_is_seen_by_whom_it_is_for(self):
        for name, made in self.made.items():
            assert kind(made, "Secret") == [], name
            owner = lookup(self.values[name], "migrations.secretName")
            for pod, _, spec in pods(made):
                for container in containers(spec):
                    text = json.dumps(container)
                    if owner:
                        assert (owner in text) == (container["args"] == ["migrate"]), f"{name}: {pod}"
                    elif container["args"] == ["migrate"]:
                        raise AssertionError(f"{name}: {pod} migrates")
                    served = lookup(self.values[name], "database.secretName")
                    assert (served in text) == (container["args"] == ["serve"]), f"{name}: {pod}"

    def who_migrates_is_as_the_mode_says(self):
        for name, made in self.made.items():
            mode = lookup(self.values[name], "migrations.mode") or "job"
            jobs = kind(made, "Job")
            (deployment,) = kind(made, "Deployment")
            before = deployment["spec"]["template"]["spec"].get("initContainers", [])
            assert [one["args"] for one in before] == ([["migrate"]] if mode == "init" else []), name
            assert len(jobs) == (1 if mode == "job" else 0), name
            hooks = [one["metadata"]["annotations"]["helm.sh/hook"] for one in jobs]
            assert hooks == (["pre-install,pre-upgrade"] if mode == "job" else []), name

    def only_pods_that_serve_are_found(self):
        for name, made in self.made.items():
            selectors = [(one, one["spec"]["selector"]) for one in kind(made, "Service")]
            selectors += [(one, one["spec"]["podSelector"]["matchLabels"]) for one in kind(made, "NetworkPolicy")]
            for wanted in ("Deployment", "PodDisruptionBudget"):
                selectors += [(one, one["spec"]["selector"]["matchLabels"]) for one in kind(made, wanted)]
            assert len(selectors) >= 2
            for one, selector in selectors:
                found = [owner for owner, metadata, _ in pods(made) if selector.items() <= metadata["labels"].items()]
                assert found == serving(made), f"{name}: {one['kind']} finds {found}"

    def ports_and_probes_lead_to_the_service(self):
        for name, made in self.made.items():
            (deployment,) = kind(made, "Deployment")
            (container,) = deployment["spec"]["template"]["spec"]["containers"]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            environment = {variable["name"]: variable.get("value") for variable in container["env"]}
            host = "[::]" if lookup(self.values[name], "pod.ipv6") else "0.0.0.0"
            assert environment["ROLLCALL_LISTEN"] == f"{host}:{ports['grpc']}", name
            # Kubernetes asks over gRPC without TLS alone.
            direct = environment["ROLLCALL_IDENTITY"] == "direct"
            ready = {"httpGet": {"path": "/readyz", "port": "metrics"}}
            wanted = ready if direct else {"grpc": {"port": ports["grpc"]}}
            assert wanted.items() <= container["readinessProbe"].items(), name
            assert environment["ROLLCALL_METRICS_LISTEN"] == f"{host}:{ports['metrics']}", name
            # Not whether it is ready, which it is not while the database is away.
            assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}, name
            assert "startupProbe" not in container, name
            for service in kind(made, "Service"):
                for port in service["spec"]["ports"]:
                    assert port["targetPort"] in ports, name
            for policy in kind(made, "NetworkPolicy"):
                opened = [rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]]
                scraped = lookup(self.values[name], "networkPolicy.scrapers")
                assert opened == ([ports["grpc"], ports["metrics"]] if scraped else [ports["grpc"]]), name
            for monitor in kind(made, "ServiceMonitor"):
                wanted = monitor["spec"]["selector"]["matchLabels"].items()
                (service,) = [one for one in kind(made, "Service") if wanted <= one["metadata"]["labels"].items()]
                (port,) = service["spec"]["ports"]
                assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == [port["name"]], name
                assert ports[port["targetPort"]] == port["port"], name
        assert kind(self.made["all"], "ServiceMonitor") != []

    def a_drain_has_the_time_that_it_may_take(self):
        for name, made in self.made.items():
            (deployment,) = kind(made, "Deployment")
            spec = deployment["spec"]["template"]["spec"]
            (container,) = spec["containers"]
            environment = {variable["name"]: variable.get("value") for variable in container["env"]}
            before = lookup(container, "lifecycle.preStop.sleep.seconds") or 0
            least = before + int(environment["ROLLCALL_DRAIN_SECONDS"])
            assert spec["terminationGracePeriodSeconds"] > least, name
            # Nobody is taken away before another one is there.
            assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, name

    def rules_and_dashboards_are_those_of_the_files(self):
        made = self.made["all"]
        rules = CHART / "files" / "rules.yaml"
        found = [one["spec"] for one in kind(made, "PrometheusRule")]
        pages = lookup(self.values["all"], "prometheusRule.runbooks")
        text = rules.read_text()
        assert "https://rollcall.example/docs/runbooks/" in text
        assert found == [yaml.safe_load(text.replace("https://rollcall.example/docs/runbooks", pages))]
        dashboards = {path.name: json.loads(path.read_text()) for path in (CHART / "files").glob("*.json")}
        found = {}
        for one in kind(made, "ConfigMap"):
            found |= {key.removeprefix("rollcall-"): json.loads(text) for key, text in one["data"].items()}
        assert dashboards and found == dashboards
        assert kind(self.made["small"], "PrometheusRule") == []

    def notes_warn(self):
        notes = {name: release["info"]["notes"] for name, release in self.releases.items()}
        for name, text in notes.items():
            assert ("identity.mode is insecure" in text) == (name == "insecure"), text
            mode = good()[name]["identity"]["mode"]
            assert ("Nothing but its proxy" in text) == (mode in {"istio", "linkerd"}), text
            assert ("Migrations are yours" in text) == (name == "insecure"), text
            assert ("one replica" in text) == (name == "insecure"), text
            assert "<no value>" not in text, text

    def the_package_has_what_it_needs(self):
        cluster = Cluster()
        try:
            configuration = helm_sdkpy.Configuration(kubeconfig=cluster.kubeconfig())
            with tempfile.TemporaryDirectory() as folder:
                path = asyncio.run(helm_sdkpy.Package(configuration).run(str(CHART), folder))
                with tarfile.open(path) as archive:
                    names = set(archive.getnames())
        finally:
            cluster.close()
        wanted = {"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "templates/NOTES.txt"}
        assert {f"rollcall/{name}" for name in wanted} <= names, names
        assert not any("/ci/" in name for name in names), names

    def the_version_is_that_of_the_program(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
        assert (chart["version"], chart["appVersion"]) == (said, said), chart


# Every one that the package knows from 1.30 on.
VERSIONS = [f"1.{minor}" for minor in range(30, 38)]
# What a pod gets from secrets and from the cluster. Nobody listens on that port.
STANDS_IN = {
    "ROLLCALL_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none?sslmode=disable",
    "ROLLCALL_DIRECT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none?sslmode=disable",
    "ROLLCALL_SMTP_URL": "smtp://127.0.0.1:1",
    "ROLLCALL_MESH_PEER": "10.1.2.3",
}
# What it finds in mounted files.
MOUNTED = {
    "ROLLCALL_AUDIT_HEADS_KEY_FILE": "k" * 32,
    "ROLLCALL_CALLERS": 'trust_domains = ["example.org"]\n',
}


def environment_of(container):
    """What a container gets, with stand-ins for what comes from secrets and from the cluster."""
    environment = {"PATH": "/nowhere"}
    for variable in container["env"]:
        environment[variable["name"]] = variable.get("value", STANDS_IN.get(variable["name"], ""))
    # Its own ports may be taken here.
    for variable in [name for name in environment if name.endswith("_LISTEN")]:
        environment[variable] = environment[variable].rpartition(":")[0] + ":0"
    return environment


@contextlib.contextmanager
def started(command, environment):
    """A process that says on its stdout when it can be called, and is killed at the end."""
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    # Reading has no bound of its own.
    late = threading.Timer(120, process.kill)
    late.start()
    try:
        yield process
    finally:
        late.cancel()
        process.kill()
        process.wait()


def said(process, word):
    """The address that it says behind this word."""
    for line in process.stdout:
        if line.startswith(f"{word} on "):
            return line.split()[2]
    raise AssertionError(f"it ended before it said where it is {word}")


@contextlib.contextmanager
def private_postgres(program, folder):
    """The Postgres of a service at a desk, which has both roles. Gives its URL, with room for the role."""
    # Where root runs this, Postgres runs as somebody else, who has to get there.
    os.chmod(folder, 0o755)
    data = pathlib.Path(folder, "data")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROLLCALL_")}
    command = [program, "serve", "--data-dir", str(data), "--listen", "127.0.0.1:0"]
    with started(command, environment) as service:
        said(service, "listening")
        yield f"postgresql://{{}}@{urllib.parse.quote(str(data / 'run'), safe='')}/rollcall"
        service.terminate()
        service.wait(60)


def side_by_side(call, arguments):
    """Helm mostly waits: for a second where there is a job."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(call, arguments))


def refusal(values, version="1.31"):
    try:
        render(values, version)
    except helm_sdkpy.InstallError as error:
        return str(error)
    raise AssertionError(f"not refused: {values}")


def shown(release):
    return release["manifest"], [hook["manifest"] for hook in release["hooks"] or []], release["info"]["notes"]


def serving(made):
    return [one["metadata"]["name"] for one in kind(made, "Deployment")]


def has(values, path):
    for name in path.split("."):
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True


def leaves(values, path=""):
    if isinstance(values, dict) and values:
        return [leaf for name, inner in values.items() for leaf in leaves(inner, f"{path}.{name}" if path else name)]
    return [path]


def is_under(name, known):
    return name == known or name.startswith(known + ".")


def main():
    checks = Checks(sys.argv[1])
    for name in [name for name in vars(Checks) if not name.startswith("_")]:
        getattr(checks, name)()
        print(f"ok {name}", flush=True)


main()
