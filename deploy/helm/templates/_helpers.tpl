{{- /* Labels that select the pods of a release. */ -}}
{{- define "tagwait.selector" -}}
app.kubernetes.io/name: tagwait
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
