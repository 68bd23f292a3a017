{{/* What every pod has: no token, no privileges, where it may run. (dict "root" $ "component" "pmi" "values" .Values.pmi) */}}
{{- define "parley.podSpec" -}}
serviceAccountName: {{ include "parley.serviceAccountName" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- include "parley.pullSecrets" .root }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .root.Values.podSecurityContext.runAsUser }}
  runAsGroup: {{ .root.Values.podSecurityContext.runAsGroup }}
  fsGroup: {{ .root.Values.podSecurityContext.fsGroup }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with .values.terminationGracePeriodSeconds }}
terminationGracePeriodSeconds: {{ . }}
{{- end }}
{{- with .values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and (not .values.affinity) (not (hasKey .values "topologySpreadConstraints")) }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "parley.selector" (list .root .component) | nindent 8 }}
{{- end }}
{{- end }}

{{- define "parley.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{/* Probes of a service of ours. (dict "startupSeconds" 3600) */}}
{{- define "parley.probes" -}}
startupProbe:
  httpGet: { path: /readyz, port: metrics }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div .startupSeconds 5 | max 1 }}
readinessProbe:
  httpGet: { path: /readyz, port: metrics }
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  httpGet: { path: /livez, port: metrics }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* A pod that is to stop still answers while whoever calls it learns of it; the images have no shell to sleep in. */}}
{{- define "parley.lifecycle" -}}
{{- with .Values.stopping.delaySeconds }}
lifecycle:
  preStop:
    sleep: { seconds: {{ . }} }
{{- end }}
{{- end }}

{{/* Fails if a pod would be killed before it has stopped. (list $ "coordinator" .Values.coordinator) */}}
{{- define "parley.checkStopping" -}}
{{- $stopping := (index . 0).Values.stopping -}}
{{- $needed := add $stopping.delaySeconds $stopping.drainSeconds 5 -}}
{{- $given := (index . 2).terminationGracePeriodSeconds -}}
{{- if lt (int $given) (int $needed) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %v, but stopping takes up to %v s (stopping.delaySeconds + stopping.drainSeconds + 5)" (index . 1) $given $needed) -}}
{{- end -}}
{{- end }}
