"""A Kubernetes of paper: it answers Helm's questions as an empty cluster would, takes whatever is created, and keeps it.

Helm's engine renders only while it installs. What it rendered stands in the release, which it stores as a secret before it
creates anything: from there `release` has manifests, hooks and notes exactly as a cluster would get them. Jobs of hooks are
done as soon as they are looked at, so that an install comes to its end.
"""

import base64
import gzip
import http.server
import json
import threading
import urllib.parse

# What the chart makes, and what Helm itself needs: group and version, then kind and plural.
KINDS = {
    "v1": {
        "ConfigMap": "configmaps",
        "Pod": "pods",
        "Secret": "secrets",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
    },
    "apps/v1": {"Deployment": "deployments"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "batch/v1": {"Job": "jobs"},
    "monitoring.coreos.com/v1": {"PrometheusRule": "prometheusrules", "ServiceMonitor": "servicemonitors"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
}


# Seconds for which a watch is left open. Helm ends it as soon as the job is done.
WATCH = 5

# What an object in protobuf begins with.
MAGIC = b"k8s\x00"


class Cluster:
    """One such cluster, on a port of its own. What was created is in `objects`, by path."""

    def __init__(self, version="1.31"):
        self.objects = {}
        self.closing = threading.Event()
        self.version = version
        cluster = self

        class Handler(Answers):
            pass

        Handler.cluster = cluster
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # It is asked often whether it is to end: each render has a cluster of its own.
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def kubeconfig(self):
        """How Helm finds it. In YAML: the engine takes anything else for the name of a file."""
        return f"""apiVersion: v1
kind: Config
clusters:
- name: paper
  cluster:
    server: http://127.0.0.1:{self.server.server_address[1]}
users:
- name: helm
  user: {{}}
contexts:
- name: paper
  context:
    cluster: paper
    user: helm
current-context: paper
"""

    def release(self):
        """The newest release, as Helm stored it."""
        stored = [path for path in self.objects if "/secrets/sh.helm.release." in path]
        if not stored:
            return None
        text = base64.b64decode(base64.b64decode(self.objects[sorted(stored)[-1]]["data"]["release"]))
        return json.loads(gzip.decompress(text))


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster = None

    def log_message(self, *_):
        pass

    def answer(self, code, body):
        self.send(json.dumps(body).encode(), "application/json", code)

    def send(self, data, media, code=200):
        self.send_response(code)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def missing(self):
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        self.answer(404, status)

    def body(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        return secret(data) if data.startswith(MAGIC) else json.loads(data)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        path, query = url.path, urllib.parse.parse_qs(url.query)
        found = discovery(path, self.cluster.version)
        if found is not None:
            self.answer(200, found)
        elif path == "/openapi/v2":
            # Types that it does not describe are taken as they are, and this describes none.
            self.send(b"", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
        elif path in self.cluster.objects:
            self.answer(200, self.cluster.objects[path])
        elif listed(path) is not None:
            version, kind = listed(path)
            items = [done(o) for key, o in self.cluster.objects.items() if key.startswith(path + "/")]
            if "watch" in query:
                self.watched(version, kind, items)
            else:
                meta = {"resourceVersion": "1"}
                self.answer(200, {"kind": f"{kind}List", "apiVersion": version, "metadata": meta, "items": items})
        else:
            self.missing()

    def watched(self, version, kind, items):
        """Everything that is there, the mark that this was all, and then nothing more."""
        annotations = {"k8s.io/initial-events-end": "true"}
        end = {"kind": kind, "apiVersion": version}
        end["metadata"] = {"resourceVersion": "1", "annotations": annotations}
        events = [{"type": "ADDED", "object": item} for item in items]
        events.append({"type": "BOOKMARK", "object": end})
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write("".join(json.dumps(event) + "\n" for event in events).encode())
        self.wfile.flush()
        self.cluster.closing.wait(WATCH)

    def do_POST(self):
        path, made = urllib.parse.urlsplit(self.path).path, self.body()
        made["metadata"].update(uid="1", resourceVersion="1")
        self.cluster.objects[f"{path}/{made['metadata']['name']}"] = made
        self.answer(201, made)

    def do_PUT(self):
        path, made = urllib.parse.urlsplit(self.path).path, self.body()
        self.cluster.objects[path] = made
        self.answer(200, made)

    def do_DELETE(self):
        self.body()
        path = urllib.parse.urlsplit(self.path).path
        if self.cluster.objects.pop(path, None) is None:
            self.missing()
        else:
            self.answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})


def fields(data):
    """The fields of a message of protobuf that are bytes, which is all that is looked at here: number and content."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 2:
            length = number()
            yield tag >> 3, data[at : at + length]
            at += length
        elif tag & 7 == 0:
            number()
        else:
            raise ValueError(f"a field of the wire type {tag & 7}")


def secret(data):
    """A secret as Helm writes the release: in protobuf, in an envelope that says what it is."""
    raw = dict(fields(data[len(MAGIC) :]))[2]
    metadata, content = {}, {}
    for field, value in fields(raw):
        if field == 1:
            metadata = dict(fields(value))
        elif field == 2:
            entry = dict(fields(value))
            content[entry[1].decode()] = base64.b64encode(entry[2]).decode()
    return {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": metadata[1].decode()},
        "data": content,
    }


def done(made):
    """As it is some time later: a job has done what it is for."""
    if made.get("kind") != "Job":
        return made
    conditions = [{"type": "Complete", "status": "True"}]
    return {**made, "status": {"succeeded": 1, "conditions": conditions}}


def listed(path):
    """Version and kind of the list that a path leads to."""
    for version, kinds in KINDS.items():
        for kind, plural in kinds.items():
            if path.startswith(root(version) + "/") and path.endswith("/" + plural):
                return version, kind
    return None


def root(version):
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def discovery(path, version):
    """What a cluster says of itself."""
    groups = [name for name in KINDS if "/" in name]
    if path == "/version":
        major, minor = version.split(".")
        return {"major": major, "minor": minor, "gitVersion": f"v{version}.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        entries = [
            {
                "name": name.split("/")[0],
                "versions": [{"groupVersion": name, "version": name.split("/")[1]}],
                "preferredVersion": {"groupVersion": name, "version": name.split("/")[1]},
            }
            for name in groups
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": entries}
    for name, kinds in KINDS.items():
        if path == root(name):
            resources = [
                {"name": plural, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get", "create"]}
                for kind, plural in kinds.items()
            ]
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": name,
                "resources": resources,
            }
    return None
