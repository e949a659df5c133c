package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"holdfast/internal/backup"
	"holdfast/internal/client"
	"holdfast/internal/database"
	"holdfast/internal/drive"
	"holdfast/internal/engine"
	"holdfast/internal/identity"
	"holdfast/internal/vault"
)

// Config is everything a server has to be told. The file that serve reads is
// its JSON form; dev and demo fill it in themselves.
//
// Secrets are named, never written: each is in a file or in an environment
// variable. Relative paths are taken from the folder of the file.
type Config struct {
	// Listen is the address for plain HTTP, such as 127.0.0.1:8365. Tokens and
	// backups pass over it in the clear, so it belongs on loopback or behind a
	// proxy that speaks HTTPS. Empty for none; one of the two must be given.
	Listen string `json:"listen"`
	// TLSListen is where HTTPS is served, and with which certificate.
	TLSListen *TLSListen `json:"tlsListen"`
	// Database is "postgres://user@host/name", or "sqlite:/path/file.db" for a
	// server that is alone. It holds no password: that is in the two below, or
	// wherever PostgreSQL's own clients look for it.
	Database             string `json:"database"`
	DatabasePasswordFile string `json:"databasePasswordFile"`
	DatabasePasswordEnv  string `json:"databasePasswordEnv"`
	// Vault is where backups are kept. Required.
	Vault VaultConfig `json:"vault"`
	// State is a folder of this server's own for caches, and for notes of which
	// vaults were there; what is lost with it is made again. Default: "state"
	// beside the file.
	State string `json:"state"`
	// PageTokenKey seals the positions handed to clients in nextLinks. Servers
	// that stand in for each other must have the same. Default: one made in the
	// folder State.
	PageTokenKeyFile string `json:"pageTokenKeyFile"`
	PageTokenKeyEnv  string `json:"pageTokenKeyEnv"`
	// Tenants are protected, each through its own Graph endpoint. At least one.
	Tenants []TenantConfig `json:"tenants"`
	// TenantsDir is a folder with more tenants, each in a file ID.json that says what an
	// entry of Tenants would. 'holdfast tenants' writes it, and so does the API for
	// administrators. A running server follows its changes. Default: none.
	TenantsDir string `json:"tenantsDir"`
	// Administration says who may add tenants and take them out by the API. Default:
	// nobody.
	Administration *AdministrationConfig `json:"administration"`
	// API is the application that this server is at Entra ID: whose permissions
	// callers are granted, and for which they get tokens. From it follow Issuers and
	// Audiences, unless they are given.
	API *APIConfig `json:"api"`
	// Issuers are trusted to say who is calling. Default, with API: Entra ID, for
	// each tenant.
	Issuers []IssuerConfig `json:"issuers"`
	// Audiences are what a token may be meant for. Default: API; without it Microsoft
	// Graph, whose tokens only a simulated tenant gives in a form that others than
	// Graph can verify.
	Audiences []string `json:"audiences"`
	// Interval is how often a protected drive is backed up. Default: 10m.
	Interval Duration `json:"interval"`
	// RPO is how old the newest point of a drive may become before that is shown
	// as missed. Default: twice the interval.
	RPO Duration `json:"rpo"`
	// RuleInterval is how often a dynamic inclusion rule is evaluated, besides
	// whenever it is changed. Default: 24h.
	RuleInterval Duration `json:"ruleInterval"`
	// Workers is how many drives are backed up, and how many restored, at a
	// time. Default: 8.
	Workers int `json:"workers"`
	// PublicURL is the origin of the links in answers and in alerts, such as
	// https://backup.example.com. Default: that of the request, and no links in alerts.
	PublicURL string `json:"publicUrl"`
	// Notifications has the source tell of changes, so that drives are visited
	// soon after, and not only at the interval. Default: none.
	Notifications *NotificationsConfig `json:"notifications"`
	// Drain is how long a process that is told to stop answers on, while /readyz says
	// 503 and its jobs are others' already: until the proxy in front has noticed, which
	// takes a little more than the time between two of its questions. Default: none.
	Drain Duration `json:"drain"`
	// TrustedProxies are the networks of proxies that are believed when they say,
	// by X-Forwarded-Host and X-Forwarded-Proto, what the client asked for.
	TrustedProxies []netip.Prefix `json:"trustedProxies"`
	// RequestsPer10s is how many requests an application may make in a tenant
	// within ten seconds. Default: 130000, as Microsoft Graph.
	RequestsPer10s int `json:"requestsPer10s"`
	// Workloads are those that are protected. Default: oneDriveForBusiness. Of
	// sharePoint and exchange not all is kept yet, see docs/fidelity.md.
	Workloads []backup.Workload `json:"workloads"`
	// MaxActivePolicies is how many policies a tenant may have in force. Default: 100.
	MaxActivePolicies int `json:"maxActivePolicies"`
	// Retention says by its default how long the restore points of new policies
	// are kept: settings, each an ISO 8601 interval and period. Default: as
	// Microsoft, every ten minutes for two weeks and weekly for a year. What it
	// says of policies by their ids, and of legal holds, is taken into a database
	// that knows of neither yet; if it differs from what that has later, this
	// server lets nothing expire.
	Retention backup.RetentionPlan `json:"retention"`
	// ServiceStatus is that of a tenant's service until somebody enables it:
	// "enabled", or "disabled", in which nothing can be configured. Default:
	// enabled.
	ServiceStatus backup.ServiceStatus `json:"serviceStatus"`
	// OffboardGrace is how long after it was asked for an offboarding destroys
	// the backups, and can be cancelled until then. Default: 2160h, 90 days.
	OffboardGrace Duration `json:"offboardGrace"`
	// AnyUserBrowses lets a user with the permission to restore browse backups
	// and restore parts of them without the directory role SharePoint Backup
	// Administrator, which Microsoft asks for. Default: false.
	AnyUserBrowses bool `json:"anyUserBrowses"`

	// MetricsNames has /metrics name the units that are the longest overdue by their
	// owners' or sites' addresses as well, and not by ids alone. Whoever reaches
	// /metrics reads them, without a token. Default: false.
	MetricsNames bool `json:"metricsNames"`

	// Alerts says who is told of what needs people, and how. Default: nobody.
	Alerts *AlertsConfig `json:"alerts"`
	// Audit says where the audit log is handed on to. Default: nowhere.
	Audit *AuditConfig `json:"audit"`

	// Console has the server's web pages served below /console/. Default: none.
	Console *ConsoleConfig `json:"console"`

	// Role is which part of the work this process does. Default: all.
	Role Role `json:"-"`
	// Alone says that no other process works on the database, so that a start
	// takes up at once what the process before it left. SQLite implies it.
	Alone bool `json:"-"`
}

// AdministrationConfig is who administrates the installation itself, as one tenant's
// tokens name them.
type AdministrationConfig struct {
	Tenant       string   `json:"tenant"`       // whose tokens; it is one of those that are served
	Applications []string `json:"applications"` // the ids of applications that act for themselves
	Users        []string `json:"users"`        // the object ids of people
}

// A Role is which part of a server's work a process does. Processes in any roles
// may run on one PostgreSQL database and one place of vaults.
type Role string

const (
	RoleAll    Role = "all"
	RoleAPI    Role = "api"    // answers requests; backs up and restores nothing
	RoleWorker Role = "worker" // backs up and restores; answers probes only
)

// NotificationsConfig says how the source reaches this server.
type NotificationsConfig struct {
	// URL is the origin that the source calls, such as https://backup.example.com.
	// What comes there below /notifications/ has to reach an API process. Required.
	URL string `json:"url"`
}

// TLSListen is an HTTPS listener.
type TLSListen struct {
	Address  string `json:"address"`  // host:port
	CertFile string `json:"certFile"` // PEM, the server's certificate first, read again when it changes
	KeyFile  string `json:"keyFile"`  // PEM
}

// VaultConfig is where backups are kept: one kopia repository for each tenant, and more
// for one with many drives, in a folder named by its id, or below it in a bucket, sealed
// with the tenant's own password, or this one. Without the password the backups are lost.
type VaultConfig struct {
	Place
	// PasswordFile holds the password of all vaults that have none of their own.
	PasswordFile string `json:"passwordFile"`
	PasswordEnv  string `json:"passwordEnv"`
	// Drives is how many drives, sites and mailboxes go into one repository, before new
	// ones of the tenant go into the next. What is backed up already stays where it is.
	// Default 20,000.
	Drives int `json:"drives"`
}

// A Place is where vaults are, or copies of them: one of the three.
type Place struct {
	Dir   string       `json:"dir"`   // a folder; or
	S3    *S3Config    `json:"s3"`    // a bucket; or
	Azure *AzureConfig `json:"azure"` // a container
}

// S3Config is a bucket in a store that speaks Amazon's S3.
type S3Config struct {
	Endpoint     string `json:"endpoint"`    // host or host:port; default Amazon's
	Region       string `json:"region"`      // default: as the store says
	Bucket       string `json:"bucket"`      // which must be there
	Prefix       string `json:"prefix"`      // before the tenant's id; default none
	AccessKeyID  string `json:"accessKeyId"` // default: AWS_ACCESS_KEY_ID, or the machine's role
	SecretFile   string `json:"secretFile"`  // the secret access key
	SecretEnv    string `json:"secretEnv"`
	CAFile       string `json:"caFile"`       // PEM, of a store whose certificate no public authority has signed
	InsecureHTTP bool   `json:"insecureHttp"` // for a store on the same machine
	// Lock is how backups are locked where the bucket has object lock.
	Lock LockConfig `json:"lock"`
}

// AzureConfig is a container in Azure Blob Storage, which is opened with the account's
// key, or a shared access signature, or an application of Entra ID.
type AzureConfig struct {
	Account       string `json:"account"`   // which must be there
	Container     string `json:"container"` // likewise
	Prefix        string `json:"prefix"`    // before the tenant's id; default none
	Domain        string `json:"domain"`    // behind the account's name; default blob.core.windows.net
	KeyFile       string `json:"keyFile"`   // the account's key; or
	KeyEnv        string `json:"keyEnv"`
	SignatureFile string `json:"signatureFile"` // a shared access signature; or
	SignatureEnv  string `json:"signatureEnv"`
	TenantID      string `json:"tenantId"`   // of the application
	ClientID      string `json:"clientId"`   // the application's id
	SecretFile    string `json:"secretFile"` // the application's secret
	SecretEnv     string `json:"secretEnv"`
	InsecureHTTP  bool   `json:"insecureHttp"` // for a store on the same machine
	// Lock is how backups are locked where the container has version-level
	// immutability.
	Lock LockConfig `json:"lock"`
}

// LockConfig is how long what is written cannot be deleted from a bucket that has
// object lock, or a container that has version-level immutability.
type LockConfig struct {
	Mode vault.LockMode `json:"mode"` // "governance", "compliance" or "off"; default governance, in Azure, which has none, compliance
	Days int            `json:"days"` // default 30
}

// maxLockDays bounds what cannot be taken back: nobody lifts a lock for compliance.
const maxLockDays = 3650

func (l LockConfig) lock() vault.Lock {
	return vault.Lock{Mode: l.Mode, Period: time.Duration(l.Days) * 24 * time.Hour}
}

// check says what is wrong with locks, which may be of these modes.
func (l LockConfig) check(modes ...vault.LockMode) error {
	if l.Mode != "" && !slices.Contains(modes, l.Mode) {
		var names []string
		for _, m := range modes {
			names = append(names, strconv.Quote(string(m)))
		}
		last := len(names) - 1
		return fmt.Errorf("lock.mode is %s or %s, not %q", strings.Join(names[:last], ", "), names[last], l.Mode)
	}
	if l.Days < 0 || l.Days > maxLockDays {
		return fmt.Errorf("lock.days is between 1 and %d", maxLockDays)
	}
	return nil
}

// vaultOf says where a vault is, and how it is opened.
func (c *Config) vaultOf(name backup.VaultName, log *slog.Logger) (vault.Config, error) {
	file, env := c.Vault.PasswordFile, c.Vault.PasswordEnv
	if i := slices.IndexFunc(c.Tenants, func(of TenantConfig) bool { return of.ID == string(name.Tenant) && of.hasVaultPassword() }); i >= 0 {
		file, env = c.Tenants[i].VaultPasswordFile, c.Tenants[i].VaultPasswordEnv
	}
	password, err := readSecret(file, env)
	if err != nil {
		return vault.Config{}, fmt.Errorf("the vault's password %w", err)
	}
	cfg := vault.Config{Password: vault.Secret(password), State: filepath.Join(c.State, "vault", name.String()), Log: log}
	return cfg, c.Vault.Place.of(name, &cfg)
}

// of has cfg be in the place of a vault.
func (p *Place) of(name backup.VaultName, cfg *vault.Config) (err error) {
	switch below := name.String() + "/"; {
	case p.S3 != nil:
		if cfg.Bucket, err = p.S3.bucket(); err != nil {
			return fmt.Errorf("the vault's bucket: %w", err)
		}
		cfg.Bucket.Prefix += below
	case p.Azure != nil:
		if cfg.Azure, err = p.Azure.container(); err != nil {
			return fmt.Errorf("the vault's container: %w", err)
		}
		cfg.Azure.Prefix += below
	default:
		cfg.Dir = filepath.Join(p.Dir, name.String())
	}
	return nil
}

// holdsNone says that no tenant has a vault in the place, and what to look for.
func (p *Place) holdsNone() string {
	switch {
	case p.S3 != nil:
		return "the bucket " + p.S3.Bucket + " holds no vault below its prefix; check that the bucket, the prefix and the store's address are the right ones"
	case p.Azure != nil:
		return "the container " + p.Azure.Container + " holds no vault below its prefix; check that the account, the container and the prefix are the right ones"
	}
	return p.Dir + " holds no vault; check that its volume is mounted and that the folder is the right one"
}

// complete makes the place's paths relative to a folder's, and says what is wrong.
func (p *Place) complete(path func(*string), say func(field, format string, args ...any)) {
	path(&p.Dir)
	named := 0
	for _, is := range []bool{p.Dir != "", p.S3 != nil, p.Azure != nil} {
		if is {
			named++
		}
	}
	switch {
	case named == 0:
		say(".dir", "is missing: name the folder to keep backups in, or a bucket as s3, or a container as azure")
	case named > 1:
		say("", "names more than one of a folder (dir), a bucket (s3) and a container (azure): keep one of them")
	case p.S3 != nil:
		path(&p.S3.SecretFile)
		path(&p.S3.CAFile)
		if err := p.S3.check(); err != nil {
			say(".s3", "%v", err)
		}
	case p.Azure != nil:
		path(&p.Azure.KeyFile)
		path(&p.Azure.SignatureFile)
		path(&p.Azure.SecretFile)
		if err := p.Azure.check(); err != nil {
			say(".azure", "%v", err)
		}
	}
}

// bucket is s with what its files and variables hold.
func (s *S3Config) bucket() (*vault.Bucket, error) {
	b := &vault.Bucket{Endpoint: s.Endpoint, Region: s.Region, Name: s.Bucket, Prefix: s.Prefix, Key: s.AccessKeyID, Plain: s.InsecureHTTP,
		Lock: s.Lock.lock()}
	if s.AccessKeyID != "" || s.SecretFile != "" || s.SecretEnv != "" {
		secret, err := readLine(s.SecretFile, s.SecretEnv)
		if err != nil {
			return nil, fmt.Errorf("the secret access key %w", err)
		}
		b.Secret = vault.Secret(secret)
	}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("caFile: %w", err)
		}
		b.CA = pem
	}
	return b, nil
}

// check says what is wrong with a bucket's configuration.
func (s *S3Config) check() error {
	switch {
	case s.Bucket == "":
		return errors.New("has no bucket: name the one to keep backups in")
	case strings.Contains(s.Endpoint, "/"):
		return fmt.Errorf("the endpoint is a host, or host:port, without scheme and path, not %q", s.Endpoint)
	case s.AccessKeyID == "" && (s.SecretFile != "" || s.SecretEnv != ""):
		return errors.New("has a secret and no accessKeyId")
	}
	if err := s.Lock.check(vault.Governance, vault.Compliance, vault.NoLock); err != nil {
		return err
	}
	if err := checkPrefix(s.Prefix); err != nil {
		return err
	}
	if s.InsecureHTTP && !isLocal(s.Endpoint) {
		return errors.New("insecureHttp is for a store on this machine: an endpoint of localhost or a loopback address")
	}
	_, err := s.bucket()
	return err
}

// checkPrefix says what is wrong with a prefix.
func checkPrefix(prefix string) error {
	if want := strings.Trim(prefix, "/") + "/"; prefix != "" && prefix != want {
		return fmt.Errorf("the prefix ends in a slash and begins with none, such as %q, not %q", want, prefix)
	}
	return nil
}

// isLocal reports whether a host, or host:port, is this machine.
func isLocal(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// container is a with what its files and variables hold.
func (a *AzureConfig) container() (*vault.Container, error) {
	c := &vault.Container{Account: a.Account, Name: a.Container, Prefix: a.Prefix, Domain: a.Domain, Tenant: a.TenantID, Client: a.ClientID, Plain: a.InsecureHTTP,
		Lock: a.Lock.lock()}
	for _, secret := range []struct {
		what, file, env string
		to              *vault.Secret
	}{
		{"the account's key", a.KeyFile, a.KeyEnv, &c.Key},
		{"the shared access signature", a.SignatureFile, a.SignatureEnv, &c.Signature},
		{"the application's secret", a.SecretFile, a.SecretEnv, &c.ClientSecret},
	} {
		if secret.file == "" && secret.env == "" {
			continue
		}
		text, err := readLine(secret.file, secret.env)
		if err != nil {
			return nil, fmt.Errorf("%s %w", secret.what, err)
		}
		*secret.to = vault.Secret(text)
	}
	return c, nil
}

// check says what is wrong with a container's configuration.
func (a *AzureConfig) check() error {
	if a.Account == "" || a.Container == "" {
		return errors.New("needs account and container: name those to keep backups in")
	}
	if err := a.Lock.check(vault.Compliance, vault.NoLock); err != nil {
		return err
	}
	if err := checkPrefix(a.Prefix); err != nil {
		return err
	}
	c, err := a.container()
	if err != nil {
		return err
	}
	ways, app := 0, c.ClientSecret != "" && c.Tenant != "" && c.Client != ""
	for _, is := range []bool{c.Key != "", c.Signature != "", app} {
		if is {
			ways++
		}
	}
	switch {
	case !app && (c.ClientSecret != "" || c.Tenant != "" || c.Client != ""):
		return errors.New("an application is tenantId, clientId and secretFile or secretEnv")
	case ways != 1:
		return errors.New("needs one of keyFile, signatureFile (or keyEnv, signatureEnv) and an application (tenantId, clientId, secretFile)")
	case a.InsecureHTTP && !isLocal(a.Account+"."+a.Domain):
		return errors.New("insecureHttp is for a store on this machine: a domain of localhost")
	}
	return nil
}

// TenantConfig is a tenant to protect, and the application that may read and
// write its drives.
type TenantConfig struct {
	ID          string `json:"id"`          // the directory's GUID
	DisplayName string `json:"displayName"` // for people
	Graph       string `json:"graph"`       // default https://graph.microsoft.com/v1.0
	Authority   string `json:"authority"`   // default https://login.microsoftonline.com
	ClientID    string `json:"clientId"`    // the application that reads and writes
	// How the application proves who it is, one of them: a secret, a certificate
	// with its private key in PEM, or a token of another authority, such as a
	// cluster gives to its workloads.
	SecretFile        string `json:"secretFile"`
	SecretEnv         string `json:"secretEnv"`
	CertificateFile   string `json:"certificateFile"`
	IdentityTokenFile string `json:"identityTokenFile"`
	// VaultPassword seals the tenant's vault, which is made with it. Default: that of
	// all vaults.
	VaultPasswordFile string `json:"vaultPasswordFile"`
	VaultPasswordEnv  string `json:"vaultPasswordEnv"`
	// Licences is how many licences the tenant has bought, by which Microsoft
	// limits how much may be asked. Default: as many as drives are protected.
	Licences int `json:"licences"`
	// UnitsPerMinute is how much may be asked in Microsoft's resource units,
	// whatever the licences. A Graph of this machine is limited by these two only.
	UnitsPerMinute int `json:"unitsPerMinute"`
	// MIME has messages be kept as MIME too, beside what Exchange exports of them, so
	// that they can be read without it. It takes a request for each message. Default true.
	MIME *bool `json:"mime"`
	// Permissions has those of files and folders in the libraries of sites be kept. It
	// takes an enumeration of each library more, and a request for each file and folder
	// that has permissions of its own; and Sites.FullControl.All, which nothing else
	// needs. Default false.
	Permissions bool `json:"permissions"`
	// Versions is how many earlier versions of each file of document libraries are kept
	// in points, beside the file. It takes a request for each new or changed file, and one
	// for each version that is not held yet. Default 0, none.
	Versions int `json:"versions"`

	// Roles are what people of the tenant may do here at most: for each role the ids of
	// the groups that have it, besides whoever has it at Entra ID by its application
	// role. Default: what their tokens' scopes say.
	Roles identity.RoleMap `json:"roles"`
	// Scopes are parts of the tenant, by names of your own, within which groups have
	// roles: a help desk that restores what is of Finance, and sees nothing else. Default
	// none.
	Scopes map[string]ScopeConfig `json:"scopes"`
	// Approval is what nobody of the tenant may do alone: it waits until another person has
	// approved it. Default nothing.
	Approval *ApprovalConfig `json:"approval"`

	Credential drive.Credential `json:"-"` // what is read from there
	file       string           // in the folder of tenants; empty of one in the configuration itself
}

// A ScopeConfig is a part of a tenant: the units of the policies, of the members of the
// groups and of the owners that it names, together.
type ScopeConfig struct {
	// Policies are the ids of policies, all of whose units are in the scope.
	Policies []backup.PolicyID `json:"policies"`
	// Groups are the ids of groups of the directory, whose members' drives and mailboxes
	// are in the scope. The source is asked for them every 15 minutes; of a group that it
	// has not told of for a day nobody is in the scope.
	Groups []backup.ObjectID `json:"groups"`
	// Owners are ids or addresses of users, and ids or addresses of sites, whose drives,
	// mailboxes and sites are in the scope.
	Owners []string `json:"owners"`
	// Roles are what people may do in the scope at most, as the tenant's roles are for all
	// of it: for each role the ids of the groups that have it.
	Roles identity.RoleMap `json:"roles"`
}

// An ApprovalConfig is what another person has to approve.
type ApprovalConfig struct {
	// RestoreInPlace has sessions wait that restore in place, whatever they restore.
	RestoreInPlace bool `json:"restoreInPlace"`
	// Retention has wait what makes backups go earlier: shortening a retention, ending a
	// legal hold, and offboarding.
	Retention bool `json:"retention"`
	// Expires is how long an approval is waited for, after which nothing is done. Default:
	// 24h.
	Expires Duration `json:"expires"`
}

// rule is what a catalog is told of it.
func (a *ApprovalConfig) rule() backup.ApprovalRule {
	if a == nil {
		return backup.ApprovalRule{}
	}
	return backup.ApprovalRule{RestoreInPlace: a.RestoreInPlace, Retention: a.Retention, Expires: time.Duration(a.Expires)}
}

func (t *TenantConfig) hasVaultPassword() bool {
	return t.VaultPasswordFile != "" || t.VaultPasswordEnv != ""
}

// credential returns how the tenant's application proves who it is. Its error is
// about the field that it names.
func (t *TenantConfig) credential() (c drive.Credential, field string, err error) {
	ways := 0
	for _, name := range []string{t.SecretFile + t.SecretEnv, t.CertificateFile, t.IdentityTokenFile} {
		if name != "" {
			ways++
		}
	}
	switch {
	case ways > 1:
		return nil, "secretFile", errors.New("is one of several ways in which the application could prove who it is: keep one of secretFile, secretEnv, certificateFile and identityTokenFile")
	case t.CertificateFile != "":
		c, err := drive.NewCertificate(t.CertificateFile)
		if err == nil {
			err = guarded(t.CertificateFile)
		}
		return c, "certificateFile", err
	case t.IdentityTokenFile != "":
		c, err := drive.NewFederatedToken(t.IdentityTokenFile)
		return c, "identityTokenFile", err
	}
	secret, err := readLine(t.SecretFile, t.SecretEnv)
	if errors.Is(err, errMissingSecret) {
		err = errors.New("is missing: name a file or an environment variable with the application's secret, or a certificateFile or identityTokenFile")
	}
	return secret, "secretFile", err
}

// APIConfig is the registration of this server as an application at Entra ID.
type APIConfig struct {
	ClientID string `json:"clientId"` // its application id
	AppIDURI string `json:"appIdUri"` // default api:// and the id
}

// ConsoleConfig is the application that people sign in to the web pages with. Its
// redirect address is /console/signed-in on the origin by which they call it.
type ConsoleConfig struct {
	ClientID   string `json:"clientId"`   // the application's id
	SecretFile string `json:"secretFile"` // the application's secret
	SecretEnv  string `json:"secretEnv"`
	// Tenant is whose people may sign in. Default: the one tenant that there is,
	// or "organizations".
	Tenant    string `json:"tenant"`
	Authority string `json:"authority"` // default that of the first tenant
	// Scope is what tokens are asked for. Default: all that was granted on the
	// first of the audiences.
	Scope string `json:"scope"`

	Secret client.Secret `json:"-"` // what is read from there
	Here   bool          `json:"-"` // the authority answers on this server's own origins
}

// IssuerConfig is an issuer of tokens. Microsoft's own for a tenant is
// https://login.microsoftonline.com/{tenant}/v2.0.
type IssuerConfig struct {
	Issuer string `json:"issuer"` // the value of the claim iss, to the letter
	JWKS   string `json:"jwks"`   // where its public keys are
	Tenant string `json:"tenant"` // the only tenant that it may speak for
}

// What a field that is left out means.
const (
	defaultGraph     = "https://graph.microsoft.com/v1.0"
	defaultAuthority = "https://login.microsoftonline.com"
	defaultInterval  = 10 * time.Minute
	defaultRules     = 24 * time.Hour
	defaultWorkers   = 8
	defaultRequests  = 130_000
)

var defaultAudiences = []string{"https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000"}

// A Duration is written as Go writes it: "10m", "1h30m".
type Duration time.Duration

// UnmarshalJSON reads a duration from its text. null leaves it as it is.
func (d *Duration) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("a duration is a text such as \"10m\", not %s", data)
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no duration: give hours, minutes and seconds, such as \"10m\", \"1h30m\" or, for two weeks, \"336h\"", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalJSON writes it as UnmarshalJSON reads it.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// ReadConfig reads the configuration file at path and fills in defaults and
// secrets. The error names all that is wrong with it.
func ReadConfig(path string) (Config, error) { return readConfig(path, nil) }

// readConfig is ReadConfig of what change, if there is one, makes of the file.
func readConfig(path string, change func(*Config) error) (Config, error) {
	data, err := readJSON(path)
	if err != nil {
		return Config{}, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return Config{}, err
	}
	var cfg Config
	if err = decodeWhole(path, data, &cfg); err != nil {
		// The rest is looked at all the same, where it can be read at all.
		cfg = Config{}
		if json.Unmarshal(data, &cfg) != nil {
			return Config{}, err
		}
	}
	if cfg.TenantsDir != "" && !filepath.IsAbs(cfg.TenantsDir) {
		cfg.TenantsDir = filepath.Join(filepath.Dir(abs), cfg.TenantsDir)
	}
	err = errors.Join(err, cfg.addTenants())
	if change != nil {
		if err := change(&cfg); err != nil {
			return Config{}, err
		}
	}
	return cfg, errors.Join(err, cfg.complete(filepath.Dir(abs)))
}

// readPlace reads a file that names a place.
func readPlace(path string) (p Place, err error) {
	data, err := readJSON(path)
	if err == nil {
		err = decodeWhole(path, data, &p)
	}
	if err != nil {
		return p, fmt.Errorf("the place: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return p, err
	}
	var wrong []error
	p.complete(func(path *string) {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(filepath.Dir(abs), *path)
		}
	}, func(field, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%s%s: %s", path, field, fmt.Sprintf(format, args...)))
	})
	return p, errors.Join(wrong...)
}

// entraIssuers are the issuers of the tokens that Entra ID gives for a tenant: those
// of version 2, and those of version 1 that an application gets which did not ask
// for the other.
func entraIssuers(t TenantConfig) []IssuerConfig {
	keys := t.Authority + "/" + t.ID + "/discovery/v2.0/keys"
	old := t.Authority + "/" + t.ID + "/"
	if u, err := url.Parse(t.Authority); err == nil && microsoft(t.Authority) {
		old = "https://sts.windows.net/" + t.ID + "/"
		if strings.HasSuffix(u.Hostname(), ".cn") {
			old = "https://sts.chinacloudapi.cn/" + t.ID + "/"
		}
	}
	return []IssuerConfig{
		{Issuer: t.Authority + "/" + t.ID + "/v2.0", JWKS: keys, Tenant: t.ID},
		{Issuer: old, JWKS: keys, Tenant: t.ID},
	}
}

// microsoft reports whether an address is one of Microsoft's for signing in.
func microsoft(address string) bool {
	u, err := url.Parse(address)
	return err == nil && slices.ContainsFunc([]string{"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "login.chinacloudapi.cn", "sts.windows.net", "login.windows.net"},
		func(host string) bool { return strings.EqualFold(u.Hostname(), host) })
}

// notProtected returns one of workloads that no server can protect, or nothing.
func notProtected(workloads []backup.Workload) backup.Workload {
	for _, w := range workloads {
		if w != backup.OneDrive && w != backup.SharePoint && w != backup.Exchange {
			return w
		}
	}
	return ""
}

// complete fills in what was left out, and reads the tenants' secrets. The
// error names every field that is wrong, and what to do.
func (c *Config) complete(dir string) error {
	var wrong []error
	say := func(field, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	place := func(path *string) {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}

	if c.Listen == "" && c.TLSListen == nil {
		say("listen", "is missing, and so is tlsListen: give an address such as \"127.0.0.1:8365\"")
	}
	if c.Listen != "" {
		if err := checkAddress(c.Listen); err != nil {
			say("listen", "%v", err)
		}
	}
	if t := c.TLSListen; t != nil {
		place(&t.CertFile)
		place(&t.KeyFile)
		if err := checkAddress(t.Address); err != nil {
			say("tlsListen.address", "%v", err)
		} else if t.Address == c.Listen {
			say("tlsListen.address", "%s is that of listen, too: HTTPS and plain HTTP have an address each", t.Address)
		}
		if t.CertFile == "" || t.KeyFile == "" {
			say("tlsListen", "needs certFile and keyFile, each the path of a PEM file")
		} else if _, err := openCertificateFile(t.CertFile, t.KeyFile); err != nil {
			say("tlsListen", "the certificate and its key cannot be used: %v", err)
		} else if err := guarded(t.KeyFile); err != nil {
			say("tlsListen.keyFile", "%v", err)
		}
	}

	place(&c.DatabasePasswordFile)
	if err := c.completeDatabase(dir); err != nil {
		say("database", "%v", err)
	}

	if c.Vault.Drives < 0 {
		say("vault.drives", "is less than nothing: say how many drives go into one vault, or leave it out")
	}
	place(&c.Vault.PasswordFile)
	c.Vault.Place.complete(place, func(field, format string, args ...any) { say("vault"+field, format, args...) })
	each := len(c.Tenants) > 0 && !slices.ContainsFunc(c.Tenants, func(t TenantConfig) bool { return !t.hasVaultPassword() })
	if _, err := readSecret(c.Vault.PasswordFile, c.Vault.PasswordEnv); err != nil && !(each && errors.Is(err, errMissingSecret)) {
		say("vault.passwordFile", "%v", err)
	}
	if c.State == "" {
		c.State = "state"
	}
	place(&c.State)
	for _, folder := range []struct{ field, path string }{{"vault.dir", c.Vault.Dir}, {"state", c.State}, {"tenantsDir", c.TenantsDir}, {"database", strings.TrimPrefix(c.Database, "sqlite:")}} {
		below, _ := filepath.Rel(dir, folder.path)
		switch info, err := os.Stat(folder.path); {
		case below == "~" || strings.HasPrefix(filepath.ToSlash(below), "~/"):
			say(folder.field, "~ is not understood here: write the folder out")
		case (folder.field == "vault.dir" || folder.field == "state") && err == nil && !info.IsDir():
			say(folder.field, "%s is a file: name a folder", folder.path)
		case folder.field == "state" && c.Vault.Dir != "" && filepath.Clean(c.Vault.Dir) == filepath.Clean(c.State):
			say("state", "%s is the folder of the vaults, too: give each its own", c.State)
		}
	}
	place(&c.PageTokenKeyFile)
	if c.PageTokenKeyFile != "" || c.PageTokenKeyEnv != "" {
		if _, err := readSecret(c.PageTokenKeyFile, c.PageTokenKeyEnv); err != nil {
			say("pageTokenKeyFile", "%v", err)
		}
	}

	if len(c.Tenants) == 0 {
		say("tenants", "is empty: name at least one tenant to protect")
	}
	known := map[string]bool{}
	for i := range c.Tenants {
		t, field := &c.Tenants[i], fmt.Sprintf("tenants[%d]", i)
		if t.file != "" {
			field = t.file
		}
		id, ok := backup.ParseGUID(t.ID)
		switch {
		case !ok:
			say(field+".id", "%q is not a tenant id: give the directory's GUID", t.ID)
		case known[id]:
			say(field+".id", "%s is named twice: keep one of the two", id)
		default:
			t.ID, known[id] = id, true
		}
		fill(&t.Graph, defaultGraph)
		fill(&t.Authority, defaultAuthority)
		t.checkURLs(func(name, format string, args ...any) { say(field+name, format, args...) })
		t.Graph, t.Authority = strings.TrimRight(t.Graph, "/"), strings.TrimRight(t.Authority, "/")
		switch id, ok := backup.ParseGUID(t.ClientID); {
		case t.ClientID == "":
			say(field+".clientId", "is missing: give the id of the application that reads and writes the tenant's drives")
		case !ok:
			say(field+".clientId", "%q is not an application's id: give the GUID of the application that reads and writes the tenant's drives", t.ClientID)
		default:
			t.ClientID = id
		}
		if t.Licences < 0 {
			say(field+".licences", "%d is not possible: give how many licences the tenant has bought", t.Licences)
		}
		if t.UnitsPerMinute < 0 || t.UnitsPerMinute > 1_000_000 {
			say(field+".unitsPerMinute", "%d is not possible: give a number from 1, such as 1250", t.UnitsPerMinute)
		}
		switch {
		case t.Versions < 0 || t.Versions > engine.MostVersions:
			say(field+".versions", "%d is not possible: give how many earlier versions of each file of document libraries are to be kept, up to %d, or 0 for none", t.Versions, engine.MostVersions)
		case t.Versions > 0 && !slices.Contains(c.Workloads, backup.SharePoint):
			say(field+".versions", "has nothing to be done: versions are kept of files in document libraries of sites, so name sharePoint in workloads too, or leave it out")
		}
		if a := t.Approval; a != nil {
			switch life := time.Duration(a.Expires); {
			case life != 0 && (life < time.Minute || life > backup.MaxApprovalLife):
				say(field+".approval.expires", "%v is not possible: give a duration between 1m and %v, such as \"24h\"", life, backup.MaxApprovalLife)
			case !a.RestoreInPlace && !a.Retention:
				say(field+".approval", "says of nothing that it is to be approved: give restoreInPlace or retention, or both, or leave it out")
			}
		}
		checkRoles(say, field+".roles", t.Roles)
		for _, name := range slices.Sorted(maps.Keys(t.Scopes)) {
			scope, of := t.Scopes[name], field+".scopes."+name
			if name == "" || len(name) > 64 || strings.ContainsFunc(name, unicode.IsControl) {
				say(field+".scopes", "%q is no name: give one that people understand, of up to 64 characters", name)
			}
			for i, id := range scope.Policies {
				guid, ok := backup.ParseGUID(string(id))
				if !ok {
					say(of+".policies", "%q is not a policy's id: give its GUID, as 'holdfast policy list' shows it", id)
				}
				scope.Policies[i] = backup.PolicyID(guid)
			}
			for i, id := range scope.Groups {
				guid, ok := backup.ParseGUID(string(id))
				if !ok {
					say(of+".groups", "%q is not a group's id: give its GUID", id)
				}
				scope.Groups[i] = backup.ObjectID(guid)
			}
			for _, owner := range scope.Owners {
				_, isID := backup.SharePoint.ParseSubject(owner)
				if !isID && !strings.Contains(owner, "@") && !strings.HasPrefix(owner, "https://") {
					say(of+".owners", "%q is nobody: give the id or the address of a user, or of a site", owner)
				}
			}
			if len(scope.Policies)+len(scope.Groups)+len(scope.Owners) == 0 {
				say(of, "has nothing in it: name policies, groups or owners")
			}
			if len(scope.Roles) == 0 {
				say(of+".roles", "is missing: say which groups have which role within the scope, such as {\"restorer\": [\"A GROUP'S ID\"]}")
			}
			checkRoles(say, of+".roles", scope.Roles)
		}
		place(&t.VaultPasswordFile)
		if _, err := readSecret(t.VaultPasswordFile, t.VaultPasswordEnv); err != nil && t.hasVaultPassword() {
			say(field+".vaultPasswordFile", "%v", err)
		}
		place(&t.SecretFile)
		place(&t.CertificateFile)
		place(&t.IdentityTokenFile)
		if t.Credential == nil {
			c, name, err := t.credential()
			if err != nil {
				say(field+"."+name, "%v", err)
			}
			t.Credential = c
		}
	}

	if a := c.Administration; a != nil {
		id, ok := backup.ParseGUID(a.Tenant)
		if !ok || !known[id] {
			say("administration.tenant", "%q is none of the tenants: give the id of the one whose tokens administrators have", a.Tenant)
		}
		a.Tenant = id
		for _, of := range []struct {
			name string
			ids  []string
		}{{"applications", a.Applications}, {"users", a.Users}} {
			for i, text := range of.ids {
				if of.ids[i], ok = backup.ParseGUID(text); !ok {
					say("administration."+of.name, "%q is no id: give a GUID", text)
				}
			}
		}
		if len(a.Applications)+len(a.Users) == 0 {
			say("administration", "names nobody: give applications or users, or leave it out")
		}
	}
	if api := c.API; api != nil {
		id, ok := backup.ParseGUID(api.ClientID)
		if !ok {
			say("api.clientId", "%q is not an application's id: give the GUID of the application that this server is at Entra ID; docs/entra.md says how to register it", api.ClientID)
		}
		api.ClientID = id
		fill(&api.AppIDURI, "api://"+id)
		if len(c.Audiences) == 0 { // of tokens of version 2, and of version 1
			c.Audiences = []string{api.ClientID, api.AppIDURI}
		}
		if len(c.Issuers) == 0 {
			for _, t := range c.Tenants {
				c.Issuers = append(c.Issuers, entraIssuers(t)...)
			}
		}
	}
	if len(c.Issuers) == 0 && c.API == nil { // of api they follow, once there are tenants
		say("issuers", "is empty: name as api the application that this server is at Entra ID, see docs/entra.md, or at least one issuer whose tokens are accepted")
	}
	for i := range c.Issuers {
		s, field := &c.Issuers[i], fmt.Sprintf("issuers[%d]", i)
		switch {
		case s.Issuer == "":
			say(field+".issuer", "is missing: give the value that tokens carry in iss")
		case strings.ContainsFunc(s.Issuer, unicode.IsSpace):
			say(field+".issuer", "%q has a space in it, which no token's iss has: take it out", s.Issuer)
		case slices.ContainsFunc(c.Issuers[:i], func(before IssuerConfig) bool { return before.Issuer == s.Issuer }):
			say(field+".issuer", "%s is there twice: keep one of the two", s.Issuer)
		}
		if err := checkURL(s.JWKS); err != nil {
			say(field+".jwks", "%v", err)
		}
		if id, ok := backup.ParseGUID(s.Tenant); !ok || !known[id] {
			say(field+".tenant", "%q is none of the tenants: give the id of the one that it speaks for", s.Tenant)
		} else {
			s.Tenant = id
		}
	}
	if len(c.Audiences) == 0 {
		c.Audiences = defaultAudiences
	}
	for _, i := range c.Issuers {
		if c.Audiences[0] == defaultAudiences[0] && microsoft(i.JWKS) {
			say("audiences", "tokens for Microsoft Graph cannot be verified by anybody but Microsoft Graph, so that every caller would be refused: register this server as an application of its own, as docs/entra.md says, and name it as api")
			break
		}
	}
	if console := c.Console; console != nil {
		place(&console.SecretFile)
		switch _, ok := backup.ParseGUID(console.ClientID); {
		case console.ClientID == "":
			say("console.clientId", "is missing: give the id of the application that people sign in with")
		case !ok:
			say("console.clientId", "%q is not an application's id: give the GUID of the application that people sign in with", console.ClientID)
		}
		if strings.ContainsFunc(console.Tenant, func(r rune) bool { return unicode.IsSpace(r) || r == '/' }) {
			say("console.tenant", "%q is no tenant: give a directory's GUID, or \"organizations\"", console.Tenant)
		}
		secret, err := readLine(console.SecretFile, console.SecretEnv)
		if err != nil {
			say("console.secretFile", "%v", err)
		}
		console.Secret = client.Secret(secret)
		if len(c.Tenants) > 0 {
			fill(&console.Authority, c.Tenants[0].Authority)
		}
		if len(c.Tenants) == 1 {
			fill(&console.Tenant, c.Tenants[0].ID)
		}
		fill(&console.Tenant, "organizations")
		console.Authority = strings.TrimRight(console.Authority, "/")
		if err := checkBase(console.Authority); err != nil {
			say("console.authority", "%v", err)
		}
		fill(&console.Scope, strings.TrimRight(c.Audiences[0], "/")+"/.default")
	}
	for _, d := range []struct {
		field string
		value *Duration
		def   time.Duration
	}{{"interval", &c.Interval, defaultInterval}, {"ruleInterval", &c.RuleInterval, defaultRules}} {
		switch {
		case *d.value == 0:
			*d.value = Duration(d.def)
		case *d.value < Duration(time.Second):
			say(d.field, "%v is too short: give at least 1s, such as \"10m\"", time.Duration(*d.value))
		}
	}
	switch {
	case c.RPO == 0:
		c.RPO = 2 * c.Interval
	case c.RPO < c.Interval:
		say("rpo", "%v cannot be kept: the interval is %v, and a point is older than that before the next is made", time.Duration(c.RPO), time.Duration(c.Interval))
	}
	switch {
	case c.Workers == 0:
		c.Workers = defaultWorkers
	case c.Workers < 0 || c.Workers > 256:
		say("workers", "%d is not possible: give a number from 1 to 256", c.Workers)
	}
	if err := checkRetention(&c.Retention); err != nil {
		say("retention", "%v", err)
	}
	switch c.ServiceStatus {
	case "", backup.ServiceEnabled, backup.ServiceDisabled:
	default:
		say("serviceStatus", "%q is not possible: give \"enabled\" or \"disabled\"", c.ServiceStatus)
	}
	if c.Drain < 0 || c.Drain > Duration(time.Hour) {
		say("drain", "%v is not possible: give a duration such as \"15s\"", time.Duration(c.Drain))
	}
	if c.OffboardGrace < 0 {
		say("offboardGrace", "%v is not possible: give a duration such as \"2160h\"", time.Duration(c.OffboardGrace))
	}
	if n := c.Notifications; n != nil {
		if u, err := url.Parse(n.URL); err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil ||
			u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
			say("notifications.url", "is %q: give the origin at which the source reaches this server by HTTPS, such as https://backup.example.com", n.URL)
		}
		if strings.HasPrefix(c.Database, "postgres") && c.PageTokenKeyFile == "" && c.PageTokenKeyEnv == "" {
			say("notifications", "needs pageTokenKeyFile or pageTokenKeyEnv, the same for all processes: from it follow the secrets that notifications are known by")
		}
	}
	if c.Alerts != nil {
		c.Alerts.complete(known, place, say)
	}
	if c.Audit != nil {
		c.Audit.complete(known, place, say)
	}
	if c.PublicURL != "" {
		if err := checkBase(c.PublicURL); err != nil {
			say("publicUrl", "%v", err)
		} else if u, err := url.Parse(c.PublicURL); err == nil && strings.Trim(u.Path, "/") != "" {
			say("publicUrl", "%q has a path: give the origin alone, such as https://%s; the server does not answer below one", c.PublicURL, u.Host)
		}
		c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	}
	if c.Workloads == nil {
		c.Workloads = []backup.Workload{backup.OneDrive}
	}
	switch wrong := notProtected(c.Workloads); {
	case len(c.Workloads) == 0:
		say("workloads", "is empty: name oneDriveForBusiness, sharePoint or exchange, one or more of them, or leave it out")
	case wrong != "":
		say("workloads", "%q is not protected by this server: name oneDriveForBusiness, sharePoint or exchange, one or more of them", wrong)
	case len(slices.Compact(slices.Sorted(slices.Values(c.Workloads)))) < len(c.Workloads):
		say("workloads", "names one of them twice: keep one of the two")
	}
	for _, n := range []struct {
		field string
		value *int
		def   int
	}{{"requestsPer10s", &c.RequestsPer10s, defaultRequests}, {"maxActivePolicies", &c.MaxActivePolicies, 100}} {
		switch {
		case *n.value == 0:
			*n.value = n.def
		case *n.value < 0:
			say(n.field, "%d is not possible: give a number from 1", *n.value)
		}
	}
	return errors.Join(wrong...)
}

// checkTimes says which certificates do not hold at a time, by their fields. A server
// starts with them all the same, since the rest of its work goes on.
func (c *Config) checkTimes(now time.Time) error {
	var wrong []error
	say := func(field string, err error) {
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", field, err))
		}
	}
	pair := func(field, cert, key string) {
		held, err := openCertificateFile(cert, key)
		if err == nil {
			err = held.inTime(now)
		}
		say(field, err)
	}
	if t := c.TLSListen; t != nil {
		pair("tlsListen", t.CertFile, t.KeyFile)
	}
	for i, t := range c.Tenants {
		if cert, ok := t.Credential.(*drive.Certificate); ok {
			field := fmt.Sprintf("tenants[%d]", i)
			if t.file != "" {
				field = t.file
			}
			say(field+".certificateFile", cert.InTime(now))
		}
	}
	if a := c.Audit; a != nil {
		for i, o := range a.To {
			if s := o.Syslog; s != nil && s.CertFile != "" {
				pair(fmt.Sprintf("audit.to[%d].syslog", i), s.CertFile, s.KeyFile)
			}
		}
	}
	return errors.Join(wrong...)
}

func (c *Config) completeDatabase(dir string) error {
	if path, ok := strings.CutPrefix(c.Database, "sqlite:"); ok {
		if path == "" {
			return errors.New("names no file: give sqlite:/path/file.db")
		}
		if !filepath.IsAbs(path) {
			c.Database = "sqlite:" + filepath.Join(dir, path)
		}
		if c.DatabasePasswordFile != "" || c.DatabasePasswordEnv != "" {
			return errors.New("is of SQLite, which has no password: take databasePasswordFile and databasePasswordEnv out")
		}
		return database.CheckURL(c.Database)
	}
	if u, err := url.Parse(c.Database); err == nil {
		if _, inline := u.User.Password(); inline || u.Query().Has("password") {
			return errors.New("holds a password: take it out, and name databasePasswordFile or databasePasswordEnv")
		}
	}
	if err := database.CheckURL(c.Database); err != nil {
		return err
	}
	if c.DatabasePasswordFile == "" && c.DatabasePasswordEnv == "" {
		return nil
	}
	if _, err := readLine(c.DatabasePasswordFile, c.DatabasePasswordEnv); err != nil {
		return fmt.Errorf("the password %w", err)
	}
	return nil
}

// databaseURL returns the database's address with its password.
func (c *Config) databaseURL() (string, error) {
	if c.DatabasePasswordFile == "" && c.DatabasePasswordEnv == "" {
		return c.Database, nil
	}
	password, err := readLine(c.DatabasePasswordFile, c.DatabasePasswordEnv)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(c.Database)
	if err != nil {
		return "", err
	}
	u.User = url.UserPassword(u.User.Username(), string(password))
	return u.String(), nil
}

// checkRetention brings the policies' ids to their one form, and says what is
// wrong with a plan.
func checkRetention(plan *backup.RetentionPlan) error {
	_, err := backup.NewKeeping(plan.Default)
	wrong := []error{err}
	policies := map[backup.PolicyID]backup.Retention{}
	for given, own := range plan.Policies {
		id, ok := backup.ParseGUID(string(given))
		if !ok {
			wrong = append(wrong, fmt.Errorf("%q is not a policy id: give the policy's GUID", given))
		}
		if _, err := backup.NewKeeping(own); err != nil {
			wrong = append(wrong, fmt.Errorf("policies %s: %w", given, err))
		}
		policies[backup.PolicyID(id)] = own
	}
	plan.Policies = policies
	return errors.Join(wrong...)
}

// checkRoles says what is wrong with the roles of groups.
func checkRoles(say func(field, format string, args ...any), field string, roles identity.RoleMap) {
	for _, role := range slices.Sorted(maps.Keys(roles)) {
		if !slices.Contains(identity.Roles, role) {
			var names []string
			for _, r := range identity.Roles {
				names = append(names, string(r))
			}
			say(field, "there is no role %q: name %s%s", role, rolesInWords(), meant(string(role), names...))
		}
		for _, id := range roles[role] {
			if _, ok := backup.ParseGUID(id); !ok {
				say(field, "%q is not a group's id: give the GUID of the group that is to have the role %s", id, role)
			}
		}
	}
}

// rolesInWords are the roles that people may have.
func rolesInWords() string {
	var names []string
	for _, r := range identity.Roles {
		names = append(names, string(r))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func fill(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil && strings.Count(address, ":") > 1 && !strings.Contains(address, "//"):
		return fmt.Errorf("%q is not an address: give host:port, with an address of IPv6 in brackets, such as [::1]:8365", address)
	case err != nil || port == "" || strings.ContainsFunc(host, unicode.IsSpace):
		return fmt.Errorf("%q is not an address: give host:port, such as 127.0.0.1:8365", address)
	}
	return checkPort(port)
}

// checkPort says what is wrong with a port. It may have the name of a service.
func checkPort(port string) error {
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%q is no port: give a number up to 65535", port)
	}
	return nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case strings.ContainsFunc(text, unicode.IsSpace):
		return fmt.Errorf("%q has a space in it: take it out", text)
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q is not a web address: give one that starts with https://", text)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return fmt.Errorf("%q would send secrets in the clear: plain http is for this machine only, use https", text)
	case u.Port() != "":
		return checkPort(u.Port())
	}
	return nil
}

// checkBase is checkURL of an address below which others are.
func checkBase(text string) error {
	if err := checkURL(text); err != nil {
		return err
	}
	if u, err := url.Parse(text); err == nil && (u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "") {
		return fmt.Errorf("%q has more in it than an address: leave out names and passwords, and what begins with ? or #", u.Redacted())
	}
	return nil
}

// checkURLs says what is wrong with where a tenant's Graph and authority are.
func (t *TenantConfig) checkURLs(say func(field, format string, args ...any)) {
	for _, u := range []struct{ name, value string }{{".graph", t.Graph}, {".authority", t.Authority}} {
		if err := checkBase(u.value); err != nil {
			say(u.name, "%v", err)
		}
	}
	if u, err := url.Parse(t.Graph); err == nil && slices.Contains(graphHosts, strings.ToLower(u.Hostname())) && strings.TrimRight(u.Path, "/") != "/v1.0" {
		say(".graph", "%q is not where Microsoft's Graph is that this server speaks: its address ends in /v1.0", t.Graph)
	}
	if last := t.Authority[strings.LastIndexByte(strings.TrimRight(t.Authority, "/"), '/')+1:]; strings.EqualFold(strings.TrimRight(last, "/"), t.ID) {
		say(".authority", "%q ends in the tenant's id, which this server adds by itself: leave it out", t.Authority)
	}
}

// graphHosts are the names of Microsoft's Graphs.
var graphHosts = []string{"graph.microsoft.com", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"}

// loopback reports whether host is this machine's own name for itself.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// unusable says of a configuration that it cannot be used; one that is not there is
// something that was named and does not exist.
func unusable(path string, err error) error {
	code := exitFailed
	if _, missing := os.Stat(path); errors.Is(missing, fs.ErrNotExist) {
		code = exitNotFound
	}
	return fail(code, "the configuration cannot be used:\n%w", err)
}
