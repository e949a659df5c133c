package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/drive"
	"holdfast/internal/identity"
	"holdfast/internal/jobs"
)

// addTenants adds those of the folder of tenants. What is wrong in it is said all at once.
func (c *Config) addTenants() error {
	if c.TenantsDir == "" {
		return nil
	}
	entries, err := os.ReadDir(c.TenantsDir)
	if errors.Is(err, fs.ErrNotExist) { // nobody has put one into it yet
		return nil
	}
	if err != nil {
		return fmt.Errorf("tenantsDir: %w", err)
	}
	var wrong []error
	for _, e := range entries {
		name, isJSON := strings.CutSuffix(e.Name(), ".json")
		if !isJSON || strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(c.TenantsDir, e.Name())
		t, err := readTenant(path)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if id, ok := backup.ParseGUID(t.ID); !ok || id != name {
			wrong = append(wrong, fmt.Errorf("%s: its id is %q, and its name is another: call the file by the tenant's id", path, t.ID))
			continue
		}
		t.file = path
		c.Tenants = append(c.Tenants, t)
	}
	return errors.Join(wrong...)
}

// readTenant reads a file that describes a tenant. Its paths are from the file's folder.
func readTenant(path string) (t TenantConfig, err error) {
	data, err := readJSON(path)
	if err == nil {
		err = decodeWhole(path, data, &t)
	}
	if err != nil {
		return t, err
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	for _, file := range []*string{&t.SecretFile, &t.CertificateFile, &t.IdentityTokenFile, &t.VaultPasswordFile} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(dir, *file)
		}
	}
	return t, err
}

// Why a tenant cannot be changed by command or API.
var (
	errNoFolder = errors.New("the configuration names no folder for tenants that are added: name one as tenantsDir")
	errInFile   = errors.New("the tenant is described in the configuration file itself: change it there, and have the server read that again, by SIGHUP")
	errNoTenant = errors.New("there is no such tenant")
)

// in says where in the configuration a tenant is, -1 for nowhere.
func (c *Config) in(id string) int {
	return slices.IndexFunc(c.Tenants, func(t TenantConfig) bool {
		known, ok := backup.ParseGUID(t.ID)
		return ok && known == id
	})
}

// putTenant has the folder of tenants of a configuration describe a tenant, unless the
// whole would be wrong then, and reports whether it did not describe it so already. A
// secret that is given is kept in a file beside.
func putTenant(config string, t TenantConfig, secret drive.Secret) (cfg Config, changed bool, err error) {
	id, ok := backup.ParseGUID(t.ID)
	if !ok {
		return cfg, false, fmt.Errorf("%q is not a tenant id: give the directory's GUID", t.ID)
	}
	t.ID = id
	cfg, err = readConfig(config, func(c *Config) error {
		if c.TenantsDir == "" {
			return errNoFolder
		}
		t.file = filepath.Join(c.TenantsDir, id+".json")
		if secret != "" {
			t.Credential, t.SecretFile = secret, filepath.Join(c.TenantsDir, id+".secret")
		}
		switch i := c.in(id); {
		case i < 0:
			c.Tenants = append(c.Tenants, t)
		case c.Tenants[i].file == "":
			return errInFile
		default:
			c.Tenants[i] = t
		}
		return nil
	})
	if err != nil {
		return cfg, false, err
	}
	if secret != "" { // first: a description without it would be wrong
		if err := writeFile(t.SecretFile, []byte(string(secret)+"\n"), 0o600); err != nil {
			return cfg, false, fmt.Errorf("keep the secret: %w", err)
		}
	}
	described, err := json.MarshalIndent(sparse(t), "", "  ")
	if err != nil {
		return cfg, false, err
	}
	described = append(described, '\n')
	if before, err := os.ReadFile(t.file); err == nil && bytes.Equal(before, described) && secret == "" {
		return cfg, false, nil
	}
	return cfg, true, writeFile(t.file, described, 0o600)
}

// sparse is what a tenant's description says, without what it leaves out.
func sparse(t TenantConfig) map[string]any {
	all := map[string]any{}
	if err := json.Unmarshal([]byte(text(t)), &all); err != nil {
		panic(err) // of our own plain types
	}
	for name, value := range all {
		switch value {
		case nil, "", 0.0, false:
			if name != "mime" || value == nil {
				delete(all, name)
			}
		}
	}
	return all
}

// removeTenant takes a tenant out of the folder of tenants, unless the whole would be
// wrong then.
func removeTenant(config, tenant string) (cfg Config, err error) {
	id, ok := backup.ParseGUID(tenant)
	if !ok {
		return cfg, fmt.Errorf("%w: %q is no id", errNoTenant, tenant)
	}
	var file string
	cfg, err = readConfig(config, func(c *Config) error {
		i := c.in(id)
		if i < 0 {
			return errNoTenant
		}
		if file = c.Tenants[i].file; file == "" {
			return errInFile
		}
		c.Tenants = slices.Delete(c.Tenants, i, i+1)
		return nil
	})
	if err != nil {
		return cfg, err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cfg, err
	}
	if err := os.Remove(strings.TrimSuffix(file, ".json") + ".secret"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cfg, fmt.Errorf("the tenant is taken out, but its secret is still there: %w", err)
	}
	return cfg, nil
}

// A describedTenant is a tenant, and the file that describes it.
type describedTenant struct {
	ID       string `json:"id"`
	Name     string `json:"displayName,omitempty"`
	ClientID string `json:"clientId"`
	File     string `json:"describedIn"`
}

// newTenants is the command for the tenants of a serve.
func newTenants() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "tenants",
		Short: "List, add and take out the tenants of a running serve",
		Long: `These commands work on the folder of tenants that the configuration names as
tenantsDir, beside a server, which follows within seconds. Nothing that would make the
configuration wrong is written. What is protected of a tenant that is taken out stays in
its vault and in the catalog: its jobs rest until it is back.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&config, "config", "", "the configuration file of serve")
	named := func() error {
		if config == "" {
			return usageError{errors.New("name the configuration file of serve with --config")}
		}
		return nil
	}
	var asJSON bool
	list := &cobra.Command{Use: "list", Short: "List the tenants, and where each is described", Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if err := named(); err != nil {
			return err
		}
		cfg, err := ReadConfig(config)
		if err != nil {
			return unusable(config, err)
		}
		var all []describedTenant
		for _, t := range cfg.Tenants {
			all = append(all, describedTenant{t.ID, t.DisplayName, t.ClientID, cmp.Or(t.file, config)})
		}
		if asJSON {
			return printValues(cmd.OutOrStdout(), all)
		}
		var rows [][]string
		for _, t := range all {
			rows = append(rows, []string{t.ID, cmp.Or(t.Name, "-"), t.ClientID, t.File})
		}
		c := cli{out: cmd.OutOrStdout()}
		return c.table([]string{"TENANT", "NAME", "APPLICATION", "DESCRIBED IN"}, rows)
	}}
	jsonFlag(list, &asJSON)
	cmd.AddCommand(list)
	cmd.AddCommand(&cobra.Command{
		Use: "add FILE", Short: "Add a tenant, or change one that was added", Example: "  holdfast tenants add --config serve.json fabrikam.json",
		Long: `The file describes the tenant as an entry of tenants in the configuration does: id,
clientId, secretFile and the rest. Its paths are from its own folder. The server reads
the secret from where it is.`,
		Args: args(1, 1), RunE: func(cmd *cobra.Command, args []string) error {
			if err := named(); err != nil {
				return err
			}
			t, err := readTenant(args[0])
			if errors.Is(err, fs.ErrNotExist) {
				return fail(exitNotFound, "read what describes the tenant: %w", err)
			}
			if err != nil {
				return err
			}
			cfg, changed, err := putTenant(config, t, "")
			if err != nil {
				return tenantsError(err)
			}
			if !changed {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "Tenant %s is described so in %s already: nothing was to be done.\n", t.ID, cfg.TenantsDir)
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Tenant %s is described in %s; a server that runs follows within seconds, and /readyz says if it cannot.\n", t.ID, cfg.TenantsDir)
			return logTenant(cmd.Context(), cfg, t.ID, backup.Activity{Operation: "PutTenant", By: operator(), Target: "holdfast tenants add"})
		}})
	cmd.AddCommand(&cobra.Command{Use: "remove TENANT", Short: "Take a tenant out, and leave its backups where they are", Args: args(1, 1), RunE: func(cmd *cobra.Command, args []string) error {
		if err := named(); err != nil {
			return err
		}
		cfg, err := removeTenant(config, args[0])
		if err != nil {
			return tenantsError(err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Tenant %s is taken out; a server that runs follows within seconds. Its backups stay.\n", args[0])
		return logTenant(cmd.Context(), cfg, args[0], backup.Activity{Operation: "RemoveTenant", By: operator(), Target: "holdfast tenants remove"})
	}})
	return cmd
}

// tenantsError gives an error of the folder its exit code.
func tenantsError(err error) error {
	if errors.Is(err, errNoTenant) {
		return fail(exitNotFound, "%v", err)
	}
	return fmt.Errorf("nothing is changed:\n%w", err)
}

// logTenant notes in the audit log of a tenant that it was added or taken out, if there
// is a catalog yet.
func logTenant(ctx context.Context, cfg Config, tenant string, a backup.Activity) error {
	url, err := cfg.databaseURL()
	if err != nil {
		return err
	}
	if path, file := strings.CutPrefix(url, "sqlite:"); file && !isThere(path) {
		return nil
	}
	db, err := database.OpenBeside(ctx, url)
	if err != nil {
		return fmt.Errorf("that is done, but could not be noted in the audit log: %w", err)
	}
	defer db.Close()
	id, _ := backup.ParseGUID(tenant)
	a.Tenant, a.Object = backup.TenantID(id), id
	return catalog.New(db, jobs.New(db, time.Now), catalog.Config{Clock: time.Now}).Record(ctx, a)
}

// tenantsPath is where administrators of the installation list, add and take out tenants.
const tenantsPath = "/holdfast/v1/tenants"

// mostTenant is how long a description of a tenant may be.
const mostTenant = 64 << 10

// tenantAnswer is a tenant as administrators see it.
type tenantAnswer struct {
	ID          string `json:"id"`
	DisplayName string `json:"displayName,omitempty"`
	Graph       string `json:"graph"`
	Authority   string `json:"authority"`
	ClientID    string `json:"clientId"`
	Added       bool   `json:"added"` // it is in the folder, and can be taken out again
}

func answerOf(t TenantConfig) tenantAnswer {
	return tenantAnswer{t.ID, t.DisplayName, t.Graph, t.Authority, t.ClientID, t.file != ""}
}

// serveTenants answers administrators of the installation.
func (s *server) serveTenants(w http.ResponseWriter, r *http.Request) {
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if body != nil {
			json.NewEncoder(w).Encode(body)
		}
	}
	refuse := func(status int, code, message string) {
		answer(status, map[string]any{"error": map[string]string{"code": code, "message": message}})
	}
	caller, err := s.administrator(r)
	switch {
	case errors.Is(err, identity.ErrToken):
		w.Header().Set("WWW-Authenticate", "Bearer")
		refuse(http.StatusUnauthorized, string(backup.InvalidAuthenticationToken), "The request has no access token that is valid here.")
		return
	case err != nil:
		refuse(http.StatusForbidden, string(backup.AuthorizationDenied), "Tenants are for administrators of the installation, whom its configuration names as administration.")
		return
	}
	id := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, tenantsPath), "/")
	failed := func(err error) {
		s.log.WarnContext(r.Context(), "the tenants could not be changed", "tenant", id, "err", err)
		switch {
		case errors.Is(err, errNoTenant):
			refuse(http.StatusNotFound, string(backup.ItemNotFound), "There is no such tenant.")
		case errors.Is(err, errNoFolder), errors.Is(err, errInFile):
			refuse(http.StatusConflict, "conflict", sentenceOf(err))
		case strings.Contains(err.Error(), string(os.PathSeparator)): // files of the server are nobody's business
			refuse(http.StatusUnprocessableEntity, "invalidConfiguration", "The configuration would be wrong with that, and is as it was. The log of the server says in what.")
		default:
			refuse(http.StatusUnprocessableEntity, "invalidConfiguration", "The configuration would be wrong with that, and is as it was: "+err.Error())
		}
	}
	if s.reading.read == nil {
		refuse(http.StatusConflict, "conflict", "This server has no file of its configuration.")
		return
	}
	switch {
	case r.Method == http.MethodGet && id == "":
		var all []tenantAnswer
		for _, t := range s.tenants() {
			all = append(all, answerOf(t))
		}
		answer(http.StatusOK, map[string]any{"value": all})
	case r.Method == http.MethodGet:
		t := backup.TenantID(strings.ToLower(id))
		if !s.serves(t) {
			failed(errNoTenant)
			return
		}
		answer(http.StatusOK, answerOf(s.tenant(t).TenantConfig))
	case r.Method == http.MethodPut && id != "":
		var body struct {
			TenantConfig
			Secret drive.Secret `json:"secret"`
		}
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostTenant))
		if err == nil {
			err = decodeWhole("the body", data, &body)
		}
		t := body.TenantConfig
		switch {
		case err != nil:
			refuse(http.StatusBadRequest, string(backup.InvalidRequest), sentenceOf(err))
			return
		case t.SecretFile+t.SecretEnv+t.CertificateFile+t.IdentityTokenFile+t.VaultPasswordFile+t.VaultPasswordEnv != "":
			refuse(http.StatusBadRequest, string(backup.InvalidRequest), "Files and variables of the server are named in its configuration only. Give the application's secret as secret; the server keeps it in a file.")
			return
		case strings.TrimSpace(string(body.Secret)) == "":
			refuse(http.StatusBadRequest, string(backup.InvalidRequest), "The secret of the tenant's application is missing: give it as secret, each time.")
			return
		case t.ID != "" && !strings.EqualFold(t.ID, id):
			refuse(http.StatusBadRequest, string(backup.InvalidRequest), "The id in the body is another than that in the address.")
			return
		}
		t.ID = id
		if _, _, err := putTenant(s.reading.path, t, drive.Secret(strings.TrimSpace(string(body.Secret)))); err != nil {
			failed(err)
			return
		}
		if err := s.reload(r.Context()); err != nil {
			failed(err)
			return
		}
		s.recordTenant(r, caller, "PutTenant", id)
		answer(http.StatusOK, answerOf(s.tenant(backup.TenantID(strings.ToLower(id))).TenantConfig))
	case r.Method == http.MethodDelete && id != "":
		if _, err := removeTenant(s.reading.path, id); err != nil {
			failed(err)
			return
		}
		if err := s.reload(r.Context()); err != nil {
			failed(err)
			return
		}
		s.recordTenant(r, caller, "RemoveTenant", id)
		answer(http.StatusNoContent, nil)
	default:
		w.Header().Set("Allow", "GET, PUT, DELETE")
		refuse(http.StatusMethodNotAllowed, string(backup.InvalidRequest), "GET lists the tenants; PUT and DELETE are for "+tenantsPath+"/ID.")
	}
}

// recordTenant notes what an administrator did in the tenant's audit log.
func (s *server) recordTenant(r *http.Request, caller identity.Caller, operation, tenant string) {
	a := backup.Activity{
		Tenant: backup.TenantID(strings.ToLower(tenant)), Operation: operation, Object: strings.ToLower(tenant), Target: r.Method + " " + r.URL.Path,
		By: backup.IdentitySet{Application: backup.Identity{ID: caller.AppID, DisplayName: caller.AppName}, User: backup.Identity{ID: caller.UserID, DisplayName: caller.UserName, Email: caller.Email}},
	}
	if err := s.catalog.Record(r.Context(), a); err != nil {
		s.log.ErrorContext(r.Context(), "what an administrator did could not be noted in the audit log", "operation", operation, "tenant", tenant, "by", caller.AppID+caller.UserID, "err", err)
	}
}

// errNotAdministrator: who asks may not do that.
var errNotAdministrator = errors.New("not an administrator of the installation")

// administrator returns who asks, if that is an administrator of the installation. An
// application is one by itself only: a person who uses it has to be one.
func (s *server) administrator(r *http.Request) (identity.Caller, error) {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		return identity.Caller{}, identity.ErrToken
	}
	caller, err := s.Verify(r.Context(), strings.TrimSpace(token))
	if err != nil {
		return caller, err
	}
	a := s.cfg.Administration
	who, among := caller.AppID, []string(nil)
	if a != nil {
		among = a.Applications
		if caller.Delegated {
			who, among = caller.UserID, a.Users
		}
	}
	if a == nil || a.Tenant != string(caller.Tenant) || !slices.Contains(among, who) {
		return caller, errNotAdministrator
	}
	return caller, nil
}

// sentenceOf is an error as a sentence.
func sentenceOf(err error) string {
	text := strings.TrimSuffix(err.Error(), ".")
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
