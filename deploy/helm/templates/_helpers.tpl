{{- /* Labels that select the pods of a release. */ -}}
{{- define "tagwait.selector" -}}
app.kubernetes.io/name: tagwait
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /*
Refuses settings that would contradict what the chart renders: ports, probes, grace period. Without a peer a NetworkPolicy
would let everybody in.
*/ -}}
{{- define "tagwait.checks" -}}
{{- $instead := dict
  "TAGWAIT_DRAIN" "give `drain`, which the grace period follows"
  "TAGWAIT_INTERNAL_HOST" "leave it out: probes and backends need 0.0.0.0"
  "TAGWAIT_INTERNAL_PORT" "leave it out: the pods listen on 11001"
  "TAGWAIT_PUBLIC_HOST" "leave it out: the Service needs all addresses of the pod"
  "TAGWAIT_PUBLIC_PORT" "leave it out: the pods listen on 11000, and the Service on 80"
-}}
{{- range $name, $_ := .Values.settings -}}
{{- with get $instead $name }}{{ fail (printf "settings.%s: %s" $name .) }}{{ end -}}
{{- end -}}
{{- if not .Values.internalFrom }}{{ fail "internalFrom: name at least one peer; an empty list would open the internal port to all" }}{{ end -}}
{{- end -}}
