// Package deploy holds no code. Its tests read what is in deploy/ with the libraries of
// those who will, Compose's, Helm's and systemd's, and start what it describes.
package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

type object = map[string]any

// built is the program of the repository, if it was built already.
var built string

// binary is the program of the repository.
func binary(t *testing.T) string {
	t.Helper()
	if built != "" {
		return built
	}
	name := filepath.Join(t.TempDir(), "holdfast")
	if err := build(name); err != nil {
		t.Fatal(err)
	}
	return name
}

// build makes the program of the repository, as it is in an image.
func build(name string) error {
	cmd := exec.Command("go", "build", "-o", name, "./cmd/holdfast")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	return nil
}

// check has serve read a configuration as a container is started with it: files that are
// mounted are in the folders of the test.
func check(t *testing.T, holdfast, config string, args []string, secrets map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for path, text := range secrets {
		name := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(name, []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(config, `"`+path+`"`) {
			t.Errorf("the configuration does not name the secret %s", path)
		}
		config = strings.ReplaceAll(config, `"`+path+`"`, `"`+name+`"`)
	}
	file := filepath.Join(dir, "serve.json")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	i := slices.Index(args, "/etc/holdfast/serve.json")
	if i < 0 {
		t.Fatalf("%q names no configuration", args)
	}
	args = slices.Clone(args)
	args[i] = file
	if text, err := exec.Command(holdfast, append(args, "--check")...).CombinedOutput(); err != nil {
		t.Errorf("%q: %v\n%s", args, err, text)
	}
}

func TestCompose(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../deploy/compose")); err != nil {
		t.Fatal(err)
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")}, cli.WithEnv([]string{"HOLDFAST_VERSION=1.2.3"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context()) // it checks the schema, and that all that is named is there
	if err != nil {
		t.Fatal(err)
	}
	service, err := project.GetService("holdfast")
	if err != nil {
		t.Fatal(err)
	}
	if service.Image != "holdfast:1.2.3" || service.DependsOn["database"].Condition != "service_healthy" || !service.ReadOnly || len(service.Ports) != 1 || service.Ports[0].HostIP != "127.0.0.1" {
		t.Errorf("the service is %+v", service)
	}
	config, err := os.ReadFile(filepath.Join(dir, "serve.json"))
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{}
	for _, s := range service.Secrets {
		secrets["/run/secrets/"+s.Source] = "secret of " + s.Source
	}
	check(t, binary(t), string(config), service.Command, secrets)

	// The backup of Holdfast itself is only run by name, sees the same configuration and
	// secrets, and may no more.
	nightly, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")}, cli.WithEnv([]string{"HOLDFAST_VERSION=1.2.3", "HOLDFAST_RECIPIENT=age1x"}), cli.WithProfiles([]string{"backup"}))
	if err != nil {
		t.Fatal(err)
	}
	if project, err = nightly.LoadProject(t.Context()); err != nil {
		t.Fatal(err)
	}
	backup, err := project.GetService("backup")
	if err != nil {
		t.Fatal(err)
	}
	if backup.Image != service.Image || !slices.Equal(backup.Command[:2], []string{"backup", "create"}) || backup.Command[len(backup.Command)-1] != "age1x" || !backup.ReadOnly || backup.Restart != "" || len(backup.Ports) != 0 ||
		!reflect.DeepEqual(backup.Secrets, service.Secrets) || !reflect.DeepEqual(backup.Configs, service.Configs) || !slices.Equal(backup.CapDrop, service.CapDrop) || !slices.Equal(backup.SecurityOpt, service.SecurityOpt) {
		t.Errorf("the backup is %+v", backup)
	}
	if i := slices.Index(backup.Command, "--to"); !slices.ContainsFunc(backup.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == backup.Command[i+1] && v.Type == "bind" }) {
		t.Errorf("the backup is written to %s, and mounted are %+v", backup.Command[i+1], backup.Volumes)
	}

	without, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")}, cli.WithEnv(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := without.LoadProject(t.Context()); err == nil || !strings.Contains(err.Error(), "say which version") {
		t.Errorf("without a version: %v", err)
	}
}

// render is what Helm makes of the chart, by kind.
func render(t *testing.T, values object) (map[string]object, error) {
	t.Helper()
	chart, err := loader.Load("../../deploy/helm/holdfast")
	if err != nil {
		t.Fatal(err)
	}
	if err := chart.Validate(); err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.ToRenderValues(chart, values, chartutil.ReleaseOptions{Name: "backup", Namespace: "holdfast"}, nil)
	if err != nil {
		return nil, err
	}
	files, err := (engine.Engine{Strict: true}).Render(chart, all)
	if err != nil {
		return nil, err
	}
	made := map[string]object{}
	for name, text := range files {
		var o object
		if err := yaml.UnmarshalStrict([]byte(text), &o); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		if kind, ok := o["kind"].(string); ok {
			made[kind] = o
		}
	}
	return made, nil
}

func at(o any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			o = o.(object)[p]
		case int:
			o = o.([]any)[p]
		}
	}
	return o
}

func TestChart(t *testing.T) {
	for want, values := range map[string]object{
		"config.database is missing":       {},
		"config.tenants is empty":          {"config": object{"database": "postgres://holdfast@db/holdfast"}},
		"config.vault.dir needs":           {"config": object{"database": "postgres://holdfast@db/holdfast", "tenants": []any{object{}}}},
		"with several replicas":            {"replicas": 2, "vaultClaim": "v", "config": object{"database": "postgres://holdfast@db/holdfast", "tenants": []any{object{}}}},
		"need a PostgreSQL":                {"replicas": 2, "vaultClaim": "v", "config": object{"database": "sqlite:/x.db", "pageTokenKeyFile": "/k", "tenants": []any{object{}}}},
		"ingress.tlsSecretName is missing": {"vaultClaim": "v", "ingress": object{"enabled": true, "host": "h"}, "config": object{"database": "postgres://holdfast@db/holdfast", "tenants": []any{object{}}}},
	} {
		if _, err := render(t, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}

	claims := object{"database": "postgres://holdfast@db/holdfast", "tenants": []any{object{}}}
	for want, backup := range map[string]object{
		"backup.recipient is missing": {"enabled": true, "claim": "backups"},
		"backup.claim is missing":     {"enabled": true, "recipient": "age1x"},
	} {
		if _, err := render(t, object{"vaultClaim": "v", "backup": backup, "config": claims}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// The CronJob sees of the claims the one that it writes to, and that of the vault where
	// the catalog is in it; the rest is as in the pods.
	for database, volumes := range map[string][]string{"postgres://holdfast@db/holdfast": {"backups", "cache", "config", "secrets", "tmp"}, "sqlite:/var/lib/holdfast/catalog.db": {"backups", "cache", "config", "secrets", "tmp", "vault"}} {
		made, err := render(t, object{"vaultClaim": "v", "backup": object{"enabled": true, "recipient": "age1x", "claim": "b", "keep": 7}, "config": object{"database": database, "databasePasswordFile": nil, "tenants": []any{object{}}}})
		if err != nil {
			t.Fatal(err)
		}
		pod, of := at(made["CronJob"], "spec", "jobTemplate", "spec", "template", "spec"), at(made["Deployment"], "spec", "template", "spec")
		var args []string
		for _, a := range at(pod, "containers", 0, "args").([]any) {
			args = append(args, a.(string))
		}
		if want := []string{"backup", "create", "--config", "/etc/holdfast/serve.json", "--to", "/var/lib/holdfast-backups", "--keep", "7", "--recipient", "age1x"}; !slices.Equal(args, want) {
			t.Errorf("%s: started is %q, want %q", database, args, want)
		}
		for _, path := range [][]any{{"securityContext"}, {"automountServiceAccountToken"}, {"containers", 0, "image"}, {"containers", 0, "securityContext"}} {
			if !reflect.DeepEqual(at(pod, path...), at(of, path...)) {
				t.Errorf("%s: of the CronJob %v is %v, of the pods %v", database, path, at(pod, path...), at(of, path...))
			}
		}
		for _, list := range []any{at(pod, "volumes"), at(pod, "containers", 0, "volumeMounts")} {
			var names []string
			for _, v := range list.([]any) {
				names = append(names, at(v, "name").(string))
			}
			if slices.Sort(names); !slices.Equal(names, volumes) {
				t.Errorf("%s: mounted are %q, want %q", database, names, volumes)
			}
		}
		if s := at(made["Service"], "spec", "selector").(object); at(made["CronJob"], "spec", "jobTemplate", "spec", "template", "metadata", "labels", "app.kubernetes.io/name") == s["app.kubernetes.io/name"] {
			t.Errorf("the service sends requests to the backup: %v", s)
		}
	}

	for _, values := range []object{{"strategy": "Recreate", "config": object{"database": "postgres://holdfast@db/holdfast"}}, {"config": object{"database": "sqlite:/var/lib/holdfast/catalog.db"}}} {
		values["vaultClaim"], values["config"].(object)["tenants"] = "v", []any{object{}}
		made, err := render(t, values)
		if err != nil {
			t.Fatal(err)
		}
		if s := at(made["Deployment"], "spec", "strategy"); at(s, "type") != "Recreate" {
			t.Errorf("%v: pods are replaced by %v", values, s)
		}
	}

	const in = "/run/secrets/holdfast/"
	made, err := render(t, object{
		"replicas": 2, "vaultClaim": "vault", "image": object{"repository": "registry.example/holdfast", "tag": "1.2.3"}, "ingress": object{"enabled": true, "host": "backup.example.com", "tlsSecretName": "tls"},
		"config": object{
			"database": "postgres://holdfast@postgres.databases/holdfast", "pageTokenKeyFile": in + "page-token-key", "api": object{"clientId": "5a1e0000-4f6b-4c55-8f0e-c0a7050a00aa"},
			"tenants": []any{object{"id": "c0ffee00-5a3e-4d7b-9c1f-365365365365", "clientId": "1fec8e78-bce4-4aaf-ab1b-5451cc387264", "secretFile": in + "tenant"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"ConfigMap", "Deployment", "Service", "Ingress"} {
		if made[kind] == nil {
			t.Fatalf("there is no %s", kind)
		}
	}
	if s := at(made["Deployment"], "spec", "strategy"); at(s, "type") != "RollingUpdate" || at(s, "rollingUpdate", "maxUnavailable") != float64(0) || at(s, "rollingUpdate", "maxSurge") != float64(1) {
		t.Errorf("pods are replaced by %v", s)
	}
	pod := at(made["Deployment"], "spec", "template", "spec")
	container := at(pod, "containers", 0)
	if at(container, "image") != "registry.example/holdfast:1.2.3" || at(pod, "securityContext", "runAsUser") != float64(65532) || at(container, "securityContext", "readOnlyRootFilesystem") != true {
		t.Errorf("the pod is %v", pod)
	}
	labels, selected := at(made["Deployment"], "spec", "template", "metadata", "labels").(object), at(made["Service"], "spec", "selector").(object)
	for k, v := range selected {
		if labels[k] != v || at(made["Deployment"], "spec", "selector", "matchLabels", k) != v {
			t.Errorf("the service selects %s=%v, the pods are %v", k, v, labels)
		}
	}
	mounted, volumes := map[string]bool{}, map[string]bool{}
	for _, m := range at(container, "volumeMounts").([]any) {
		mounted[at(m, "name").(string)] = true
	}
	for _, v := range at(pod, "volumes").([]any) {
		volumes[at(v, "name").(string)] = true
	}
	if len(mounted) != len(volumes) || !volumes["vault"] {
		t.Errorf("mounted are %v of %v", mounted, volumes)
	}
	for m := range mounted {
		if !volumes[m] {
			t.Errorf("%s is mounted and is no volume", m)
		}
	}
	var args []string
	for _, a := range at(container, "args").([]any) {
		args = append(args, a.(string))
	}
	config := at(made["ConfigMap"], "data", "serve.json").(string)
	if !json.Valid([]byte(config)) {
		t.Fatalf("the configuration: %s", config)
	}
	check(t, binary(t), config, args, map[string]string{in + "database": "d", in + "vault": "v", in + "tenant": "t", in + "page-token-key": "k"})
}
