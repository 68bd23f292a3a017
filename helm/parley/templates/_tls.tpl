{{/* Name of the secret with the certificate of a component. (list $ "peer-llama") */}}
{{- define "parley.tlsSecret" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- if eq $root.Values.tls.mode "existing" -}}
{{- required (printf "tls.existing.%s is needed where tls.mode is existing" $component) (index $root.Values.tls.existing $component) -}}
{{- else -}}
{{- printf "%s-tls" (include "parley.name" (list $root $component)) -}}
{{- end -}}
{{- end }}

{{/* DNS names of a service within the cluster. (list $ "name of the service") */}}
{{- define "parley.serviceNames" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $namespace := $root.Release.Namespace -}}
{{- list $name (printf "%s.%s" $name $namespace) (printf "%s.%s.svc" $name $namespace) (printf "%s.%s.svc.%s" $name $namespace $root.Values.clusterDomain) | toJson -}}
{{- end }}

{{/*
Every certificate of the mesh, as JSON: {"certificates": [{"component", "names"}]}. Its identity is a DNS name under
parley.internal, on which services and nats-server decide what its holder may do.
*/}}
{{- define "parley.certificates" -}}
{{- $all := list -}}
{{- $coordinator := include "parley.serviceNames" (list $ (include "parley.name" (list $ "coordinator"))) | fromJsonArray -}}
{{- $all = append $all (dict "component" "coordinator" "names" (concat (list "coordinator.parley.internal" "localhost") $coordinator .Values.coordinator.extraDnsNames)) -}}
{{- $pmi := include "parley.serviceNames" (list $ (include "parley.name" (list $ "pmi"))) | fromJsonArray -}}
{{- $all = append $all (dict "component" "pmi" "names" (concat (list "pmi.parley.internal") $pmi)) -}}
{{- range (include "parley.peers" . | fromJson).peers -}}
{{- $component := printf "peer-%s" .name -}}
{{- $service := include "parley.name" (list $ $component) -}}
{{- $pods := include "parley.serviceNames" (list $ (printf "%s-0.%s" $service $service)) | fromJsonArray -}}
{{- $names := include "parley.serviceNames" (list $ $service) | fromJsonArray -}}
{{- $all = append $all (dict "component" $component "names" (concat (list (printf "%s.peer.parley.internal" .name)) $names $pods)) -}}
{{- end -}}
{{- if .Values.nats.enabled -}}
{{- $service := include "parley.name" (list $ "nats") -}}
{{- $names := include "parley.serviceNames" (list $ $service) | fromJsonArray -}}
{{- $pods := include "parley.serviceNames" (list $ (printf "*.%s-servers" $service)) | fromJsonArray -}}
{{- $all = append $all (dict "component" "nats" "names" (concat (list "localhost") $names (rest $pods))) -}}
{{- end -}}
{{- range list "operator" "topology" -}}
{{- $all = append $all (dict "component" . "names" (list (printf "%s.parley.internal" .))) -}}
{{- end -}}
{{- dict "certificates" $all | toJson -}}
{{- end }}
