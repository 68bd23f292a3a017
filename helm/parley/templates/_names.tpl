{{/* 26 characters leave room for "-peer-<20 characters>" and what Kubernetes puts behind the name of a StatefulSet. */}}
{{- define "parley.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 26 | trimSuffix "-" -}}
{{- end }}

{{/* Name of a component's objects. (list $ "coordinator") */}}
{{- define "parley.name" -}}
{{- printf "%s-%s" (include "parley.fullname" (index . 0)) (index . 1) -}}
{{- end }}

{{/* Labels that select the pods of a component. (list $ "coordinator") */}}
{{- define "parley.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Metadata of an object. (dict "root" $ "component" "pmi" "name" "…" "labels" (dict) "annotations" (dict)) */}}
{{- define "parley.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "parley.selector" (list .root .component) | nindent 2 }}
  app.kubernetes.io/part-of: parley
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "parley.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "parley.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* The peers with what they inherit, as JSON: {"peers": […]}. */}}
{{- define "parley.peers" -}}
{{- $peers := list -}}
{{- range .Values.peers -}}
{{- $peers = append $peers (mergeOverwrite (deepCopy $.Values.peerDefaults) (deepCopy .)) -}}
{{- end -}}
{{- dict "peers" $peers | toJson -}}
{{- end }}

{{/* host:port of nats-server's monitoring. */}}
{{- define "parley.natsMonitoring" -}}
{{- if .Values.nats.enabled -}}
{{- printf "%s.%s.svc:8222" (include "parley.name" (list . "nats")) .Release.Namespace -}}
{{- else -}}
{{- required "externalNats.monitoringEndpoint is needed where KEDA is to look at an external NATS" .Values.externalNats.monitoringEndpoint -}}
{{- end -}}
{{- end }}
