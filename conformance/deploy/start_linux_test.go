package deploy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/coreos/go-systemd/v22/unit"
)

const (
	graphPath = "/etc/ssl/certs/ca-certificates.crt" // where a container looks for the authorities it trusts
	nobody    = 65532                                // as whom the image runs
	tenantID  = "c0ffee00-5a3e-4d7b-9c1f-365365365365"
	sourceID  = "1fec8e78-bce4-4aaf-ab1b-5451cc387264"
	apiID     = "5a1e0000-4f6b-4c55-8f0e-c0a7050a00aa"
)

// A microsoft is Entra ID and Graph at their own names, with the tenant that the
// deployment files name.
type microsoft struct {
	authority string // the file of the certificate that vouches for the names
	drives    string
}

func startMicrosoft(t *testing.T) microsoft {
	t.Helper()
	dir := t.TempDir()
	app := func(id, name string, more object) object {
		o := object{"appId": id, "displayName": name, "secret": "secret of tenant", "roles": []string{"Files.ReadWrite.All", "User.Read.All", "GroupMember.Read.All", "Sites.Manage.All", "MailboxSettings.Read", "MailboxFolder.ReadWrite.All", "MailboxItem.Read.All", "MailboxItem.ImportExport.All", "Mail.ReadWrite",
			"BackupRestore-Configuration.ReadWrite.All", "BackupRestore-Control.ReadWrite.All", "BackupRestore-Monitor.Read.All", "BackupRestore-Restore.ReadWrite.All", "BackupRestore-Search.Read.All"}}
		for k, v := range more {
			o[k] = v
		}
		return o
	}
	text, err := json.Marshal(object{"tenants": []any{object{
		"id": tenantID, "displayName": "Contoso", "domain": "contoso.com",
		"users":  []any{object{"id": "a3a1a000-4f6b-4c55-8f0e-c0a7050a0001", "userPrincipalName": "amala@contoso.com", "mail": "amala@contoso.com", "displayName": "Amala Rao"}},
		"groups": []any{},
		"apps": []any{app(sourceID, "the source", nil), app(apiID, "Holdfast", object{"requestedAccessTokenVersion": 2,
			"exposes": []string{"BackupRestore-Configuration.ReadWrite.All", "BackupRestore-Control.ReadWrite.All", "BackupRestore-Monitor.Read.All", "BackupRestore-Restore.ReadWrite.All", "BackupRestore-Search.Read.All"}})},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	place(t, filepath.Join(dir, "tenant.json"), string(text), 0o600, 0, 0)
	place(t, filepath.Join(dir, "data/drives/amala@contoso.com/plan.md"), "the plan", 0o600, 0, 0)
	p := start(t, exec.Command(built, "tenant", "--data", filepath.Join(dir, "data"), "--tenant", filepath.Join(dir, "tenant.json"), "--listen", "127.0.0.1:8080", "--tls-listen", "127.0.0.1:443", "--proxy-listen", "127.0.0.1:3128"))
	m := microsoft{filepath.Join(dir, "data/tls/ca.pem"), filepath.Join(dir, "data/drives")}
	p.until(t, "the tenant is there", time.Minute, func() bool { return strings.Contains(p.said.String(), `"authorityCertificate"`) })
	return m
}

// client is the environment of a client of the server at an address of this machine.
func (m microsoft) client(address string) []string {
	return []string{"HOLDFAST_URL=http://" + address, "HOLDFAST_AUTHORITY=https://login.microsoftonline.com", "HOLDFAST_TENANT=" + tenantID, "HOLDFAST_CLIENT_ID=" + sourceID,
		"HOLDFAST_CLIENT_SECRET=secret of tenant", "HOLDFAST_CA_FILE=" + m.authority}
}

// works has a server that has started protect a drive, if it does not yet, and tell what
// is in the backup; that is all by its published port.
func (m microsoft) works(t *testing.T, address string) {
	t.Helper()
	env := m.client(address)
	if !strings.Contains(tool(t, env, built, "drive", "list"), "amala@contoso.com") {
		tool(t, env, built, "policy", "create", "Drives")
		tool(t, env, built, "drive", "add", "--policy", "Drives", "amala@contoso.com")
		tool(t, env, built, "policy", "activate", "Drives", "--wait")
	}
	if text := tool(t, env, built, "browse", "ls", "amala@contoso.com"); !strings.Contains(text, "plan.md") {
		t.Errorf("the backup has\n%s", text)
	}
}

// startPostgres starts a PostgreSQL as its image does for the environment: with a user
// who has a password and a database, at the port that clients expect. It returns the
// environment of a client in its container.
func startPostgres(t *testing.T, name, database, password string) []string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no PostgreSQL")
		}
		t.Skip("there is no PostgreSQL")
	}
	bin := found[len(found)-1]
	dir, err := os.MkdirTemp("", "holdfast-deploy-pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	who, err := user.Lookup("postgres")
	if err != nil {
		who, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(who.Uid)
	gid, _ := strconv.Atoi(who.Gid)
	place(t, filepath.Join(dir, "password"), password, 0o400, uid, gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	as := func(program string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, program), args...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + bin, "LC_ALL=C", "HOME=" + dir, "PGHOST=" + dir}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		return cmd
	}
	data := filepath.Join(dir, "data")
	if text, err := as("initdb", "--pgdata", data, "--username", name, "--pwfile", filepath.Join(dir, "password"), "--auth-host=scram-sha-256", "--auth-local=trust", "--encoding=UTF8", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, text)
	}
	p := start(t, as("postgres", "-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+dir, "-c", "fsync=off"))
	p.until(t, "the database is there", time.Minute, func() bool {
		return as("psql", "--username", name, "--dbname", "postgres", "--command", `CREATE DATABASE "`+database+`"`).Run() == nil
	})
	return []string{"PATH=" + bin, "PGHOST=" + dir, "PGCONNECT_TIMEOUT=5"}
}

// image is a container of the image that release/image.go makes, with what runtimes give
// to each: names, and here the authority that vouches for the simulated ones.
func image(t *testing.T, m microsoft) container {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"etc/holdfast", "usr/bin", "var/cache", "var/lib"} {
		folder(t, filepath.Join(root, dir), 0o755, 0, 0)
	}
	folder(t, filepath.Join(root, "tmp"), 0o777|os.ModeSticky, 0, 0)
	for _, dir := range []string{"var/cache/holdfast", "var/lib/holdfast"} {
		folder(t, filepath.Join(root, dir), 0o700, nobody, nobody)
	}
	return container{
		Root: root, PIDs: true, Umask: 0o022, UID: nobody, GID: nobody, Dir: "/var/lib/holdfast",
		Env:    []string{"PATH=/usr/bin", "HOME=/var/lib/holdfast", "TMPDIR=/tmp"},
		Args:   []string{"/usr/bin/holdfast"},
		Mounts: []mount{{built, "/usr/bin/holdfast", true}, {"/etc/hosts", "/etc/hosts", true}, {m.authority, graphPath, true}},
	}
}

// answers reports whether something answers a request with 200.
func answers(url string, most time.Duration) bool {
	c := http.Client{Timeout: most}
	res, err := c.Get(url)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// What the compose file describes starts, works, ends when it is asked to, and goes on
// with what it had.
func TestComposeStarts(t *testing.T) {
	needMachine(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../deploy/compose")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"database", "vault", "tenant"} { // as the file says
		place(t, filepath.Join(dir, "secrets", name), "secret of "+name+"\n", 0o400, nobody, nobody)
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")}, cli.WithEnv([]string{"HOLDFAST_VERSION=1.2.3"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	database, service := project.Services["database"], project.Services["holdfast"]
	of := func(key string) string {
		if v := database.Environment[key]; v != nil {
			return *v
		}
		t.Fatalf("the database has no %s", key)
		return ""
	}
	secret := func(path string) string {
		text, err := os.ReadFile(project.Secrets[strings.TrimPrefix(path, "/run/secrets/")].File)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text)) // as the image's shell does
	}
	inDatabase := startPostgres(t, of("POSTGRES_USER"), of("POSTGRES_DB"), secret(of("POSTGRES_PASSWORD_FILE")))
	if test := database.HealthCheck.Test; test[0] != "CMD" {
		t.Errorf("the database's health is asked for by %q", test)
	} else {
		tool(t, inDatabase, test[1:]...)
	}
	m := startMicrosoft(t)

	c := image(t, m)
	c.ReadOnly = service.ReadOnly
	c.Args = append(c.Args, service.Command...)
	for k, v := range service.Environment {
		c.Env = append(c.Env, k+"="+*v)
	}
	for _, path := range service.Tmpfs {
		c.Mounts = append(c.Mounts, mount{To: path})
	}
	for _, v := range service.Volumes {
		if v.Type != "volume" {
			t.Fatalf("%+v is mounted", v)
		}
		info, err := os.Stat(filepath.Join(c.Root, v.Target)) // as whose an empty volume is made
		if err != nil {
			t.Fatal(err)
		}
		is := info.Sys().(*syscall.Stat_t)
		c.Mounts = append(c.Mounts, mount{folder(t, filepath.Join(dir, "volumes", v.Source), info.Mode(), int(is.Uid), int(is.Gid)), v.Target, v.ReadOnly})
	}
	for _, s := range service.Configs {
		c.Mounts = append(c.Mounts, mount{project.Configs[s.Source].File, s.Target, true})
	}
	for _, s := range service.Secrets {
		c.Mounts = append(c.Mounts, mount{project.Secrets[s.Source].File, cmp.Or(s.Target, "/run/secrets/"+s.Source), true})
	}
	if len(service.Ports) != 1 || service.Ports[0].Published != strconv.Itoa(int(service.Ports[0].Target)) {
		t.Fatalf("published is %+v", service.Ports) // a container is at the machine's own ports here
	}
	address := service.Ports[0].HostIP + ":" + service.Ports[0].Published
	grace := time.Duration(*service.StopGracePeriod)
	if !slices.Equal(service.CapDrop, []string{"ALL"}) || !slices.Equal(service.SecurityOpt, []string{"no-new-privileges:true"}) {
		t.Errorf("a container may %v, %v", service.CapDrop, service.SecurityOpt) // it is started without
	}
	// Whatever else the service says nobody has thought of here.
	rest := service
	rest.Name, rest.Image, rest.Restart, rest.DependsOn, rest.Networks = "", "", "", nil, nil
	rest.ReadOnly, rest.Command, rest.Environment, rest.Tmpfs, rest.Volumes, rest.Configs, rest.Secrets = false, nil, nil, nil, nil, nil, nil
	rest.Ports, rest.StopGracePeriod, rest.CapDrop, rest.SecurityOpt = nil, nil, nil, nil
	if !reflect.DeepEqual(rest, types.ServiceConfig{}) {
		t.Errorf("not made here: %+v", rest)
	}

	for range 2 {
		p := c.run(t)
		p.until(t, "it is ready", time.Minute, func() bool { return answers("http://"+address+"/readyz", 5*time.Second) })
		m.works(t, address)
		p.stop(t, grace)
	}
}

// What Kubernetes makes of the chart starts, by its probes, works, and ends when it is
// asked to.
func TestChartStarts(t *testing.T) {
	needMachine(t)
	const in = "/run/secrets/holdfast/"
	tenants, api := []any{object{"id": tenantID, "displayName": "Contoso", "clientId": sourceID, "secretFile": in + "tenant"}}, object{"clientId": apiID}
	for name, values := range map[string]object{
		"SQLite":     {"vaultClaim": "vault", "config": object{"database": "sqlite:/var/lib/holdfast/catalog.db", "databasePasswordFile": nil, "tenants": tenants, "api": api}},
		"PostgreSQL": {"vaultClaim": "vault", "replicas": 2, "config": object{"database": "postgres://holdfast@postgres.databases/holdfast?sslmode=disable", "pageTokenKeyFile": in + "page-token-key", "tenants": tenants, "api": api}},
	} {
		t.Run(name, func(t *testing.T) {
			secrets := map[string]string{"database": "secret of database\n", "vault": "secret of vault\n", "tenant": "secret of tenant\n", "page-token-key": strings.Repeat("5a", 32) + "\n"}
			if name == "PostgreSQL" {
				startPostgres(t, "holdfast", "holdfast", "secret of database")
			}
			m := startMicrosoft(t)
			made, err := render(t, values)
			if err != nil {
				t.Fatal(err)
			}
			pod := at(made["Deployment"], "spec", "template", "spec").(object)
			is := at(pod, "containers", 0).(object)
			number := func(o any, key string, otherwise int) int {
				if v, ok := o.(object)[key].(float64); ok {
					return int(v)
				}
				return otherwise
			}

			c := image(t, m)
			security := at(pod, "securityContext")
			c.UID, c.GID = number(security, "runAsUser", c.UID), number(security, "runAsGroup", c.GID)
			group := number(security, "fsGroup", 0)
			c.Groups = []int{group}
			c.ReadOnly, _ = at(is, "securityContext", "readOnlyRootFilesystem").(bool)
			for _, a := range is["args"].([]any) {
				c.Args = append(c.Args, a.(string))
			}
			if is["command"] != nil || is["env"] != nil || is["envFrom"] != nil {
				t.Fatalf("not made here: %v", is)
			}
			// Files of a ConfigMap or Secret are links, by which all are replaced at once.
			files := func(dir string, data map[string]string, mode os.FileMode) string {
				folder(t, dir, 0o777|os.ModeSetgid, 0, group)
				for name, text := range data {
					place(t, filepath.Join(dir, "..2026_11_28", name), text, mode, 0, group)
					if err := os.Symlink("..data/"+name, filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.Symlink("..2026_11_28", filepath.Join(dir, "..data")); err != nil {
					t.Fatal(err)
				}
				return dir
			}
			volumes := map[string]string{}
			for _, v := range pod["volumes"].([]any) {
				v := v.(object)
				name := v["name"].(string)
				dir := filepath.Join(t.TempDir(), name)
				switch {
				case v["configMap"] != nil:
					if at(v, "configMap", "name") != at(made["ConfigMap"], "metadata", "name") {
						t.Errorf("there is no ConfigMap of the volume %v", v)
					}
					data := map[string]string{}
					for k, text := range at(made["ConfigMap"], "data").(object) {
						data[k] = text.(string)
					}
					files(dir, data, 0o644)
				case v["secret"] != nil:
					files(dir, secrets, os.FileMode(number(v["secret"], "defaultMode", 0o644)))
				case v["emptyDir"] != nil, v["persistentVolumeClaim"] != nil:
					folder(t, dir, 0o770|os.ModeSetgid, 0, group)
				default:
					t.Fatalf("not made here: %v", v)
				}
				volumes[name] = dir
			}
			for _, v := range is["volumeMounts"].([]any) {
				v := v.(object)
				readOnly, _ := v["readOnly"].(bool)
				c.Mounts = append(c.Mounts, mount{volumes[v["name"].(string)], v["mountPath"].(string), readOnly})
			}
			ports := map[any]int{}
			for _, p := range is["ports"].([]any) {
				ports[at(p, "name")] = number(p, "containerPort", 0)
			}
			address := fmt.Sprint("127.0.0.1:", ports[at(made["Service"], "spec", "ports", 0, "targetPort")])
			probe := func(kind string) (func() bool, time.Duration) {
				p := is[kind].(object)
				port, named := ports[at(p, "httpGet", "port")]
				if !named {
					t.Errorf("the %s asks at %v", kind, p)
				}
				url := fmt.Sprintf("http://127.0.0.1:%d%s", port, at(p, "httpGet", "path"))
				return func() bool { return answers(url, time.Duration(number(p, "timeoutSeconds", 1))*time.Second) },
					time.Duration(number(p, "periodSeconds", 10)*number(p, "failureThreshold", 3)) * time.Second
			}

			for range 2 {
				p := c.run(t)
				for _, kind := range []string{"startupProbe", "readinessProbe", "livenessProbe"} {
					if is[kind] == nil {
						continue
					}
					is, most := probe(kind)
					p.until(t, kind, most, is)
				}
				m.works(t, address)
				p.stop(t, time.Duration(number(pod, "terminationGracePeriodSeconds", 30))*time.Second)
			}
		})
	}
}

// unitApart are the lines of the unit that need systemd itself, or its filters of system
// calls, or a machine that boots.
var unitApart = []string{
	"Description", "Wants", "After", "WantedBy", "Restart", "RestartSec",
	"LockPersonality", "ProtectClock", "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables",
	"ProtectProc", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallFilter",
}

// What the unit describes starts with no more than it gives, works, reads its
// configuration again, and ends when it is asked to.
func TestUnitStarts(t *testing.T) {
	needMachine(t)
	text, err := os.Open("../../deploy/systemd/holdfast.service")
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	options, err := unit.DeserializeOptions(text)
	if err != nil {
		t.Fatal(err)
	}
	m := startMicrosoft(t)
	const uid, credentials = 61184, "/run/credentials/holdfast.service" // as systemd would choose
	dir, root := t.TempDir(), t.TempDir()
	etc := map[string]string{ // as the unit says
		"/etc/holdfast/serve.json": `{"listen": "127.0.0.1:8365", "database": "sqlite:/var/lib/holdfast/catalog.db", "vault": {"dir": "/var/lib/holdfast/vault", "passwordFile": "vault"},
			"state": "/var/cache/holdfast", "tenants": [{"id": "` + tenantID + `", "clientId": "` + sourceID + `", "secretFile": "tenant"}], "api": {"clientId": "` + apiID + `"}}`,
		"/etc/holdfast/vault": "secret of vault\n", "/etc/holdfast/tenant": "secret of tenant\n",
	}
	c := container{Root: root, Umask: 0o022, Dir: "/", Mounts: []mount{{"/usr/bin", "/usr/bin", true}, {"/usr/lib", "/usr/lib", true}, {built, "/usr/local/bin/holdfast", true}, {"/etc/hosts", "/etc/hosts", true}, {m.authority, graphPath, true}}}
	for _, lib := range []string{"bin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+lib, filepath.Join(root, lib)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat("/usr/lib64"); err == nil {
		c.Mounts = append(c.Mounts, mount{"/usr/lib64", "/usr/lib64", true})
	}
	env := map[string]string{"PATH": "/usr/local/bin:/usr/bin", "HOME": "/", "USER": "holdfast", "LOGNAME": "holdfast", "LANG": "C.UTF-8"}
	var starts, reloads string
	var grace time.Duration
	modes := map[string]os.FileMode{"StateDirectory": 0o755, "CacheDirectory": 0o755}
	folders := map[string]string{}
	switched := map[string]bool{}
	for _, o := range options {
		switch o.Name {
		case "ExecStart":
			starts = o.Value
		case "ExecReload":
			reloads = o.Value
		case "Environment":
			k, v, _ := strings.Cut(o.Value, "=")
			env[k] = v
		case "LoadCredential":
			name, from, _ := strings.Cut(o.Value, ":")
			if etc[from] == "" {
				t.Errorf("%s is not among the files", from)
			}
			place(t, filepath.Join(dir, "credentials", name), etc[from], 0o400, uid, uid)
			env["CREDENTIALS_DIRECTORY"] = credentials
		case "StateDirectory", "CacheDirectory":
			folders[o.Name] = o.Value
		case "StateDirectoryMode", "CacheDirectoryMode", "UMask":
			mode, err := strconv.ParseUint(o.Value, 8, 32)
			if err != nil {
				t.Fatal(err)
			}
			if o.Name == "UMask" {
				c.Umask = int(mode)
			} else {
				modes[strings.TrimSuffix(o.Name, "Mode")] = os.FileMode(mode)
			}
		case "TimeoutStopSec":
			seconds, err := strconv.Atoi(o.Value)
			if err != nil {
				t.Fatal(err)
			}
			grace = time.Duration(seconds) * time.Second
		case "DynamicUser", "MemoryDenyWriteExecute", "NoNewPrivileges", "PrivateDevices", "ProtectHome":
			switched[o.Name] = o.Value == "yes"
		case "ProtectSystem":
			c.ReadOnly = o.Value == "strict"
		case "CapabilityBoundingSet":
			switched[o.Name] = o.Value == ""
		default:
			if !slices.Contains(unitApart, o.Name) {
				t.Errorf("not made here: %s=%s", o.Name, o.Value)
			}
		}
	}
	for _, name := range []string{"DynamicUser", "MemoryDenyWriteExecute", "NoNewPrivileges", "PrivateDevices", "ProtectHome", "CapabilityBoundingSet"} {
		if !switched[name] {
			t.Errorf("the unit does not say %s", name) // it is started so
		}
	}
	c.UID, c.GID, c.NoExec = uid, uid, true
	folder(t, filepath.Join(dir, "credentials"), 0o500, uid, uid)
	c.Mounts = append(c.Mounts, mount{filepath.Join(dir, "credentials"), credentials, true}, mount{To: "/tmp"}, mount{To: "/var/tmp"}) // a DynamicUser has its own
	for kind, in := range map[string]string{"StateDirectory": "/var/lib", "CacheDirectory": "/var/cache"} {
		name := folders[kind]
		folder(t, filepath.Join(root, in), 0o755, 0, 0)
		if err := os.Symlink("private/"+name, filepath.Join(root, in, name)); err != nil {
			t.Fatal(err)
		}
		c.Mounts = append(c.Mounts, mount{folder(t, filepath.Join(dir, kind), modes[kind], uid, uid), in + "/private/" + name, false})
		env[map[string]string{"StateDirectory": "STATE_DIRECTORY", "CacheDirectory": "CACHE_DIRECTORY"}[kind]] = in + "/" + name
	}
	for k, v := range env {
		c.Env = append(c.Env, k+"="+v)
	}
	command := func(line string) []string {
		return strings.Fields(regexp.MustCompile(`\$\{?([A-Z_]+)\}?`).ReplaceAllStringFunc(line, func(v string) string {
			value, there := env[strings.Trim(v, "${}")]
			if !there {
				t.Errorf("%q: %s is not set", line, v)
			}
			return value
		}))
	}

	night, recipient := nightly(t, options)
	env["RECIPIENT"] = recipient
	backups := folder(t, filepath.Join(dir, "backups"), modes["StateDirectory"], uid, uid)
	folder(t, filepath.Join(root, "/var/lib"), 0o755, 0, 0)
	if err := os.Symlink("private/holdfast-backups", filepath.Join(root, "/var/lib/holdfast-backups")); err != nil {
		t.Fatal(err)
	}
	c.Mounts = append(c.Mounts, mount{backups, "/var/lib/private/holdfast-backups", false})

	for range 2 {
		delete(env, "MAINPID")
		c.Args = command(starts)
		p := c.run(t)
		p.until(t, "it is ready", time.Minute, func() bool { return answers("http://127.0.0.1:8365/readyz", 5*time.Second) })
		m.works(t, "127.0.0.1:8365")
		env["MAINPID"] = strconv.Itoa(p.cmd.Process.Pid)
		again := c
		again.Args = command(reloads)
		kill := again.run(t)
		<-kill.ended
		if !kill.cmd.ProcessState.Success() {
			t.Errorf("%s: %v", reloads, kill.cmd.ProcessState)
		}
		p.until(t, "it reads its configuration again", time.Minute, func() bool { return strings.Contains(p.said.String(), "configuration") })
		m.works(t, "127.0.0.1:8365")
		beside := c
		beside.Args = command(night)
		backup := beside.run(t)
		<-backup.ended
		if made, err := filepath.Glob(filepath.Join(backups, "holdfast-*Z.backup")); err != nil || len(made) == 0 || !backup.cmd.ProcessState.Success() {
			t.Errorf("the backup of Holdfast ends with %v: %s, and there are %q, %v", backup.cmd.ProcessState, backup.said.String(), made, err)
		} else if err := os.Remove(made[0]); err != nil { // the next may be of the same second
			t.Fatal(err)
		}
		p.stop(t, grace)
	}
}

// nightly returns what the unit of backups starts, and for whom it seals them. It is
// started as what options describe, from which it differs in nothing that matters there.
func nightly(t *testing.T, options []*unit.UnitOption) (start, recipient string) {
	t.Helper()
	file, err := os.Open("../../deploy/systemd/holdfast-backup.service")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	own, err := unit.DeserializeOptions(file)
	if err != nil {
		t.Fatal(err)
	}
	differs := map[string]string{"Description": "", "Type": "oneshot", "User": "holdfast", "StateDirectory": "holdfast holdfast-backups", "EnvironmentFile": "/etc/holdfast/backup", "ExecStart": ""}
	for _, o := range own {
		if o.Name == "ExecStart" {
			start = o.Value
		}
		want, ours := differs[o.Name]
		same := slices.ContainsFunc(options, func(s *unit.UnitOption) bool { return *s == *o })
		if ours && want != "" && o.Value != want || !ours && !same {
			t.Errorf("the unit of backups says %s=%s", o.Name, o.Value)
		}
	}
	for _, o := range options {
		_, ours := differs[o.Name]
		if !ours && !slices.Contains([]string{"ExecReload", "Restart", "RestartSec", "TimeoutStopSec", "WantedBy"}, o.Name) && !slices.ContainsFunc(own, func(s *unit.UnitOption) bool { return *s == *o }) {
			t.Errorf("the unit of backups does not say %s=%s", o.Name, o.Value)
		}
	}
	return start, "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p" // the example of age's own documentation
}
