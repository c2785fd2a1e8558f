{{/* The settings of `rollcall serve`: each name is one that the program knows, which a test compares. */}}
{{- define "rollcall.env" -}}
- name: ROLLCALL_LISTEN
  value: {{ ternary "[::]:7400" "0.0.0.0:7400" .Values.pod.ipv6 | quote }}
- name: ROLLCALL_METRICS_LISTEN
  value: {{ ternary "[::]:9464" "0.0.0.0:9464" .Values.pod.ipv6 | quote }}
{{ include "rollcall.common" . }}
- name: ROLLCALL_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.secretName }}
      key: {{ .Values.database.urlKey }}
{{- if .Values.database.directUrlKey }}
- name: ROLLCALL_DIRECT_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.secretName }}
      key: {{ .Values.database.directUrlKey }}
{{- end }}
- name: ROLLCALL_IDENTITY
  value: {{ .Values.identity.mode }}
{{- if ne .Values.identity.mode "insecure" }}
- name: ROLLCALL_CALLERS
  value: /etc/rollcall/callers/callers.toml
{{- end }}
{{- if eq .Values.identity.mode "direct" }}
- name: ROLLCALL_TLS_CERTIFICATE
  value: /etc/rollcall/tls/tls.crt
- name: ROLLCALL_TLS_KEY
  value: /etc/rollcall/tls/tls.key
- name: ROLLCALL_TLS_CLIENT_CA
  value: /etc/rollcall/tls/ca.crt
{{- end }}
{{- if eq .Values.identity.meshPeer "podIP" }}
- name: ROLLCALL_MESH_PEER
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- else if .Values.identity.meshPeer }}
- name: ROLLCALL_MESH_PEER
  value: {{ .Values.identity.meshPeer | quote }}
{{- end }}
- name: ROLLCALL_DRAIN_SECONDS
  value: {{ int .Values.drain.seconds | quote }}
{{- if .Values.auditHeads.keySecretName }}
- name: ROLLCALL_AUDIT_HEADS_KEY_FILE
  value: /etc/rollcall/heads/heads.key
{{- end }}
{{- if .Values.mail.secretName }}
- name: ROLLCALL_SMTP_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.mail.secretName }}
      key: {{ .Values.mail.urlKey }}
- name: ROLLCALL_SMTP_FROM
  value: {{ .Values.mail.from | quote }}
{{- with .Values.mail.invitationUrl }}
- name: ROLLCALL_INVITATION_URL
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- with .Values.traces.endpoint }}
- name: ROLLCALL_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- if not (kindIs "invalid" .Values.traces.ratio) }}
- name: ROLLCALL_OTLP_RATIO
  value: {{ .Values.traces.ratio | quote }}
{{- end }}
{{- $settings := .Values.settings }}
{{- $given := dict
  "ROLLCALL_POOL_SIZE" .Values.database.poolSize
  "ROLLCALL_WINDOW_MIB" $settings.windowMib
  "ROLLCALL_SLOW_CONSUMER_SECONDS" $settings.slowConsumerSeconds
  "ROLLCALL_STREAM_MAX_AGE_SECONDS" $settings.streamMaxAgeSeconds
  "ROLLCALL_SWEEP_INTERVAL_SECONDS" $settings.sweepIntervalSeconds
  "ROLLCALL_ACCESS_SERVICE" $settings.accessService
  "ROLLCALL_LIMIT_READS" $settings.limits.reads
  "ROLLCALL_LIMIT_WRITES" $settings.limits.writes
  "ROLLCALL_LIMIT_CHECKS" $settings.limits.checks
  "ROLLCALL_LIMIT_OPENINGS" $settings.limits.openings
  "ROLLCALL_LIMIT_STREAMS" $settings.limits.streams
  "ROLLCALL_LIMIT_CONNECTIONS" $settings.limits.connections
  "ROLLCALL_LOG_RETENTION_DAYS" $settings.retention.logDays
  "ROLLCALL_LOG_RETENTION_MAX_DAYS" $settings.retention.logMaxDays
  "ROLLCALL_SUBSCRIPTION_RETENTION_HOURS" $settings.retention.subscriptionHours
  "ROLLCALL_HISTORY_RETENTION_DAYS" $settings.retention.historyDays
  "ROLLCALL_AUDIT_RETENTION_DAYS" $settings.retention.auditDays
  "ROLLCALL_AUDIT_HEADS_INTERVAL_SECONDS" .Values.auditHeads.intervalSeconds
  "ROLLCALL_OTLP_METRICS_INTERVAL_SECONDS" .Values.traces.metricsIntervalSeconds
}}
{{- range $name, $value := $given }}
{{- /* Not `with`: 0 and false are something said. */}}
{{- if not (kindIs "invalid" $value) }}
- name: {{ $name }}
  {{- /* A large number is a float here, which would be written with an exponent. */}}
  value: {{ ternary $value (int64 $value) (kindIs "bool" $value) | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "rollcall.mounts" -}}
{{- if ne .Values.identity.mode "insecure" }}
# As a whole folder: a file that is mounted alone is never replaced, and a right that was withdrawn would stay.
- name: callers
  mountPath: /etc/rollcall/callers
  readOnly: true
{{- end }}
{{- with include "rollcall.caMount" . }}
{{ . }}
{{- end }}
{{- if eq .Values.identity.mode "direct" }}
- name: tls
  mountPath: /etc/rollcall/tls
  readOnly: true
{{- end }}
{{- if .Values.auditHeads.keySecretName }}
- name: heads
  mountPath: /etc/rollcall/heads
  readOnly: true
{{- end }}
{{- end -}}

{{- define "rollcall.volumes" -}}
{{- if ne .Values.identity.mode "insecure" }}
- name: callers
  configMap:
    name: {{ include "rollcall.callersConfigMap" . }}
    items:
      - key: {{ .Values.identity.callers.key }}
        path: callers.toml
{{- end }}
{{- with include "rollcall.caVolume" . }}
{{ . }}
{{- end }}
{{- if eq .Values.identity.mode "direct" }}
- name: tls
  secret:
    secretName: {{ .Values.identity.tls.secretName }}
    items:
      - key: {{ .Values.identity.tls.certificateKey }}
        path: tls.crt
      - key: {{ .Values.identity.tls.keyKey }}
        path: tls.key
      - key: {{ .Values.identity.tls.clientCaKey }}
        path: ca.crt
{{- end }}
{{- if .Values.auditHeads.keySecretName }}
- name: heads
  secret:
    secretName: {{ .Values.auditHeads.keySecretName }}
    items:
      - key: {{ .Values.auditHeads.key }}
        path: heads.key
{{- end }}
{{- end -}}
