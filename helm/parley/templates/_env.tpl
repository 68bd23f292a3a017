{{/* Environment of every service of ours. (list $ "pmi") */}}
{{- define "parley.env.service" -}}
{{- $root := index . 0 -}}
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: PARLEY_LOG_LEVEL
  value: {{ $root.Values.logLevel }}
- name: PARLEY_MONITOR_LISTEN
  value: 0.0.0.0:9464
- name: PARLEY_DRAIN_DEADLINE
  value: {{ $root.Values.stopping.drainSeconds }}s
{{- with $root.Values.tracing.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $root.Values.tracing.sampleRatio | quote }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name={{ $root.Release.Namespace }},k8s.pod.name=$(POD_NAME)
{{- end }}
{{ include "parley.env.nats" $root }}
- name: PARLEY_NATS_TOPOLOGY
  value: wait
{{- include "parley.env.tls" $root }}
{{- end }}

{{/* How to reach NATS. */}}
{{- define "parley.env.nats" -}}
- name: PARLEY_NATS_URL
  value: {{ include "parley.natsUrl" . | quote }}
- name: PARLEY_NATS_CONNECT_TIMEOUT
  value: 10m
{{- if or .Values.nats.enabled .Values.externalNats.mutualTls }}
{{- if .Values.tls.enabled }}
- name: PARLEY_NATS_CA_FILE
  value: {{ ternary "/etc/parley/nats/ca.crt" "/etc/parley/tls/ca.crt" (eq (include "parley.externalNatsSecret" .) "true") }}
- name: PARLEY_NATS_CERT_FILE
  value: /etc/parley/tls/tls.crt
- name: PARLEY_NATS_KEY_FILE
  value: /etc/parley/tls/tls.key
{{- end }}
{{- else if eq (include "parley.externalNatsSecret" .) "true" }}
- name: PARLEY_NATS_CA_FILE
  value: /etc/parley/nats/ca.crt
{{- end }}
{{- if not .Values.nats.enabled }}
{{- $login := .Values.externalNats.login }}
{{- if eq $login "creds" }}
- name: PARLEY_NATS_CREDENTIALS_FILE
  value: /etc/parley/nats/creds
{{- else if eq $login "user" }}
- name: PARLEY_NATS_USER
  valueFrom: { secretKeyRef: { name: {{ .Values.externalNats.existingSecret }}, key: user } }
- name: PARLEY_NATS_PASSWORD_FILE
  value: /etc/parley/nats/password
{{- else if eq $login "token" }}
- name: PARLEY_NATS_TOKEN_FILE
  value: /etc/parley/nats/token
{{- end }}
{{- end }}
{{- end }}

{{- define "parley.natsUrl" -}}
{{- if .Values.nats.enabled -}}
nats://{{ include "parley.name" (list . "nats") }}.{{ .Release.Namespace }}.svc:4222
{{- else -}}
{{ required "externalNats.url is needed where nats.enabled is false" .Values.externalNats.url }}
{{- end -}}
{{- end }}

{{/* "true" where an external NATS comes with a secret. */}}
{{- define "parley.externalNatsSecret" -}}
{{- and (not .Values.nats.enabled) (ne .Values.externalNats.existingSecret "") -}}
{{- end }}

{{/* Begins with a line break, so that it may be left out. */}}
{{- define "parley.env.tls" -}}
{{- if .Values.tls.enabled }}
- name: PARLEY_TLS_CA_FILE
  value: /etc/parley/tls/ca.crt
- name: PARLEY_TLS_CERT_FILE
  value: /etc/parley/tls/tls.crt
- name: PARLEY_TLS_KEY_FILE
  value: /etc/parley/tls/tls.key
{{- end }}
{{- end }}

{{/* How long services wait for peers: of those that call them. */}}
{{- define "parley.env.peerCalls" -}}
- name: PARLEY_PEER_CALL_DEADLINE
  value: {{ .Values.peerCalls.deadline }}
- name: PARLEY_PEER_PROBE_INTERVAL
  value: {{ .Values.peerCalls.probeInterval }}
- name: PARLEY_PEER_PROBE_DEADLINE
  value: {{ .Values.peerCalls.probeDeadline }}
- name: PARLEY_PEER_LOST_AFTER
  value: {{ .Values.peerCalls.lostAfter }}
{{- end }}

{{/* Mounts of a client of the mesh; empty where it needs none. */}}
{{- define "parley.mounts" -}}
{{- if .Values.tls.enabled }}
- { name: tls, mountPath: /etc/parley/tls, readOnly: true }
{{- end }}
{{- if eq (include "parley.externalNatsSecret" .) "true" }}
- { name: nats, mountPath: /etc/parley/nats, readOnly: true }
{{- end }}
{{- end }}

{{/* Volumes of a client of the mesh; empty where it needs none. (list $ "pmi") */}}
{{- define "parley.volumes" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.tls.enabled }}
- name: tls
  secret: { secretName: {{ include "parley.tlsSecret" . }}, defaultMode: 0440 }
{{- end }}
{{- if eq (include "parley.externalNatsSecret" $root) "true" }}
- name: nats
  secret: { secretName: {{ $root.Values.externalNats.existingSecret }}, defaultMode: 0440 }
{{- end }}
{{- end }}
