package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"holdfast/internal/archive"
	"holdfast/internal/backup"
	"holdfast/internal/client"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

// ageKey makes a private key of age in a file, and returns its public key.
func ageKey(t *testing.T) (public, file string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key.txt")
	if err := os.WriteFile(file, []byte(id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return id.Recipient().String(), file
}

// serveOn starts serve on a configuration, and has the commands ask it.
func serveOn(t *testing.T, config string) (stop func()) {
	t.Helper()
	cfg, err := ReadConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Alone = true // the process before it is gone
	ctx, cancel := context.WithCancel(t.Context())
	ended, says := make(chan error, 1), make(lineWriter, 8)
	go func() { ended <- runServe(ctx, cfg, nil, says, testLog(t)) }()
	select {
	case line := <-says:
		_, address, _ := strings.Cut(strings.TrimSpace(line), " on ")
		t.Setenv("HOLDFAST_URL", strings.TrimSuffix(address, client.Root))
	case err := <-ended:
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// A company loses everything but its vaults and a backup of Holdfast. The backup was made
// while the server worked; with it a new server, on the other of the two databases, knows
// all that the old one knew, takes up the points that were made since, and restores.
func TestPlayHoldfastComesBackFromItsBackup(t *testing.T) {
	dialects := dbtest.Dialects(t)
	for _, from := range dialects {
		for _, to := range dialects {
			t.Run(string(from)+" to "+string(to), func(t *testing.T) { backUpAndComeBack(t, from, to) })
		}
	}
}

func backUpAndComeBack(t *testing.T, from, to database.Dialect) {
	d := startTestDev(t, nil)
	asDev(t, d)
	t.Setenv("HOLDFAST_AUTHORITY", d.origin)
	tenant, app := string(d.tenants[0].ID), d.tenants[0].Apps[0]
	vaults := filepath.Join(t.TempDir(), "vault")
	url := "sqlite:catalog.db"
	if from == database.Postgres {
		url = dbtest.URL(t, from)
	}
	config := writeConfig(t, func(cfg map[string]any) {
		cfg["listen"], cfg["database"], cfg["interval"], cfg["tenantsDir"] = "127.0.0.1:0", url, "1s", "more"
		cfg["vault"].(map[string]any)["dir"] = vaults
		cfg["tenants"] = []any{}
		cfg["issuers"] = []any{map[string]any{"issuer": d.origin + "/" + tenant + "/v2.0", "jwks": d.origin + "/" + tenant + "/discovery/v2.0/keys", "tenant": tenant}}
	})
	dir := filepath.Dir(config)
	for name, text := range map[string]string{
		"more/app.secret":          app.Secret + "\n",
		"more/" + tenant + ".json": fmt.Sprintf(`{"id": %q, "graph": %q, "authority": %q, "clientId": %q, "secretFile": "app.secret"} /* by hand */`, tenant, d.origin+"/v1.0", d.origin, app.AppID),
	} {
		if err := writeFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stop := serveOn(t, config)
	file := filepath.Join(d.drives, "amala@contoso.com", "a.txt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A point that is taken up has another id. Of a visit that found nothing new the vault
	// knows nothing, so what counts is what the vault holds, which it lists by the second.
	points := func() (times []string) {
		var all []struct{ ProtectionDateTime time.Time }
		if err := json.Unmarshal([]byte(hf(t, 0, "point", "list", "amala@contoso.com", "--limit", "0", "--json")), &all); err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			times = append(times, p.ProtectionDateTime.Local().Format(timeForm))
		}
		return times
	}
	held := func(config string) (times []string) {
		for _, line := range strings.Split(strings.TrimSpace(hf(t, 0, "vault", "list", "--config", config, "amala@contoso.com")), "\n")[1:] {
			times = append(times, line[:len(timeForm)])
		}
		return times
	}
	write("one")
	hf(t, 0, "policy", "create", "p")
	hf(t, 0, "drive", "add", "--policy", "p", "amala@contoso.com")
	hf(t, 0, "policy", "activate", "p", "--wait")
	before := held(config)

	// The backup, beside the server and beside somebody who writes all the time.
	public, identity := ageKey(t)
	kept := filepath.Join(t.TempDir(), "holdfast.backup")
	busy, calm := context.WithCancel(t.Context())
	wrote := make(chan int, 1)
	go func() {
		n := 0
		for ; busy.Err() == nil; n++ {
			var out bytes.Buffer
			if code := execute(t.Context(), []string{"policy", "rename", "p", fmt.Sprint("p", n)}, &out, &out); code != 0 {
				t.Errorf("somebody who writes meanwhile: %s", &out)
				break
			}
			execute(t.Context(), []string{"policy", "rename", fmt.Sprint("p", n), "p"}, &out, &out)
		}
		wrote <- n
	}()
	text := hf(t, 0, "backup", "create", "--config", config, "--to", kept, "--recipient", public)
	calm()
	if n := <-wrote; n == 0 {
		t.Error("nobody wrote meanwhile")
	}
	if !strings.Contains(text, "is encrypted") {
		t.Errorf("create says %s", text)
	}
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v, %v", info, err)
	}

	// More happens, of which the backup knows nothing.
	write("two, which is longer")
	var after []string
	wait(t, "a point after the backup", func() bool { after = held(config); return len(after) > len(before) })
	hf(t, 0, "policy", "create", "later")
	stop()

	// All but the vaults, the backup and its key is gone.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	was := filesIn(t, vaults)
	if text := hf(t, 0, "backup", "show", kept, "--identity", identity); !strings.Contains(text, "The backup is whole") || !strings.Contains(text, tenant) || !strings.Contains(text, "vault.passwordFile") || strings.Contains(text, "correct horse") {
		t.Errorf("show says\n%s", text)
	}
	text = hf(t, 0, "backup", "drill", kept, "--identity", identity)
	for _, want := range []string{"archive ", "catalog ", "configuration ", "opens with the password in the backup", "a.txt of the restore point"} {
		if !strings.Contains(text, want) {
			t.Errorf("the drill says nothing of %q:\n%s", want, text)
		}
	}
	var drilled struct {
		OK     bool
		Checks []check
	}
	if err := json.Unmarshal([]byte(hf(t, 0, "backup", "drill", kept, "--identity", identity, "--json")), &drilled); err != nil || !drilled.OK || len(drilled.Checks) != 5 {
		t.Errorf("the drill's JSON says %+v, %v", drilled, err)
	}
	if !maps.Equal(was, filesIn(t, vaults)) {
		t.Error("the drill has changed the vaults")
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "holdfast-drill-*")); len(left) > 0 {
		t.Errorf("the drill has left %v", left)
	}

	into := filepath.Join(t.TempDir(), "holdfast")
	args := []string{"backup", "restore", kept, "--identity", identity, "--to", into}
	if to == database.Postgres {
		args = append(args, "--database", dbtest.EmptyURL(t, to))
	}
	if text := hf(t, 0, args...); !strings.Contains(text, "holdfast serve --config "+filepath.Join(into, "serve.json")) {
		t.Errorf("restore says\n%s", text)
	}
	err := filepath.WalkDir(into, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v, %v", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	config = filepath.Join(into, "serve.json")
	hf(t, 0, "serve", "--config", config, "--check")
	if text := hf(t, 0, "vault", "status", "--config", config); !strings.Contains(text, "opens") {
		t.Errorf("the vault's state is %s", text)
	}
	if text := hf(t, 0, "catalog", "rebuild", "--config", config); !strings.Contains(text, "of 1 drive taken up; 0 drives whose") {
		t.Errorf("rebuild says %s", text)
	}
	stop = serveOn(t, config)
	defer func() { stop() }()
	wait(t, "the points of before and after the backup", func() bool {
		now := points()
		return !slices.ContainsFunc(after, func(id string) bool { return !slices.Contains(now, id) })
	})
	text = hf(t, 0, "audit", "export", "--config", config)
	for _, want := range []string{backup.CatalogRestoredActivity, "backup restore"} {
		if !strings.Contains(text, want) {
			t.Errorf("the audit log says nothing of %s", want)
		}
	}
	if strings.Contains(text, backup.CatalogBackedUpActivity) {
		t.Error("the audit log knows of what came after the snapshot")
	}
	// A file of the point that the backup did not know is restored.
	text = hf(t, 0, "browse", "get", "amala@contoso.com", "/a.txt")
	got, err := filepath.Glob(filepath.Join(d.drives, "amala@contoso.com", "Restored *", "a.txt"))
	if err != nil || len(got) != 1 {
		t.Fatalf("restored are %v, %v:\n%s", got, err, text)
	}
	if b, err := os.ReadFile(got[0]); string(b) != "two, which is longer" {
		t.Errorf("the newest point gives %q, %v", b, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Each setting that names a file with a secret is in a backup, also one that comes into
// the configuration tomorrow, and what is laid out names it where it is then.
func TestEveryFileSettingIsBackedUp(t *testing.T) {
	dir := t.TempDir()
	names := map[string]string{} // content by setting
	var fillIn func(v reflect.Value, at string)
	fillIn = func(v reflect.Value, at string) {
		switch v.Kind() {
		case reflect.Pointer:
			if v.Type().Elem().Kind() == reflect.Struct {
				v.Set(reflect.New(v.Type().Elem()))
				fillIn(v.Elem(), at)
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Struct {
				v.Set(reflect.MakeSlice(v.Type(), 2, 2))
				for i := range 2 {
					fillIn(v.Index(i), fmt.Sprintf("%s%d", at, i))
				}
			}
		case reflect.Struct:
			for i := range v.NumField() {
				f := v.Type().Field(i)
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if !f.IsExported() || name == "-" {
					continue
				}
				where := at + "." + name
				if f.Anonymous {
					where = at
				}
				if f.Type.Kind() == reflect.String && strings.HasSuffix(f.Name, "File") && f.Name != "File" { // that is a log
					if !strings.HasSuffix(name, "File") {
						t.Errorf("the field %s is called %s: what names a file with a secret ends in File", f.Name, name)
					}
					if name == "identityTokenFile" {
						v.Field(i).SetString("token")
						continue
					}
					path := fmt.Sprintf("secret%d", len(names))
					names[where] = "content of " + where
					if err := os.WriteFile(filepath.Join(dir, path), []byte(names[where]), 0o600); err != nil {
						t.Fatal(err)
					}
					v.Field(i).SetString(path)
					continue
				}
				fillIn(v.Field(i), where)
			}
		}
	}
	var cfg Config
	fillIn(reflect.ValueOf(&cfg).Elem(), "")
	if len(names) < 25 {
		t.Errorf("the configuration has %d settings of files: %v", len(names), names)
	}
	cfg.TenantsDir, cfg.State, cfg.Vault.Dir, cfg.Database = "tenants", "state", "vault", "postgres://h/d?sslkey=/k"
	cfg.PageTokenKeyEnv = "PAGE_KEY"
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "serve.json")
	for name, text := range map[string]string{
		"serve.json": "// comment\n" + string(text), "tenants/x.json": `{"secretFile": "x.secret", "certificateFile": "../shared.pem"}`, "tenants/x.secret": "in its folder", "shared.pem": "beside",
	} {
		if err := writeFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg.TenantsDir = filepath.Join(dir, "tenants")
	var g gathering
	if err := g.ofServe(config, cfg); err != nil {
		t.Fatal(err)
	}
	for setting, content := range names {
		if !slices.ContainsFunc(g.files, func(f archive.File) bool { return string(f.Content) == content }) {
			t.Errorf("what %s names is not in a backup", setting)
		}
	}
	for _, missing := range []string{"PAGE_KEY", "identityTokenFile", "sslkey"} {
		if !strings.Contains(strings.Join(g.missing, "\n"), missing) {
			t.Errorf("it is not said that %s is missing: %q", missing, g.missing)
		}
	}

	// Laid out, each setting names the file with its content.
	laid := t.TempDir()
	if err := layOut(laid, archive.Head{Config: config, Files: g.files}, "postgres://new/d"); err != nil {
		t.Fatal(err)
	}
	check := func(file string, original []member) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(laid, file))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(file, "serve") && !strings.HasPrefix(string(b), "// comment\n") {
			t.Errorf("the comment is gone: %.40s", b)
		}
		now, err := members(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range now {
			i := slices.IndexFunc(original, func(o member) bool { return o.pointer == m.pointer })
			if !m.isFile() || m.isToken() || i < 0 {
				continue
			}
			if filepath.IsAbs(m.value) {
				t.Errorf("%s names %s, outside", m.pointer, m.value)
			}
			got, err := os.ReadFile(placed(filepath.Join(laid, file), m.value))
			want, err2 := os.ReadFile(placed(filepath.Join(dir, file), original[i].value))
			if err := errors.Join(err, err2); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s of %s names a file with %q, and named one with %q, %v", m.pointer, file, got, want, err)
			}
		}
	}
	for _, file := range []string{"serve.json", "tenants/x.json"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		original, err := members(b)
		if err != nil {
			t.Fatal(err)
		}
		check(file, original)
	}
	now, err := members(must(os.ReadFile(filepath.Join(laid, "serve.json"))))
	if err != nil {
		t.Fatal(err)
	}
	for pointer, want := range map[string]string{"/database": "postgres://new/d", "/state": "state", "/tenantsDir": "tenants", "/vault/dir": filepath.Join(dir, "vault")} {
		if i := slices.IndexFunc(now, func(m member) bool { return m.pointer == pointer }); i < 0 || now[i].value != want {
			t.Errorf("%s is not %s", pointer, want)
		}
	}
}

// What cannot be done is said, and changes nothing.
func TestPlayBackupsThatCannotBe(t *testing.T) {
	data, _ := keptData(t)
	public, identity := ageKey(t)
	_, stranger := ageKey(t)
	dir := t.TempDir()
	words, others := filepath.Join(dir, "words"), filepath.Join(dir, "others")
	kept := filepath.Join(dir, "kept.backup")
	sealed := filepath.Join(dir, "sealed.backup")
	for name, text := range map[string]string{words: "correct horse", others: "battery staple", filepath.Join(dir, "there"): "mine"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(filepath.Join(dir, "there"), filepath.Join(dir, "link")), os.Mkdir(filepath.Join(dir, "full"), 0o755),
		os.WriteFile(filepath.Join(dir, "full", "x"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	hf(t, 0, "backup", "create", "--data", data, "--to", kept, "--recipient", public)
	hf(t, 0, "backup", "create", "--data", data, "--to", sealed, "--passphrase-file", words)
	hf(t, 0, "backup", "show", sealed, "--passphrase-file", words)
	whole := must(os.ReadFile(kept))
	for name, b := range map[string][]byte{"cut": whole[:len(whole)-10], "half": whole[:len(whole)/2], "foreign": []byte("hello"), "nothing": nil, "flipped": flipped(whole, len(whole)/2)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := filesIn(t, dir)
	create := []string{"backup", "create", "--data", data}
	by := []string{"--identity", identity}
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, row := range []struct {
		args  []string
		code  int
		words string
	}{
		{append(slices.Clone(create), "--to", in("new")), exitUsage, "never written in the clear"},
		{append(slices.Clone(create), "--recipient", public), exitUsage, "--to FILE"},
		{append(slices.Clone(create), "--to", in("new"), "--recipient", "age1x"), exitUsage, "no public key"},
		{append(slices.Clone(create), "--to", in("new"), "--recipient", public, "--passphrase-file", words), exitUsage, "exclude each other"},
		{append(slices.Clone(create), "--to", in("new"), "--passphrase-file", in("nosuch")), exitNotFound, "no such file"},
		{append(slices.Clone(create), "--to", in("there"), "--recipient", public), exitFailed, "nothing is written over"},
		{append(slices.Clone(create), "--to", in("link"), "--recipient", public), exitFailed, "nothing is written over"},
		{append(slices.Clone(create), "--to", in("new"), "--keep", "3", "--recipient", public), exitUsage, "--keep goes with a folder"},
		{append(slices.Clone(create), "--to", in("nosuch/new"), "--recipient", public), exitNotFound, "no such file"},
		{[]string{"backup", "create", "--data", in("nosuch"), "--to", in("new"), "--recipient", public}, exitNotFound, "there are no vaults"},
		{[]string{"backup", "show", kept}, exitUsage, "--identity"},
		{[]string{"backup", "show", kept, "--identity", stranger}, exitFailed, "does not open with this key"},
		{[]string{"backup", "show", sealed, "--passphrase-file", others}, exitFailed, "does not open with this key"},
		{[]string{"backup", "show", kept, "--passphrase-file", words}, exitFailed, "does not open with this key"},
		{append([]string{"backup", "show", in("nosuch")}, by...), exitNotFound, "no such file"},
		{append([]string{"backup", "show", in("cut")}, by...), exitFailed, "damaged or not whole"},
		{append([]string{"backup", "show", in("foreign")}, by...), exitFailed, "no backup of Holdfast"},
		{append([]string{"backup", "drill", in("half")}, by...), exitFailed, "damaged or not whole"},
		{append([]string{"backup", "drill", in("nothing")}, by...), exitFailed, "damaged or not whole"},
		{append([]string{"backup", "restore", in("flipped"), "--to", in("out")}, by...), exitFailed, "damaged or not whole"},
		{append([]string{"backup", "restore", in("cut"), "--to", in("out"), "--database", "sqlite:" + in("out.db")}, by...), exitFailed, "damaged or not whole"},
		{append([]string{"backup", "restore", kept}, by...), exitUsage, "--to FOLDER"},
		{append([]string{"backup", "restore", kept, "--to", in("full")}, by...), exitFailed, "not empty"},
		{append([]string{"backup", "restore", kept, "--to", in("link")}, by...), exitFailed, "no folder"},
		{append([]string{"backup", "restore", kept, "--to", in("there")}, by...), exitFailed, "no folder"},
		{append([]string{"backup", "restore", kept, "--database", "sqlite:" + filepath.Join(data, "catalog.db")}, by...), exitFailed, "nothing is written over"},
		{append([]string{"backup", "restore", kept, "--database", "mysql://x"}, by...), exitUsage, "--database"},
		{append([]string{"backup", "restore", kept, "--database", "postgres://u:hidden@h/d"}, by...), exitUsage, "holds a password"},
	} {
		text, code := said(t, row.args...)
		if code != row.code || !strings.Contains(text, row.words) || strings.Contains(text, "hidden") {
			t.Errorf("%v ended with %d, want %d and %q:\n%s", row.args, code, row.code, row.words, text)
		}
	}
	if after := filesIn(t, dir); !maps.Equal(before, after) {
		t.Errorf("what was refused has left something: %v", slices.Sorted(maps.Keys(after)))
	}

	// A database with rows stays as it is.
	if len(dbtest.Dialects(t)) > 1 {
		url := dbtest.EmptyURL(t, database.Postgres)
		hf(t, 0, append([]string{"backup", "restore", kept, "--database", url}, by...)...)
		if text, code := said(t, append([]string{"backup", "restore", kept, "--to", in("out"), "--database", url}, by...)...); code != exitFailed || !strings.Contains(text, "not empty") {
			t.Errorf("a database with rows: %d, %s", code, text)
		}
	}

	// A drill says which check failed: another vault, another password, a vault that is away.
	vault := largestFolder(t, filepath.Join(data, "vault"))
	if err := os.Rename(vault, vault+".away"); err != nil {
		t.Fatal(err)
	}
	text, code := said(t, append([]string{"backup", "drill", kept}, by...)...)
	if code != exitPartial || !strings.Contains(text, "check that its volume is mounted") || !strings.Contains(text, "failed") {
		t.Errorf("a drill without the vault ended with %d:\n%s", code, text)
	}
	if _, err := os.Stat(vault); err == nil {
		t.Error("the drill has made a vault")
	}
	if err := os.Rename(vault+".away", vault); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "keys", "vault-password"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.backup")
	hf(t, 0, "backup", "create", "--data", data, "--to", wrong, "--recipient", public)
	if text, code := said(t, append([]string{"backup", "drill", wrong}, by...)...); code != exitPartial || !strings.Contains(text, "password") {
		t.Errorf("a drill with another password ended with %d:\n%s", code, text)
	}

	// The folder of a dev comes back, once its vaults are where it says.
	into := in("empty")
	if text := hf(t, 0, append([]string{"backup", "restore", kept, "--to", into}, by...)...); !strings.Contains(text, "holdfast dev --data "+into) {
		t.Errorf("restore says\n%s", text)
	}
	if err := os.Rename(filepath.Join(data, "vault"), filepath.Join(into, "vault")); err != nil {
		t.Fatal(err)
	}
	if text := hf(t, 0, "vault", "verify", "--full", "--data", into); !strings.Contains(text, "1 drive verified") {
		t.Errorf("verify says %s", text)
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// largestFolder is the one folder in another.
func largestFolder(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%s holds %v, %v", dir, entries, err)
	}
	return filepath.Join(dir, entries[0].Name())
}

// A create that is killed, or for which there is no room, leaves nothing under the name
// that it was told.
func TestPlayABackupIsWholeOrNotThere(t *testing.T) {
	data, _ := keptData(t)
	public, identity := ageKey(t)
	db, err := database.OpenBeside(t.Context(), "sqlite:"+filepath.Join(data, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	err = db.Tx(t.Context(), func(tx *database.Tx) error {
		_, err := tx.ExecContext(t.Context(), `
			WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
			INSERT INTO name_item (place, name, item, since, until) SELECT 99, 'name ' || i || hex(randomblob(40)), 'item' || i, i, 9223372036854775807 FROM n`)
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	killed := 0
	for n := range 8 {
		to := filepath.Join(dir, fmt.Sprint("killed", n))
		cmd := exec.CommandContext(t.Context(), os.Args[0], "backup", "create", "--data", data, "--to", to, "--recipient", public)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for begun := false; !begun; { // until something of it is on the disk, more each time
			parts, _ := filepath.Glob(filepath.Join(dir, ".killed*.part"))
			for _, part := range parts {
				if info, err := os.Stat(part); err == nil && info.Size() > int64(n)<<20 {
					begun = true
				}
			}
			if _, err := os.Stat(to); err == nil {
				begun = true
			}
			time.Sleep(time.Millisecond)
		}
		cmd.Process.Signal(syscall.SIGKILL)
		cmd.Wait()
		if _, err := os.Stat(to); err == nil {
			hf(t, 0, "backup", "show", to, "--identity", identity)
		} else {
			killed++
		}
		parts, _ := filepath.Glob(filepath.Join(dir, ".killed*.part"))
		for _, part := range parts {
			os.Remove(part)
		}
	}
	if killed == 0 {
		t.Error("none was killed before its end")
	}
	if exec.Command("bash", "-c", "ulimit -f 100").Run() != nil {
		t.Log("no limit of the size of files can be set here")
		return
	}
	to := filepath.Join(dir, "limited")
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `trap "" XFSZ; ulimit -f 1000; exec "$@"`, "bash", os.Args[0], "backup", "create", "--data", data, "--to", to, "--recipient", public)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "there is no "+to) {
		t.Errorf("where there is no room: %v\n%s", err, out)
	}
	if entries, err := os.ReadDir(dir); err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.Contains(e.Name(), "limited") }) {
		t.Errorf("there is %v, %v", entries, err)
	}
}

// In a folder backups are called by their time, and of those the oldest go.
func TestBackupsAreKeptInAFolder(t *testing.T) {
	data := t.TempDir()
	startTestDev(t, func(o *devOptions) { o.data = data })
	public, identity := ageKey(t)
	folder := t.TempDir()
	stays := []string{"holdfast-2020-01-01.backup", "notes.txt", ".holdfast-2020-01-01T000000Z.backup-1.part"}
	for _, name := range append([]string{"holdfast-2020-01-01T000000Z.backup", "holdfast-2020-01-02T000000Z.backup", "holdfast-2020-01-03T000000Z.backup"}, stays...) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hf(t, 0, "backup", "create", "--data", data, "--to", folder, "--keep", "2", "--recipient", public)
	var made []string
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(stays, e.Name()) {
			made = append(made, e.Name())
		}
	}
	if len(entries) != 5 || len(made) != 2 || made[0] != "holdfast-2020-01-03T000000Z.backup" {
		t.Fatalf("there are %v", entries)
	}
	hf(t, 0, "backup", "show", filepath.Join(folder, made[1]), "--identity", identity)
	for _, args := range [][]string{{"--to", filepath.Join(folder, "new"), "--keep", "2"}, {"--to", filepath.Join(folder, made[1]), "--keep", "2"}, {"--to", folder, "--keep", "-1"}} {
		hf(t, exitUsage, append([]string{"backup", "create", "--data", data, "--recipient", public}, args...)...)
	}
}
