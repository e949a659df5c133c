package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/vault"
)

const (
	exampleTenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	exampleApp    = "1fec8e78-bce4-4aaf-ab1b-5451cc387264"
)

// writeConfig writes a configuration that is right but for what change does to
// it, with the files that it names, and returns its path.
func writeConfig(t testing.TB, change func(map[string]any)) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"vault.password": "correct horse\n", "app.secret": "  s3cret \n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := map[string]any{
		"listen":   "127.0.0.1:8465",
		"database": "sqlite:catalog.db",
		"vault":    map[string]any{"dir": "vault", "passwordFile": "vault.password"},
		"tenants": []any{map[string]any{
			"id": strings.ToUpper(exampleTenant), "clientId": exampleApp, "secretFile": "app.secret",
			"graph": "http://127.0.0.1:8365/v1.0/",
		}},
		"issuers": []any{map[string]any{
			"issuer": "https://sts.example/" + exampleTenant, "jwks": "https://sts.example/keys", "tenant": exampleTenant,
		}},
	}
	if change != nil {
		change(cfg)
	}
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "holdfast.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadConfigFillsIn(t *testing.T) {
	path := writeConfig(t, nil)
	cfg, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	tenant := cfg.Tenants[0]
	for _, row := range []struct{ field, got, want string }{
		{"database", cfg.Database, "sqlite:" + filepath.Join(dir, "catalog.db")},
		{"vault.dir", cfg.Vault.Dir, filepath.Join(dir, "vault")},
		{"state", cfg.State, filepath.Join(dir, "state")},
		{"tenant", tenant.ID, exampleTenant},
		{"graph", tenant.Graph, "http://127.0.0.1:8365/v1.0"},
		{"authority", tenant.Authority, defaultAuthority},
		{"secret", string(tenant.Credential.(drive.Secret)), "s3cret"},
		{"interval", time.Duration(cfg.Interval).String(), "10m0s"},
		{"rpo", time.Duration(cfg.RPO).String(), "20m0s"},
		{"ruleInterval", time.Duration(cfg.RuleInterval).String(), "24h0m0s"},
		{"audience", cfg.Audiences[0], defaultAudiences[0]},
	} {
		if row.got != row.want {
			t.Errorf("%s = %q, want %q", row.field, row.got, row.want)
		}
	}
}

func TestReadConfigSaysAllThatIsWrong(t *testing.T) {
	path := writeConfig(t, func(cfg map[string]any) {
		cfg["listen"] = "8365"
		cfg["tlsListen"] = map[string]any{"address": ":443", "certFile": "no.pem", "keyFile": "no.key"}
		cfg["database"] = "postgres://holdfast:hunter2@db/holdfast"
		cfg["vault"] = map[string]any{"passwordEnv": "HOLDFAST_TEST_NOT_SET"}
		cfg["tenants"] = []any{
			map[string]any{"id": "contoso.com", "graph": "graph.microsoft.com", "authority": "http://login.example", "secretFile": "none"},
			map[string]any{"id": exampleTenant, "clientId": exampleApp, "secretFile": "app.secret", "secretEnv": "TOO"},
			map[string]any{"id": exampleTenant, "clientId": exampleApp, "secretFile": "app.secret", "licences": -5, "unitsPerMinute": -1, "versions": 501},
			map[string]any{"id": "22222222-2222-2222-2222-222222222222", "clientId": exampleApp, "secretFile": "app.secret", "versions": 5},
		}
		cfg["issuers"] = []any{map[string]any{"tenant": "11111111-1111-1111-1111-111111111111"}}
		cfg["console"] = map[string]any{"authority": "login.example"}
		cfg["interval"] = "5ms"
		cfg["ruleInterval"] = "-1h"
		cfg["rpo"] = "1ms"
		cfg["workers"] = -1
		cfg["colour"] = "blue"
	})
	_, err := ReadConfig(path)
	if err == nil {
		t.Fatal("a configuration full of mistakes was accepted")
	}
	for _, want := range []string{
		`unknown field "colour"`,
		`listen: "8365" is not an address`,
		"tlsListen: the certificate and its key cannot be used",
		"database: holds a password",
		"vault.dir: is missing",
		"vault.passwordFile: is empty: set the environment variable HOLDFAST_TEST_NOT_SET",
		`tenants[0].id: "contoso.com" is not a tenant id`,
		`tenants[0].graph: "graph.microsoft.com" is not a web address`,
		"tenants[0].authority: \"http://login.example\" would send secrets in the clear",
		"tenants[0].clientId: is missing",
		"tenants[0].secretFile: cannot be read",
		"tenants[1].secretFile: is given both",
		"tenants[2].id: " + exampleTenant + " is named twice",
		"tenants[2].licences: -5 is not possible",
		"tenants[2].unitsPerMinute: -1 is not possible",
		"tenants[2].versions: 501 is not possible",
		"tenants[3].versions: has nothing to be done: versions are kept of files in document libraries of sites, so name sharePoint",
		"issuers[0].issuer: is missing",
		"issuers[0].jwks: ",
		"issuers[0].tenant: ",
		"console.clientId: is missing",
		"console.secretFile: ",
		`console.authority: "login.example" is not a web address`,
		"interval: 5ms is too short",
		"ruleInterval: -1h0m0s is too short",
		"rpo: 1ms cannot be kept: the interval is 5ms",
		"workers: -1 is not possible",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q", want)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the error tells the database's password")
	}
	if t.Failed() {
		t.Log(err)
	}
}

// What would not work, or not as it is meant, is said before anything starts, by the
// name of the field and with what belongs there.
func TestReadConfigRefusesWhatCannotWork(t *testing.T) {
	set := func(value any, path ...any) func(string, map[string]any) {
		return func(_ string, cfg map[string]any) {
			var at any = cfg
			for _, step := range path[:len(path)-1] {
				switch step := step.(type) {
				case string:
					at = at.(map[string]any)[step]
				case int:
					at = at.([]any)[step]
				}
			}
			at.(map[string]any)[path[len(path)-1].(string)] = value
		}
	}
	put := func(name, text string) func(string, map[string]any) {
		return func(dir string, _ map[string]any) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	mail := func(more map[string]any) map[string]any {
		m := map[string]any{"server": "smtp.example.com:587", "from": "a@example.com"}
		maps.Copy(m, more)
		return map[string]any{"mail": m}
	}
	for name, row := range map[string]struct {
		change func(dir string, cfg map[string]any)
		want   string // "" where it is right
	}{
		"an IPv6 address without brackets": {set("::1:8365", "listen"), "listen: \"::1:8365\" is not an address: give host:port, with an address of IPv6 in brackets"},
		"an IPv6 address":                  {set("[::1]:8365", "listen"), ""},
		"a port too large":                 {set("127.0.0.1:99999", "listen"), `listen: "99999" is no port`},
		"a port below none":                {set("127.0.0.1:-1", "listen"), `listen: "-1" is no port`},
		"a port by its service":            {set("127.0.0.1:https", "listen"), ""},
		"a space in an address":            {set(" 127.0.0.1:8365", "listen"), `listen: " 127.0.0.1:8365" is not an address`},
		"one address for both": {set(map[string]any{"address": "127.0.0.1:8465", "certFile": "c", "keyFile": "k"}, "tlsListen"),
			"tlsListen.address: 127.0.0.1:8465 is that of listen, too"},
		"a space behind Graph":       {set("https://graph.microsoft.com/v1.0 ", "tenants", 0, "graph"), "tenants[0].graph: \"https://graph.microsoft.com/v1.0 \" has a space in it"},
		"Graph with a slash":         {set("https://graph.microsoft.com/v1.0/", "tenants", 0, "graph"), ""},
		"Graph without its version":  {set("https://graph.microsoft.com", "tenants", 0, "graph"), "its address ends in /v1.0"},
		"Graph of another version":   {set("https://graph.microsoft.com/beta", "tenants", 0, "graph"), "its address ends in /v1.0"},
		"Graph with a question":      {set("https://graph.microsoft.com/v1.0?a=b", "tenants", 0, "graph"), "tenants[0].graph: \"https://graph.microsoft.com/v1.0?a=b\" has more in it than an address"},
		"Graph with a password":      {set("https://u:hunter2@graph.microsoft.com/v1.0", "tenants", 0, "graph"), "tenants[0].graph: \"https://u:xxxxx@graph.microsoft.com/v1.0\" has more"},
		"Graph at no port":           {set("https://graph.example:99999/v1.0", "tenants", 0, "graph"), `tenants[0].graph: "99999" is no port`},
		"an authority with a tenant": {set("https://login.microsoftonline.com/"+exampleTenant+"/", "tenants", 0, "authority"), "ends in the tenant's id, which this server adds by itself"},
		"an application by name":     {set("Holdfast source", "tenants", 0, "clientId"), "tenants[0].clientId: \"Holdfast source\" is not an application's id"},
		"a secret with a mark":       {put("app.secret", "\uFEFFs3cret\r\n"), ""},
		"a secret of UTF-16":         {put("app.secret", "\xff\xfes\x003\x00"), "tenants[0].secretFile: is in UTF-16"},
		"a secret of two lines":      {put("app.secret", "s3cret\nother\n"), "tenants[0].secretFile: is more than one line"},
		"a password of two lines":    {put("vault.password", "correct\nhorse\n"), ""}, // vaults may have been made with it
		"a secret for a variable": {func(_ string, cfg map[string]any) {
			cfg["tenants"].([]any)[0] = map[string]any{"id": exampleTenant, "clientId": exampleApp, "secretEnv": "hunter2~secret"}
		}, "what is there is not the name of an environment variable"},
		"a password for SQLite":       {set("app.secret", "databasePasswordFile"), "database: is of SQLite, which has no password"},
		"a password behind the rest":  {set("postgres://u@h/x?password=hunter2", "database"), "database: holds a password"},
		"a database at no port":       {set("postgres://u@h:port/x", "database"), "invalid port"},
		"a database of no such TLS":   {set("postgres://u@h/x?sslmode=maybe", "database"), "sslmode is invalid"},
		"a database that is a folder": {func(dir string, _ map[string]any) { os.Mkdir(filepath.Join(dir, "catalog.db"), 0o700) }, "catalog.db is a folder: name the file in it"},
		"a home for the database":     {set("sqlite:~/catalog.db", "database"), "database: ~ is not understood here"},
		"a home for the vaults":       {set("~/vault", "vault", "dir"), "vault.dir: ~ is not understood here"},
		"a file for the vaults":       {put("vault", ""), "vault is a file: name a folder"},
		"a file for the state":        {set("app.secret", "state"), "app.secret is a file: name a folder"},
		"one folder for all":          {set("./vault/", "state"), "state: "},
		"a role in capitals":          {set(map[string]any{"Administrator": []any{exampleTenant}}, "tenants", 0, "roles"), `perhaps "administrator" is meant`},
		"an issuer with a space":      {set(" https://sts.example", "issuers", 0, "issuer"), "issuers[0].issuer: \" https://sts.example\" has a space in it"},
		"an issuer twice": {func(_ string, cfg map[string]any) {
			cfg["issuers"] = append(cfg["issuers"].([]any), cfg["issuers"].([]any)[0])
		}, "issuers[1].issuer: https://sts.example/" + exampleTenant + " is there twice"},
		"no tenants": {func(_ string, cfg map[string]any) {
			cfg["api"], cfg["tenants"] = map[string]any{"clientId": exampleApp}, []any{}
			delete(cfg, "issuers")
		}, "tenants: is empty"},
		"no workloads":                 {set([]any{}, "workloads"), "workloads: is empty"},
		"a workload twice":             {set([]any{"exchange", "exchange"}, "workloads"), "workloads: names one of them twice"},
		"a path for the public":        {set("https://backup.example.com/holdfast", "publicUrl"), "give the origin alone, such as https://backup.example.com;"},
		"a slash for the public":       {set("https://backup.example.com/", "publicUrl"), ""},
		"a console of no application":  {set(map[string]any{"clientId": "web", "secretFile": "app.secret", "tenant": "a b"}, "console"), "console.clientId: \"web\" is not an application's id"},
		"a console of no tenant":       {set(map[string]any{"clientId": exampleApp, "secretFile": "app.secret", "tenant": "a b"}, "console"), `console.tenant: "a b" is no tenant`},
		"mail at no port":              {set(mail(map[string]any{"server": "smtp.example.com:smtps "}), "alerts"), "alerts.mail.server: "},
		"mail's password of nobody":    {set(mail(map[string]any{"passwordFile": "app.secret"}), "alerts"), "alerts.mail.user: is missing, and there is a password"},
		"a folder for the log of acts": {set(map[string]any{"to": []any{map[string]any{"name": "disk", "file": "."}}}, "audit"), "is a folder: name a file in it"},
	} {
		path := writeConfig(t, nil)
		dir := filepath.Dir(path)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var cfg map[string]any
		if err := json.Unmarshal(data, &cfg); err != nil {
			t.Fatal(err)
		}
		row.change(dir, cfg)
		if data, err = json.Marshal(cfg); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = ReadConfig(path)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v\nwant %s", name, err, row.want)
		}
		if name == "no tenants" && err != nil && strings.Contains(err.Error(), "issuers") {
			t.Errorf("%s: it speaks of issuers, which follow from the tenants: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
}

// A tenant's vault opens with its own password, and with that of all if it has none.
func TestVaultPasswordOfATenant(t *testing.T) {
	const other = "11111111-2222-4333-8444-555555555555"
	write := func(vault map[string]any) (Config, error) {
		return ReadConfig(writeConfig(t, func(cfg map[string]any) {
			first := cfg["tenants"].([]any)[0].(map[string]any)
			first["vaultPasswordFile"] = "app.secret"
			cfg["vault"] = vault
			if vault["passwordFile"] != nil {
				cfg["tenants"] = append(cfg["tenants"].([]any), map[string]any{"id": other, "clientId": exampleApp, "secretFile": "app.secret"})
			}
		}))
	}
	cfg, err := write(map[string]any{"dir": "vault", "passwordFile": "vault.password"})
	if err != nil {
		t.Fatal(err)
	}
	for tenant, want := range map[backup.TenantID]vault.Secret{exampleTenant: "s3cret", other: "correct horse"} {
		if got, err := cfg.vaultOf(backup.FirstVault(tenant), nil); err != nil || got.Password != want {
			t.Errorf("the vault of %s opens with %q, %v, want %q", tenant, string(got.Password), err, string(want))
		}
	}
	if _, err := write(map[string]any{"dir": "vault"}); err != nil {
		t.Errorf("where each tenant has its own, none of all is needed: %v", err)
	}
}

// A secret that anybody on the machine can read is none, and is refused wherever it
// is named.
func TestSecretsOthersCanReadAreRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such modes here")
	}
	path := writeConfig(t, func(cfg map[string]any) {
		cfg["tenants"].([]any)[0].(map[string]any)["vaultPasswordFile"] = "app.secret"
	})
	secrets := []string{"vault.password", "app.secret"}
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o400: false, 0o644: true, 0o602: true} {
		for _, name := range secrets {
			if err := os.Chmod(filepath.Join(filepath.Dir(path), name), mode); err != nil {
				t.Fatal(err)
			}
		}
		_, err := ReadConfig(path)
		if !refused {
			if err != nil {
				t.Errorf("%o: %v", mode, err)
			}
			continue
		}
		for _, want := range []string{"vault.passwordFile: is no secret", "tenants[0].secretFile: is no secret", "tenants[0].vaultPasswordFile: is no secret", "chmod o= " + filepath.Dir(path)} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%o: the error does not say %q: %v", mode, want, err)
			}
		}
	}
}

// Nobody serves plain HTTP to other machines without saying so.
func TestPlainHTTPForOthersWantsAFlag(t *testing.T) {
	path := writeConfig(t, func(cfg map[string]any) { cfg["listen"] = "0.0.0.0:0" })
	for _, row := range []struct {
		args []string
		says string
	}{
		{nil, "0.0.0.0:0 is reached from other machines"},
		{[]string{"--insecure-http"}, ""},
		{[]string{"--listen", "127.0.0.1:0"}, ""},
		{[]string{"--listen", ":0"}, ":0 is reached from other machines"},
		{[]string{"--listen", "[::1]:0"}, ""},
	} {
		cmd := newServe()
		cmd.SetArgs(append([]string{"--config", path, "--check"}, row.args...))
		cmd.SetOut(io.Discard)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.ExecuteContext(t.Context())
		if row.says == "" && err != nil || row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)) {
			t.Errorf("%q: %v", row.args, err)
		}
	}
}

func TestReadConfigRefusesWhatIsNotOneObject(t *testing.T) {
	for _, text := range []string{"", "[]", `{"listen":1}`, `{} {}`, `{"interval":10}`, `{"listen":"127.0.0.1:1",,}`} {
		path := filepath.Join(t.TempDir(), "c.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadConfig(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("ReadConfig(%s) = %v, want an error that names the file", text, err)
		}
	}
}

func TestDatabasePasswordComesFromItsFile(t *testing.T) {
	t.Setenv("HOLDFAST_TEST_PASSWORD", "p@ss/word")
	cfg, err := ReadConfig(writeConfig(t, func(cfg map[string]any) {
		cfg["database"] = "postgres://holdfast@db:5433/catalog?sslmode=require"
		cfg["databasePasswordEnv"] = "HOLDFAST_TEST_PASSWORD"
	}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := cfg.databaseURL()
	if want := "postgres://holdfast:p%40ss%2Fword@db:5433/catalog?sslmode=require"; err != nil || got != want {
		t.Errorf("databaseURL() = %s, %v, want %s", got, err, want)
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	cfg, err := ReadConfig(writeConfig(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	newLog(&b).Info("x", "config", cfg, "secret", cfg.Tenants[0].Credential)
	if strings.Contains(b.String(), "s3cret") {
		t.Errorf("the log holds a secret: %s", b.String())
	}
}

func TestReadConfigReadsRetention(t *testing.T) {
	const policy = "71633878-8321-4950-BFAF-ed285bdd1461"
	setting := func(interval, period string) map[string]any {
		return map[string]any{"settings": []any{map[string]any{"interval": interval, "period": period}}}
	}
	cfg, err := ReadConfig(writeConfig(t, func(cfg map[string]any) {
		cfg["retention"] = map[string]any{"default": setting("R/PT1H", "P1M"), "policies": map[string]any{policy: map[string]any{"legalHold": true}}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if r := cfg.Retention; r.Default.Settings[0].Period != "P1M" || !r.Policies["71633878-8321-4950-bfaf-ed285bdd1461"].LegalHold {
		t.Errorf("retention = %+v", r)
	}
	_, err = ReadConfig(writeConfig(t, func(cfg map[string]any) {
		cfg["retention"] = map[string]any{"default": setting("hourly", "P1M"), "policies": map[string]any{"x": setting("R/PT1H", "long")}}
		cfg["serviceStatus"], cfg["offboardGrace"] = "broken", "-1h"
	}))
	for _, part := range []string{`"hourly"`, `"x"`, `"long"`, "serviceStatus", "offboardGrace"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not name %s: %v", part, err)
		}
	}
}

func TestVaultInABucketIsConfigured(t *testing.T) {
	s3 := func(s map[string]any) func(map[string]any) {
		return func(cfg map[string]any) {
			cfg["vault"] = map[string]any{"s3": s, "passwordFile": "vault.password"}
		}
	}
	path := writeConfig(t, s3(map[string]any{"endpoint": "s3.example.com", "region": "here", "bucket": "b", "prefix": "x/", "accessKeyId": "k", "secretFile": "app.secret",
		"lock": map[string]any{"mode": "compliance", "days": 90}}))
	cfg, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := cfg.vaultOf(backup.FirstVault("t"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b := got.Bucket; got.Dir != "" || b.String() != "s3://b/x/t/" || b.Endpoint != "s3.example.com" || b.Region != "here" || b.Key != "k" || b.Secret == "" || b.Plain ||
		b.Lock != (vault.Lock{Mode: vault.Compliance, Period: 90 * 24 * time.Hour}) {
		t.Errorf("the vault is at %+v", b)
	}
	for name, row := range map[string]struct {
		s3   map[string]any
		want string
	}{
		"no bucket":               {map[string]any{}, "vault.s3: has no bucket"},
		"a URL":                   {map[string]any{"bucket": "b", "endpoint": "https://s3.example.com"}, "without scheme and path"},
		"a prefix without slash":  {map[string]any{"bucket": "b", "prefix": "x"}, `such as "x/"`},
		"a prefix that begins so": {map[string]any{"bucket": "b", "prefix": "/x/"}, `such as "x/"`},
		"a secret without a key":  {map[string]any{"bucket": "b", "secretFile": "app.secret"}, "no accessKeyId"},
		"a key without a secret":  {map[string]any{"bucket": "b", "accessKeyId": "k"}, "the secret access key is missing"},
		"in the clear to afar":    {map[string]any{"bucket": "b", "insecureHttp": true, "endpoint": "s3.example.com"}, "a store on this machine"},
		"no such lock":            {map[string]any{"bucket": "b", "lock": map[string]any{"mode": "legal"}}, `lock.mode is "governance", "compliance" or "off"`},
		"locked for ever":         {map[string]any{"bucket": "b", "lock": map[string]any{"days": 100_000}}, "lock.days is between"},
		"no such authority":       {map[string]any{"bucket": "b", "caFile": "nowhere.pem"}, "caFile"},
	} {
		if _, err := ReadConfig(writeConfig(t, s3(row.s3))); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
	both := writeConfig(t, func(cfg map[string]any) {
		cfg["vault"].(map[string]any)["s3"] = map[string]any{"bucket": "b"}
	})
	if _, err := ReadConfig(both); err == nil || !strings.Contains(err.Error(), "keep one of them") {
		t.Errorf("with a folder and a bucket: %v", err)
	}
}

func TestRoles(t *testing.T) {
	for _, row := range []struct{ role, database, wrong string }{
		{"all", "sqlite:/x.db", ""},
		{"all", "postgres://h/x", ""},
		{"api", "postgres://h/x", ""},
		{"worker", "postgres://h/x", ""},
		{"worker", "sqlite:/x.db", "needs a PostgreSQL database"},
		{"workers", "postgres://h/x", "all, api or worker"},
	} {
		role, err := readRole(row.role, row.database)
		if row.wrong == "" && (err != nil || string(role) != row.role) || row.wrong != "" && (err == nil || !strings.Contains(err.Error(), row.wrong)) {
			t.Errorf("readRole(%s, %s) = %q, %v", row.role, row.database, role, err)
		}
	}
}

func TestVaultInAContainerIsConfigured(t *testing.T) {
	azure := func(a map[string]any) func(map[string]any) {
		return func(cfg map[string]any) {
			cfg["vault"] = map[string]any{"azure": a, "passwordFile": "vault.password"}
		}
	}
	for name, row := range map[string]struct {
		azure map[string]any
		want  vault.Container
	}{
		"by the account's key": {map[string]any{"account": "a", "container": "c", "prefix": "x/", "keyFile": "app.secret"}, vault.Container{Account: "a", Name: "c", Prefix: "x/t/", Key: "s3cret"}},
		"by a signature":       {map[string]any{"account": "a", "container": "c", "signatureFile": "app.secret", "domain": "blob.core.example"}, vault.Container{Account: "a", Name: "c", Prefix: "t/", Domain: "blob.core.example", Signature: "s3cret"}},
		"by an application": {map[string]any{"account": "a", "container": "c", "tenantId": "e", "clientId": "i", "secretFile": "app.secret"},
			vault.Container{Account: "a", Name: "c", Prefix: "t/", Tenant: "e", Client: "i", ClientSecret: "s3cret"}},
	} {
		cfg, err := ReadConfig(writeConfig(t, azure(row.azure)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := cfg.vaultOf(backup.FirstVault("t"), nil); err != nil || got.Dir != "" || *got.Azure != row.want {
			t.Errorf("%s: the vault is at %+v, %v", name, got.Azure, err)
		}
	}
	for name, row := range map[string]struct {
		azure map[string]any
		want  string
	}{
		"no container":           {map[string]any{"account": "a", "keyFile": "app.secret"}, "vault.azure: needs account and container"},
		"no key":                 {map[string]any{"account": "a", "container": "c"}, "needs one of keyFile"},
		"two ways":               {map[string]any{"account": "a", "container": "c", "keyFile": "app.secret", "signatureFile": "app.secret"}, "needs one of keyFile"},
		"half an application":    {map[string]any{"account": "a", "container": "c", "tenantId": "e", "keyFile": "app.secret"}, "an application is"},
		"no such file":           {map[string]any{"account": "a", "container": "c", "keyFile": "nowhere"}, "the account's key"},
		"a prefix without slash": {map[string]any{"account": "a", "container": "c", "keyFile": "app.secret", "prefix": "x"}, `such as "x/"`},
		"in the clear to afar":   {map[string]any{"account": "a", "container": "c", "keyFile": "app.secret", "insecureHttp": true}, "a store on this machine"},
	} {
		if _, err := ReadConfig(writeConfig(t, azure(row.azure))); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
}

func TestReadConfigAtEntra(t *testing.T) {
	at := func(change func(cfg map[string]any)) (Config, error) {
		return ReadConfig(writeConfig(t, func(cfg map[string]any) {
			cfg["tenants"] = []any{map[string]any{"id": exampleTenant, "clientId": exampleApp, "secretFile": "app.secret"}}
			delete(cfg, "issuers")
			change(cfg)
		}))
	}
	const api = "5a1e0000-4f6b-4c55-8f0e-c0a7050a00aa"
	cfg, err := at(func(cfg map[string]any) { cfg["api"] = map[string]any{"clientId": strings.ToUpper(api)} })
	if err != nil {
		t.Fatal(err)
	}
	keys := "https://login.microsoftonline.com/" + exampleTenant + "/discovery/v2.0/keys"
	want := []IssuerConfig{
		{"https://login.microsoftonline.com/" + exampleTenant + "/v2.0", keys, exampleTenant},
		{"https://sts.windows.net/" + exampleTenant + "/", keys, exampleTenant},
	}
	if !slices.Equal(cfg.Issuers, want) || !slices.Equal(cfg.Audiences, []string{api, "api://" + api}) {
		t.Errorf("issuers %+v, audiences %q", cfg.Issuers, cfg.Audiences)
	}
	_, err = at(func(cfg map[string]any) {
		cfg["issuers"] = []any{map[string]any{"issuer": "https://sts.windows.net/" + exampleTenant + "/", "jwks": keys, "tenant": exampleTenant}}
	})
	if err == nil || !strings.Contains(err.Error(), "docs/entra.md") {
		t.Errorf("with Graph's own tokens: %v", err)
	}
	if _, err = at(func(cfg map[string]any) { cfg["api"] = map[string]any{"clientId": "holdfast"} }); err == nil || !strings.Contains(err.Error(), "api.clientId") {
		t.Errorf("with an application by name: %v", err)
	}
}

// inPEM writes a certificate that holds in those times, and its key, and returns each in PEM.
func inPEM(t *testing.T, begins, ends time.Time) (cert, key string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: begins, NotAfter: ends}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// What is wrong with a certificate or its key is said in words, a time that is over by the
// check alone: a server starts all the same.
func TestCertificatesAreChecked(t *testing.T) {
	now := time.Now()
	cert, key := inPEM(t, now.Add(-time.Hour), now.Add(time.Hour))
	other, otherKey := inPEM(t, now.Add(-2*time.Hour), now.Add(-time.Hour))
	later, laterKey := inPEM(t, now.Add(time.Hour), now.Add(2*time.Hour))
	windows := func(text string) string { return "\uFEFF" + strings.ReplaceAll(text, "\n", "\r\n") }
	for name, row := range map[string]struct{ cert, key, starts, check string }{
		"in order":              {cert, key, "", ""},
		"as Windows writes it":  {windows(cert), windows(key), "", ""},
		"another key":           {cert, otherKey, "that of another certificate", ""},
		"the wrong way round":   {key, cert, "holds no certificate in PEM form", ""},
		"no key":                {cert, cert, "holds no private key", ""},
		"a key with passphrase": {cert, "-----BEGIN ENCRYPTED PRIVATE KEY-----\neA==\n-----END ENCRYPTED PRIVATE KEY-----\n", "has a passphrase: take it away", ""},
		"one that has ended":    {other, otherKey, "", "ended at "},
		"one that is to come":   {later, laterKey, "", "which is to come"},
	} {
		path := writeConfig(t, func(cfg map[string]any) {
			cfg["tlsListen"] = map[string]any{"address": "127.0.0.1:0", "certFile": "c.pem", "keyFile": "k.pem"}
			tenant := cfg["tenants"].([]any)[0].(map[string]any)
			delete(tenant, "secretFile")
			tenant["certificateFile"] = "source.pem"
		})
		for file, text := range map[string]string{"c.pem": row.cert, "k.pem": row.key, "source.pem": strings.ReplaceAll(row.cert+row.key, "\uFEFF", "")} {
			if err := os.WriteFile(filepath.Join(filepath.Dir(path), file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cfg, err := ReadConfig(path)
		if row.starts == "" && err != nil || row.starts != "" && (err == nil || !strings.Contains(err.Error(), row.starts)) {
			t.Errorf("%s: %v, want %q", name, err, row.starts)
		}
		if err != nil {
			continue
		}
		err = cfg.checkTimes(now)
		if row.check == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, field := range []string{"tlsListen: the certificate", "tenants[0].certificateFile: the certificate"} {
			if row.check != "" && (err == nil || !strings.Contains(err.Error(), field) || strings.Count(err.Error(), row.check) != 2) {
				t.Errorf("%s: %v, want %q of %s", name, err, row.check, field)
			}
		}
	}
}
