{{- define "holdfast.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | replace "holdfast-holdfast" "holdfast" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "holdfast.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "holdfast.strategy" -}}
{{- $one := hasPrefix "sqlite:" (toString .Values.config.database) -}}
{{- if and $one (gt (int .Values.replicas) 1) }}{{ fail "several replicas need a PostgreSQL database" }}{{ end -}}
{{- .Values.strategy | default (ternary "Recreate" "RollingUpdate" $one) -}}
{{- end -}}

{{- define "holdfast.config" -}}
{{- if not .Values.config.database }}{{ fail "config.database is missing: name a PostgreSQL database, such as postgres://holdfast@postgres.databases/holdfast" }}{{ end -}}
{{- if not .Values.config.tenants }}{{ fail "config.tenants is empty: name what is protected" }}{{ end -}}
{{- if and (gt (int .Values.replicas) 1) (not (get .Values.config "pageTokenKeyFile")) }}{{ fail "with several replicas config.pageTokenKeyFile has to be there, such as /run/secrets/holdfast/page-token-key" }}{{ end -}}
{{- if and (get .Values.config.vault "dir") (not .Values.vaultClaim) (not (get .Values.config.vault "s3")) (not (get .Values.config.vault "azure")) }}{{ fail "config.vault.dir needs vaultClaim, or backups would go with the pod; or name a bucket as config.vault.s3 or config.vault.azure, and dir as null" }}{{ end -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "listen" "0.0.0.0:8365" -}}
{{- $_ := set $config "state" "/var/cache/holdfast" -}}
{{- if not (get $config "drain") }}{{ $_ := set $config "drain" "10s" }}{{ end -}}
{{- toPrettyJson $config -}}
{{- end -}}
