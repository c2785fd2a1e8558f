{{/* Names. 50 characters leave room for what is put behind them. */}}
{{- define "rollcall.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "rollcall.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "rollcall.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "rollcall.selector" -}}
app.kubernetes.io/name: {{ include "rollcall.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rollcall.labels" -}}
{{ include "rollcall.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The component keeps pods of jobs and tests out of the Service, the budget and the policy. */}}
{{- define "rollcall.serving" -}}
{{ include "rollcall.selector" . }}
app.kubernetes.io/component: service
{{- end -}}

{{- define "rollcall.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest }}
{{- else -}}
{{ printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "rollcall.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "rollcall.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "rollcall.callersConfigMap" -}}
{{- default (printf "%s-callers" (include "rollcall.fullname" .)) .Values.identity.callers.existingConfigMap -}}
{{- end -}}

{{- define "rollcall.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.pod.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.pod.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "rollcall.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What the pods of this chart have in common, those of jobs and tests included. */}}
{{- define "rollcall.placement" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* `rollcall migrate`, as the owner of the tables: the only container that is given that URL. */}}
{{- define "rollcall.migrate" -}}
- name: migrate
  image: {{ include "rollcall.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [migrate]
  env:
    - name: ROLLCALL_DATABASE_URL
      valueFrom:
        secretKeyRef:
          name: {{ .Values.migrations.secretName }}
          key: {{ .Values.migrations.urlKey }}
    - name: ROLLCALL_SERVICE_ROLE
      value: {{ .Values.migrations.serviceRole | quote }}
    {{- include "rollcall.common" . | nindent 4 }}
  resources:
    requests:
      cpu: 50m
      memory: 64Mi
    limits:
      memory: 256Mi
  securityContext:
    {{- include "rollcall.containerSecurity" . | nindent 4 }}
  {{- with include "rollcall.caMount" . }}
  volumeMounts:
    {{- . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* What both programs read. */}}
{{- define "rollcall.common" -}}
- name: ROLLCALL_LOG
  value: {{ .Values.log.filter | quote }}
- name: ROLLCALL_LOG_FORMAT
  value: {{ .Values.log.format }}
{{- if .Values.database.caSecretName }}
- name: SSL_CERT_FILE
  value: /etc/rollcall/ca/ca.crt
{{- end }}
{{- end -}}

{{- define "rollcall.caMount" -}}
{{- if .Values.database.caSecretName -}}
- name: ca
  mountPath: /etc/rollcall/ca
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "rollcall.caVolume" -}}
{{- if .Values.database.caSecretName -}}
- name: ca
  secret:
    secretName: {{ .Values.database.caSecretName }}
    items:
      - key: {{ .Values.database.caKey }}
        path: ca.crt
{{- end -}}
{{- end -}}

{{/* What the schema cannot say, because it compares two values. */}}
{{- define "rollcall.check" -}}
{{- with .Values -}}
{{- if eq .database.secretName .migrations.secretName -}}
{{- fail "migrations.secretName must not be database.secretName: the credentials of the owner are kept apart from those that serve" -}}
{{- end -}}
{{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas is %d: it must be at most autoscaling.maxReplicas, which is %d" (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and (gt (int .traces.metricsIntervalSeconds) 0) (not .traces.endpoint) -}}
{{- fail "traces.metricsIntervalSeconds needs traces.endpoint: it says how often that collector is sent metrics" -}}
{{- end -}}
{{- $days := .settings.retention.logDays -}}
{{- $max := .settings.retention.logMaxDays -}}
{{- if and (not (kindIs "invalid" $days)) (not (kindIs "invalid" $max)) -}}
{{- if lt (int $max) (int $days) -}}
{{- fail (printf "settings.retention.logMaxDays is %d: it must be at least settings.retention.logDays, which is %d" (int $max) (int $days)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
