"""Values that the chart refuses: what is put over ci/small.yaml, and every line of what Helm then says."""

# A value that a name leads to, several names parted by dots; the messages, without the lines that only group others.
INSECURE = {"identity.mode": "insecure", "identity.allowInsecure": True, "identity.callers.existingConfigMap": ""}
UNKNOWN = "additional properties '{}' not allowed"

REFUSED = [
    # Unknown values, at the top and within.
    ({"replica": 3}, ["at '': " + UNKNOWN.format("replica")]),
    ({"dataDir": "/data"}, ["at '': " + UNKNOWN.format("dataDir")]),
    ({"image.tagg": "1"}, ["at '/image': " + UNKNOWN.format("tagg")]),
    ({"database.url": "postgresql://a:b@c/d"}, ["at '/database': " + UNKNOWN.format("url")]),
    ({"resources.limits": {"gpu": 1}}, ["at '/resources/limits': " + UNKNOWN.format("gpu")]),
    # Wrong types and ranges.
    ({"replicas": "3"}, ["at '/replicas': got string, want integer"]),
    ({"replicas": 2.5}, ["at '/replicas': got number, want integer"]),
    ({"replicas": 0}, ["at '/replicas': minimum: got 0, want 1"]),
    ({"settings.accessService": "yes"}, ["at '/settings/accessService': got string, want null or boolean"]),
    ({"settings.limits.reads": -1}, ["at '/settings/limits/reads': minimum: got -1, want 0"]),
    ({"podLabels": {"team": 7}}, ["at '/podLabels/team': got number, want string"]),
    ({"service.port": 70000}, ["at '/service/port': maximum: got 70,000, want 65,535"]),
    ({"drain.seconds": 0}, ["at '/drain/seconds': minimum: got 0, want 1"]),
    ({"podDisruptionBudget.maxUnavailable": 0}, ["at '/podDisruptionBudget/maxUnavailable': minimum: got 0, want 1"]),
    ({"log.format": "xml"}, ["at '/log/format': value must be one of 'text', 'json'"]),
    (
        {"topologySpread.zone": "never"},
        ["at '/topologySpread/zone': value must be one of 'ScheduleAnyway', 'DoNotSchedule', 'Off'"],
    ),
    (
        {"resources.limits": {"memory": "lots"}},
        ["at '/resources/limits/memory': 'lots' does not match pattern '^[0-9.]+(m|k|Ki|M|Mi|G|Gi|T|Ti)?$'"],
    ),
    (
        {"image.digest": "sha256:12"},
        ["at '/image/digest': 'sha256:12' does not match pattern '^$|^sha256:[0-9a-f]{64}$'"],
    ),
    (
        {"image.repository": "registry.example.com/rollcall:1"},
        [
            "at '/image/repository': 'registry.example.com/rollcall:1' does not match pattern"
            " '^$|^([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9._-]+(/[a-z0-9._-]+)*$'"
        ],
    ),
    (
        {"networkPolicy.egress": [{"cidr": "10.0.0.0", "port": 5432}]},
        ["at '/networkPolicy/egress/0/cidr': '10.0.0.0' does not match pattern '^[0-9a-fA-F:.]+/[0-9]{1,3}$'"],
    ),
    (
        {"networkPolicy.clients": [{"podLabels": {"app": "chat"}}]},
        ["at '/networkPolicy/clients/0': missing property 'namespaceLabels'"],
    ),
    (
        {"networkPolicy.clients": [{"namespaceLabels": {}}]},
        ["at '/networkPolicy/clients/0/namespaceLabels': minProperties: got 0, want 1"],
    ),
    # What would take a pod out of its Service, or run it as root.
    (
        {"podLabels": {"app.kubernetes.io/name": "other"}},
        ["at '/podLabels/app.kubernetes.io~1name': false schema"],
    ),
    ({"pod.runAsUser": 0}, ["at '/pod/runAsUser': minimum: got 0, want 1"]),
    # What must be given.
    ({"image.repository": ""}, ["at '/image/repository': minLength: got 0, want 1"]),
    ({"database.secretName": ""}, ["at '/database/secretName': minLength: got 0, want 1"]),
    ({"database": None}, ["at '': missing property 'database'"]),
    ({"migrations.mode": None}, ["at '/migrations': missing property 'mode'"]),
    ({"migrations.secretName": ""}, ["at '/migrations/secretName': minLength: got 0, want 1"]),
    ({"migrations.serviceRole": ""}, ["at '/migrations/serviceRole': minLength: got 0, want 1"]),
    ({"identity.mode": ""}, ["at '/identity/mode': value must be one of 'direct', 'istio', 'linkerd', 'insecure'"]),
    (
        {"identity.callers.existingConfigMap": ""},
        ["at '/identity/callers/existingConfigMap': minLength: got 0, want 1"],
    ),
    ({"mail.secretName": "mail"}, ["at '/mail/from': minLength: got 0, want 1"]),
    # A secret that is no name of one.
    (
        {"database.secretName": "My_Secret"},
        ["at '/database/secretName': 'My_Secret' does not match pattern '^$|^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'"],
    ),
    # Modes that are none, or contradict what else is said.
    ({"migrations.mode": "hook"}, ["at '/migrations/mode': value must be one of 'init', 'job', 'external'"]),
    (
        {"migrations.mode": "external"},
        ["at '/migrations/secretName': value must be ''", "at '/migrations/serviceRole': value must be ''"],
    ),
    (
        {"migrations.mode": "init", "migrations.serviceRole": ""},
        ["at '/migrations/serviceRole': minLength: got 0, want 1"],
    ),
    (
        {"migrations.secretName": "rollcall-database"},
        [
            "migrations.secretName must not be database.secretName: the credentials of the owner are kept apart from"
            " those that serve"
        ],
    ),
    ({**INSECURE, "identity.allowInsecure": False}, ["at '/identity/allowInsecure': value must be true"]),
    ({"identity.allowInsecure": True}, ["at '/identity/allowInsecure': value must be false"]),
    (
        {**INSECURE, "identity.callers.existingConfigMap": "callers"},
        ["at '/identity/callers/existingConfigMap': value must be ''"],
    ),
    ({**INSECURE, "identity.callers.toml": "x = 1"}, ["at '/identity/callers/toml': value must be ''"]),
    ({**INSECURE, "identity.meshPeer": "podIP"}, ["at '/identity/meshPeer': value must be ''"]),
    ({"identity.mode": "direct"}, ["at '/identity/tls/secretName': minLength: got 0, want 1"]),
    ({"identity.tls.secretName": "tls"}, ["at '/identity/tls/secretName': value must be ''"]),
    ({**INSECURE, "identity.tls.secretName": "tls"}, ["at '/identity/tls/secretName': value must be ''"]),
    (
        {"identity.mode": "direct", "identity.tls.secretName": "tls", "identity.meshPeer": "podIP"},
        ["at '/identity/meshPeer': value must be ''"],
    ),
    ({"identity.callers.toml": "x = 1"}, ["at '/identity/callers/existingConfigMap': value must be ''"]),
    (
        {"identity.meshPeer": "mesh"},
        [
            "at '/identity/meshPeer': 'mesh' does not match pattern"
            r" '^$|^podIP$|^[0-9]{1,3}(\\.[0-9]{1,3}){3}$|^[0-9a-fA-F:]*:[0-9a-fA-F:.]*$'"
        ],
    ),
    ({"mail.from": "a@example.com"}, ["at '/mail/from': value must be ''"]),
    (
        {"autoscaling.enabled": True, "autoscaling.minReplicas": 5, "autoscaling.maxReplicas": 3},
        ["autoscaling.minReplicas is 5: it must be at most autoscaling.maxReplicas, which is 3"],
    ),
    (
        {"autoscaling.enabled": True, "autoscaling.cpuPercent": None},
        ["at '/autoscaling': missing property 'memoryPercent'"],
    ),
    ({"traces.metricsIntervalSeconds": 3601}, ["at '/traces/metricsIntervalSeconds': maximum: got 3,601, want 3,600"]),
    (
        {"traces.metricsIntervalSeconds": 60},
        ["traces.metricsIntervalSeconds needs traces.endpoint: it says how often that collector is sent metrics"],
    ),
    (
        {"settings.retention.logDays": 40, "settings.retention.logMaxDays": 30},
        [
            "settings.retention.logMaxDays is 30: it must be at least settings.retention.logDays, which is 40",
        ],
    ),
]
