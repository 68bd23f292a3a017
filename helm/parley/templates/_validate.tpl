{{/* What the schema cannot say. */}}
{{- define "parley.validate" -}}
{{- $names := list -}}
{{- range .Values.peers -}}
{{- if has .name $names -}}
{{- fail (printf "peers: two are called %s" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- range (include "parley.peers" . | fromJson).peers -}}
{{- if and (not .model.uri) (not .model.path) -}}
{{- fail (printf "peers[%s]: give it a model.uri to fetch, or a model.path that is there" .name) -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.tls.enabled) (ne .Values.coordinator.auth.mode "none") -}}
{{- fail "coordinator.auth.mode must be none where tls.enabled is false: a token never travels in plain text" -}}
{{- end -}}
{{- if and (eq .Values.coordinator.auth.mode "oidc") (not .Values.coordinator.auth.oidc.issuer) -}}
{{- fail "coordinator.auth.oidc.issuer is needed where coordinator.auth.mode is oidc" -}}
{{- end -}}
{{- if ge (int .Values.tls.generated.renewBeforeDays) (int .Values.tls.generated.days) -}}
{{- fail "tls.generated.renewBeforeDays must be less than tls.generated.days" -}}
{{- end -}}
{{- if and .Values.nats.enabled .Values.externalNats.url -}}
{{- fail "nats.enabled and externalNats.url contradict each other; set one" -}}
{{- end -}}
{{- end }}
