package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/drive"
	"holdfast/internal/engine"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// A toolbox is what the commands work with that look after catalogs and vaults
// themselves, beside a server or while none runs.
type toolbox struct {
	whereabouts
	tenant string // flag

	cfg     Config
	catalog *catalog.Catalog
	db      *database.DB
	engine  *engine.Engine
	tenants []backup.TenantID
	open    map[backup.VaultName]*vault.Vault
	number  int // flag: which of the tenant's vaults
	log     *slog.Logger
}

func (b *toolbox) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	b.whereabouts.flags(f)
	f.StringVar(&b.tenant, "tenant", "", "only this tenant, by its id (default all)")
}

// Whereabouts say where a server's catalog and vaults are, to a command that works on
// them itself: by the configuration of serve, or by the data folder of dev.
type whereabouts struct{ config, data string }

func (w *whereabouts) flags(f *pflag.FlagSet) {
	f.StringVar(&w.config, "config", "", "the configuration file of serve")
	f.StringVar(&w.data, "data", "", "or the data folder of dev (default as dev has it)")
}

// settings reads where everything is.
func (w *whereabouts) settings() (Config, error) {
	if w.config != "" && w.data != "" {
		return Config{}, usageError{errors.New("--config and --data exclude each other")}
	}
	if w.config != "" {
		cfg, err := ReadConfig(w.config)
		if err != nil {
			err = unusable(w.config, err)
		}
		return cfg, err
	}
	root := w.data
	if root == "" {
		var err error
		if root, err = defaultData(); err != nil {
			return Config{}, err
		}
	}
	root, err := filepath.Abs(root)
	return Config{
		Database: "sqlite:" + filepath.Join(root, "catalog.db"), State: filepath.Join(root, "state"),
		Vault: VaultConfig{Place: Place{Dir: filepath.Join(root, "vault")}, PasswordFile: filepath.Join(root, "keys", "vault-password")},
	}, err
}

// A catalogAt says where the catalog is that a command works on alone, and no vault.
type catalogAt struct {
	whereabouts
	database string // flag: in their place
}

func (a *catalogAt) flags(f *pflag.FlagSet) {
	a.whereabouts.flags(f)
	f.StringVar(&a.database, "database", "", "or the server's database: sqlite:/path/catalog.db or postgres://user@host/name")
}

// check says what is wrong with the flags.
func (a *catalogAt) check() error {
	switch {
	case a.database == "":
		return nil
	case a.config != "" || a.data != "":
		return errors.New("--database stands in the place of --config and --data: give one of the three")
	case !strings.HasPrefix(a.database, "sqlite:") && !strings.HasPrefix(a.database, "postgres://") && !strings.HasPrefix(a.database, "postgresql://"):
		return errors.New("--database: give sqlite:/path/catalog.db or postgres://user@host/name")
	}
	return nil
}

// open opens the catalog beside a server. The caller closes it.
func (a *catalogAt) open(ctx context.Context) (*database.DB, error) {
	if a.database != "" {
		if path, file := strings.CutPrefix(a.database, "sqlite:"); file && !isThere(path) { // to open it would make it
			return nil, fail(exitNotFound, "--database: there is no file %s", path)
		}
		return database.OpenBeside(ctx, a.database)
	}
	cfg, err := a.settings()
	if err != nil {
		return nil, err
	}
	url, err := cfg.databaseURL()
	if err != nil {
		return nil, err
	}
	if path, file := strings.CutPrefix(url, "sqlite:"); file && !isThere(path) {
		if a.config == "" {
			return nil, fail(exitNotFound, "there is no catalog %s; name dev's data folder with --data, or serve's file with --config", path)
		}
		return nil, noCatalog(path)
	}
	return database.OpenBeside(ctx, url)
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func noCatalog(path string) error {
	return fmt.Errorf("there is no catalog %s; if it is lost, 'holdfast catalog rebuild' makes it again from the vaults, and so does the server when it starts", path)
}

// settings reads where everything is, and which tenants there are.
func (b *toolbox) settings() (err error) {
	if b.cfg, err = b.whereabouts.settings(); err != nil {
		return err
	}
	var names []string
	if b.config != "" {
		for _, t := range b.cfg.Tenants {
			names = append(names, t.ID)
		}
	} else {
		entries, err := os.ReadDir(b.cfg.Vault.Dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fail(exitNotFound, "there are no vaults: %w; name dev's data folder with --data, or serve's file with --config", err)
		case err != nil:
			return fmt.Errorf("the folder of the vaults cannot be read: %w; run this as the user that the server runs as", err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	for _, name := range names {
		if id, ok := backup.ParseGUID(name); ok {
			b.tenants = append(b.tenants, backup.TenantID(id))
		}
	}
	return nil
}

// choose narrows the tenants to those that are meant: of dev's folder also those
// of which only the catalog knows, if it was opened. One is for a command that is
// about one.
func (b *toolbox) choose(ctx context.Context, one bool) error {
	if b.config == "" && b.catalog != nil {
		known, err := b.catalog.Tenants(ctx)
		if err != nil {
			return err
		}
		for _, t := range known {
			if !slices.Contains(b.tenants, t) {
				b.tenants = append(b.tenants, t)
			}
		}
	}
	if b.tenant != "" {
		id, ok := backup.ParseGUID(b.tenant)
		if !ok {
			return usageError{fmt.Errorf("--tenant: %q is not a tenant id", b.tenant)}
		}
		if !slices.Contains(b.tenants, backup.TenantID(id)) {
			return fail(exitNotFound, "--tenant: there is no tenant %s; 'holdfast vault status' lists those there are", id)
		}
		b.tenants = []backup.TenantID{backup.TenantID(id)}
	}
	if len(b.tenants) == 0 {
		return fail(exitNotFound, "there is no tenant: the catalog knows none, and %s", b.cfg.Vault.Place.holdsNone())
	}
	if one && len(b.tenants) != 1 {
		return usageError{fmt.Errorf("there are %d tenants: name one with --tenant", len(b.tenants))}
	}
	return nil
}

// vaultConfig says where a vault is.
func (b *toolbox) vaultConfig(name backup.VaultName) (vault.Config, error) {
	return b.cfg.vaultOf(name, b.log)
}

// run is what every command does around its own work.
func (b *toolbox) run(cmd *cobra.Command, alone, one bool, do func(ctx context.Context, out io.Writer) error) (err error) {
	defer func() {
		if err != nil && cmd.Context().Err() != nil {
			err = fail(exitStopped, "interrupted; what was done until then stays")
		}
	}()
	if err := b.settings(); err != nil {
		return err
	}
	stop, err := b.start(cmd.Context(), alone, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if err = b.choose(cmd.Context(), one); err == nil {
		err = do(cmd.Context(), cmd.OutOrStdout())
	}
	return errors.Join(err, stop())
}

// activity is what the command has done to a tenant, for the audit log.
func (b *toolbox) activity(t backup.TenantID, operation, command string) backup.Activity {
	return backup.Activity{Tenant: t, Operation: operation, By: operator(), Target: "holdfast " + command}
}

// start opens the catalog as it is, or, alone, also one that is to be made or
// brought up to date, and holds it.
func (b *toolbox) start(ctx context.Context, alone bool, errs io.Writer) (stop func() error, err error) {
	b.log = newLog(errs)
	url, err := b.cfg.databaseURL()
	if err != nil {
		return nil, err
	}
	var closers []func() error
	stop = func() error {
		var errs []error
		for _, v := range b.open {
			errs = append(errs, v.Close(context.WithoutCancel(ctx)))
		}
		for _, c := range slices.Backward(closers) {
			errs = append(errs, c())
		}
		return errors.Join(errs...)
	}
	connect := database.OpenBeside
	path, file := strings.CutPrefix(url, "sqlite:")
	if file && !alone && !isThere(path) { // to open it would make it
		return nil, noCatalog(path)
	}
	if alone {
		connect = database.Open
		if file {
			lock, err := hold(path+".lock", "a holdfast is running on "+path+"; stop it first")
			if err != nil {
				return nil, err
			}
			closers = append(closers, lock.Close)
		}
	}
	if b.db, err = connect(ctx, url); err != nil {
		return nil, errors.Join(err, stop())
	}
	closers = append(closers, b.db.Close)
	queue := jobs.New(b.db, time.Now)
	b.catalog = catalog.New(b.db, queue, catalog.Config{Clock: time.Now})
	b.open = map[backup.VaultName]*vault.Vault{}
	b.engine = engine.New(engine.Config{
		Catalog: b.catalog, DB: b.db, Queue: queue, Clock: time.Now, Log: b.log,
		Sources: func(backup.TenantID) (*drive.Client, error) { return nil, errors.New("this command asks no source") },
		Vaults:  b.vault,
	})
	return stop, nil
}

func (b *toolbox) vault(ctx context.Context, name backup.VaultName) (*vault.Vault, error) {
	if v := b.open[name]; v != nil {
		return v, nil
	}
	v, err := openVault(ctx, b.catalog, name, b.vaultConfig, false)
	if err != nil {
		return nil, advised(err)
	}
	b.open[name] = v
	return v, nil
}

// oneVault adds the flag by which a command is told which of a tenant's vaults it is for.
func (b *toolbox) oneVault(cmd *cobra.Command) {
	cmd.Flags().IntVar(&b.number, "vault", 1, "which of the tenant's vaults, should it have several")
}

// chosen is the vault that a command is for.
func (b *toolbox) chosen() (backup.VaultName, error) {
	if b.number < 1 {
		return backup.VaultName{}, usageError{errors.New("--vault: vaults are counted from 1")}
	}
	return backup.VaultName{Tenant: b.tenants[0], Number: b.number}, nil
}

// advised adds what to do to an error of a vault that does not say it.
func advised(err error) error {
	switch {
	case errors.Is(err, vault.ErrPassword):
		return fmt.Errorf("%w; check the file or variable that holds the password, and that the %s is this tenant's", err, cmp.Or(vault.StoreOf(err), "folder"))
	case errors.Is(err, vault.ErrStateFull): // it says so itself
	case errors.Is(err, vault.ErrStorage):
		return fmt.Errorf("%w; check that the storage can be read and written by this user, and is not full", err)
	}
	return err
}

// newVaultCommand is the command for the vaults themselves.
func newVaultCommand() *cobra.Command {
	b := &toolbox{}
	cmd := &cobra.Command{
		Use:   "vault",
		Short: "Look after the vaults themselves: verify, repair, accept, copy",
		Long: `These commands work on vaults and catalog themselves, and need no token. But for
repair they may run beside a server.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	b.flags(cmd)
	cmd.AddCommand(b.statusCommand(), b.listCommand(), b.verifyCommand(), b.damageCommand(), b.repairCommand(), b.acceptCommand(), b.copyCommand())
	return cmd
}

// newCatalogCommand is the command for the catalog itself.
func newCatalogCommand() *cobra.Command {
	b := &toolbox{}
	cmd := &cobra.Command{
		Use:   "catalog",
		Short: "Make a catalog again from the vaults",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	b.flags(cmd)
	cmd.AddCommand(&cobra.Command{
		Use:   "rebuild",
		Short: "Bring what the vaults know and the catalog does not into the catalog",
		Long: `Rebuild makes a catalog from the vaults and their passphrase. An empty or missing
catalog takes policies, units, rules, retention and holds from each tenant's
record in its vault, and all restore points; one that is older than its vault
takes up the points it has missed. Points that it knows and the vault does not
hold are marked as lost. A server does the same by itself when it starts, and
hourly; it must not be running on a SQLite catalog now.

What no vault holds is not brought back: restore sessions, bulk addition jobs,
the audit log, and the names of owners, which are read from the directory again.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, true, false, b.rebuild)
		},
	})
	return cmd
}

func (b *toolbox) rebuild(ctx context.Context, out io.Writer) error {
	failed := 0
	for _, t := range b.tenants {
		fresh, err := b.catalog.Empty(ctx, t)
		if err != nil {
			return err
		}
		// A new vault must not be made where the old one is not mounted.
		if _, err := b.vault(ctx, backup.FirstVault(t)); err != nil {
			failed++
			fmt.Fprintf(out, "%s  the vault cannot be used: %v\n", t, err)
			continue
		}
		r, err := b.engine.Rebuild(ctx, t)
		if err != nil {
			failed++
			fmt.Fprintf(out, "%s  %v\n", t, err)
			continue
		}
		still, err := b.catalog.Empty(ctx, t)
		if err != nil {
			return err
		}
		if fresh && !still || r.Points > 0 || r.Lost > 0 {
			if err := b.catalog.Record(ctx, b.activity(t, backup.CatalogRebuiltActivity, "catalog rebuild")); err != nil {
				return err
			}
		}
		switch {
		case still:
			fmt.Fprintf(out, "%s  the vault holds nothing\n", t)
		case fresh:
			fmt.Fprintf(out, "%s  the catalog was empty and is made again: %s with %s\n", t, number(r.Drives, "drive"), number(r.Points, "restore point"))
		case r.Points == 0 && r.Lost == 0 && r.Failed == 0:
			fmt.Fprintf(out, "%s  catalog and vault agree\n", t)
		default:
			fmt.Fprintf(out, "%s  %s of %s taken up; %s whose backups the vault has lost\n", t, number(r.Points, "restore point"), number(r.Drives, "drive"), number(r.Lost, "drive"))
		}
		if r.Failed > 0 {
			failed++
			fmt.Fprintf(out, "%s  %s could not be dealt with; the log says why\n", t, number(r.Failed, "drive"))
		}
	}
	return partly(failed, len(b.tenants), "tenant", "brought back whole")
}

func (b *toolbox) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show each tenant's vault: its id, whether it opens, what is damaged", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, false, false, func(ctx context.Context, out io.Writer) error { return b.status(ctx, out, asJSON) })
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// A vaultsStatus is how the vaults of a tenant are.
type vaultsStatus struct {
	TenantID   backup.TenantID `json:"tenantId"`
	Vaults     []vaultStatus   `json:"vaults"`
	Drives     int             `json:"drives"`
	Unverified int             `json:"drivesNotVerifiedIn30Days"`
	Damage     int64           `json:"openDamage"`
}

type vaultStatus struct {
	Number int    `json:"number"`
	ID     string `json:"id,omitempty"` // empty as long as it is not known
	Opens  bool   `json:"opens"`
	State  string `json:"state"`
}

func (b *toolbox) status(ctx context.Context, out io.Writer, asJSON bool) error {
	bad, all := 0, 0
	told := []vaultsStatus{}
	for _, t := range b.tenants {
		names, err := b.catalog.Vaults(ctx, t)
		if err != nil {
			return err
		}
		drives, err := b.catalog.DriveRoots(ctx, t)
		if err != nil {
			return err
		}
		unverified, err := b.catalog.DrivesToVerify(ctx, t, time.Now().Add(-30*24*time.Hour), len(drives)+1)
		if err != nil {
			return err
		}
		damage, err := b.catalog.Damage(ctx, t, catalog.DamageQuery{Open: true, Page: catalog.Page{Limit: 1, Count: true}})
		if err != nil {
			return err
		}
		is := vaultsStatus{TenantID: t, Drives: len(drives), Unverified: len(unverified), Damage: damage.Total}
		all += len(names)
		for _, name := range names {
			id, err := b.catalog.VaultID(ctx, name)
			if err != nil {
				return err
			}
			one := vaultStatus{Number: name.Number, ID: id, Opens: true, State: "opens"}
			if v, err := b.vault(ctx, name); err != nil {
				one.Opens, one.State = false, err.Error()
				bad++
			} else if says := v.Locks().Says; says != "" {
				one.State += "; " + says
			}
			is.Vaults = append(is.Vaults, one)
		}
		if told = append(told, is); asJSON {
			continue
		}
		fmt.Fprintf(out, "Tenant    %s\n", t)
		for _, v := range is.Vaults {
			id := cmp.Or(v.ID, "not known yet")
			if len(names) > 1 {
				id = fmt.Sprintf("%d: %s", v.Number, id)
			}
			fmt.Fprintf(out, "Vault     %s\nState     %s\n", id, v.State)
		}
		fmt.Fprintf(out, "Drives    %d, %d of them not verified in 30 days\nDamage    %d open\n\n", is.Drives, is.Unverified, is.Damage)
	}
	if asJSON {
		if err := printValues(out, told); err != nil {
			return err
		}
	}
	return partly(bad, all, "vault", "used")
}

// jsonFlag gives a command that lists the flag to do so for scripts.
func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print a JSON array, which carries all that is printed otherwise")
}

// printValues prints things as a JSON array.
func printValues[T any](out io.Writer, all []T) error {
	if all == nil {
		all = []T{}
	}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(all)
}

func (b *toolbox) verifyCommand() *cobra.Command {
	var only, part string
	var full bool
	cmd := &cobra.Command{
		Use:   "verify [--full | --part N/T] [--drive DRIVE]",
		Short: "Read back what the vaults hold, and say what is damaged",
		Long: `Verify reads back from the storage what the vaults hold: all folders and indexes,
and of the files' contents a twentieth, another one each day. With --full it reads
all contents; with --part 3/7 it does so for the third of seven parts of the
drives. It names the drives, restore points and paths that damage touches, notes
it, and has the server download again what the source still has.

'holdfast help exit-codes' says what scripts may build on.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, of, err := parsePart(part)
			if err != nil || full && part != "" {
				return usageError{errors.Join(err, errors.New("give --full, or --part such as 3/7"))}
			}
			opt := vault.VerifyOptions{Share: 0.05, Salt: time.Now().UTC().Format(time.DateOnly)}
			if full || part != "" {
				opt.Share = 1
			}
			wanted := func(d catalog.DriveRoot) bool {
				h := fnv.New32a()
				h.Write([]byte(d.Drive))
				return (only == "" || only == string(d.Drive) || only == string(d.Unit)) && (of == 0 || int(h.Sum32()%uint32(of)) == n-1)
			}
			return b.run(cmd, false, false, func(ctx context.Context, out io.Writer) error {
				if only != "" {
					if err := b.knows(ctx, only); err != nil {
						return err
					}
				}
				return b.verify(ctx, out, cmd.ErrOrStderr(), wanted, opt)
			})
		},
	}
	cmd.Flags().StringVar(&only, "drive", "", "only this drive, by its id or its unit's")
	cmd.Flags().BoolVar(&full, "full", false, "read all contents")
	cmd.Flags().StringVar(&part, "part", "", "read all contents of the `N/T`th part of the drives")
	return cmd
}

// parsePart reads "3/7"; "" is no part.
func parsePart(text string) (n, of int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	a, b, ok := strings.Cut(text, "/")
	n, err = strconv.Atoi(a)
	of, err2 := strconv.Atoi(b)
	if !ok || err != nil || err2 != nil || n < 1 || n > of {
		return 0, 0, fmt.Errorf("--part: %q is no part", text)
	}
	return n, of, nil
}

func (b *toolbox) verify(ctx context.Context, out, errs io.Writer, wanted func(catalog.DriveRoot) bool, opt vault.VerifyOptions) error {
	damaged, unread, drives := 0, 0, 0
	var objects, bytes int64
	for _, t := range b.tenants {
		all, err := b.catalog.DriveRoots(ctx, t)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(d catalog.DriveRoot) bool { return !wanted(d) })
		if len(all) == 0 {
			continue
		}
		bar := newProgress(errs, "drives", len(all))
		done := 0
		err = b.engine.Verify(ctx, t, wanted, opt, func(d catalog.DriveRoot, r vault.VerifyReport, err error) {
			done++
			bar.set(done)
			objects, bytes = objects+r.Objects, bytes+r.Bytes
			if err != nil {
				damaged++
				fmt.Fprintf(out, "drive %s of unit %s: %v\n", d.Drive, d.Unit, err)
				return
			}
			if len(r.Damage) > 0 {
				damaged++
				b.tellDamage(ctx, out, t, d, r.Damage)
			}
		})
		bar.close()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil { // and no other tenant's
			unread += len(all) - done
			fmt.Fprintf(out, "tenant %s: %v\n", t, err)
		}
		drives += done
	}
	if drives+unread == 0 {
		fmt.Fprintln(out, "Nothing was verified: there is no drive, of those asked for, that has been backed up.")
		return nil
	}
	which := "all contents"
	if opt.Share < 1 {
		which = "a twentieth of the contents (--full reads all)"
	}
	fmt.Fprintf(out, "%s verified: %d objects, and %s, %.1f MB.\n", number(drives, "drive"), objects, which, float64(bytes)/1e6)
	if damaged > 0 {
		fmt.Fprintln(out, "What the source still has is downloaded again at the next backup. For the rest, bring the vault's storage back from a copy.")
	}
	if damaged > 0 {
		return fail(exitPartial, "%s damaged", number(damaged, "drive"))
	}
	return partly(unread, drives+unread, "drive", "verified")
}

// knows makes sure that there is a drive, by its id or its unit's.
func (b *toolbox) knows(ctx context.Context, drive string) error {
	for _, t := range b.tenants {
		all, err := b.catalog.DriveRoots(ctx, t)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(d catalog.DriveRoot) bool { return drive == string(d.Drive) || drive == string(d.Unit) }) {
			return nil
		}
	}
	return fail(exitNotFound, "--drive: no drive %q has been backed up; 'holdfast drive list' shows the units, by whose ids drives are named here", drive)
}

// tellDamage says what is damaged of a drive, and in which of its points.
func (b *toolbox) tellDamage(ctx context.Context, out io.Writer, t backup.TenantID, d catalog.DriveRoot, damage []vault.Damage) {
	at := map[string]string{}
	q := catalog.PointQuery{Unit: d.Unit, Page: catalog.Page{Limit: 1000}}
	for more := true; more; {
		points, err := b.catalog.Points(ctx, t, q)
		if err != nil {
			break
		}
		for _, p := range points.Items {
			at[p.Tree] = p.At.Format(time.RFC3339)
		}
		q.After, more = points.Next, points.Next != ""
	}
	owner := string(d.Unit)
	if u, err := b.catalog.Unit(ctx, t, d.Unit); err == nil && u.Address != "" {
		owner = u.Address
	}
	fmt.Fprintf(out, "%s (drive %s):\n", owner, d.Drive)
	for _, x := range damage {
		var when []string
		for _, tree := range x.Trees {
			if at[tree] != "" {
				when = append(when, at[tree])
			}
		}
		slices.Sort(when)
		fmt.Fprintf(out, "  %s %q in %s: %v\n", x.What, x.Path, number(len(x.Trees), "restore point"), x.Err)
		for _, w := range when {
			fmt.Fprintf(out, "    %s\n", w)
		}
	}
}

func (b *toolbox) damageCommand() *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use: "damage", Short: "List what was found damaged, and what of it is healed", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, false, false, func(ctx context.Context, out io.Writer) error { return b.listDamage(ctx, out, all, asJSON) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also what is healed")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// A damageNote is something that was found damaged.
type damageNote struct {
	TenantID backup.TenantID `json:"tenantId"`
	Unit     backup.UnitID   `json:"protectionUnitId"`
	Owner    string          `json:"owner,omitempty"` // the address, where it is known
	Found    time.Time       `json:"foundDateTime"`
	Healed   time.Time       `json:"healedDateTime,omitzero"`
	Path     string          `json:"path"`
	Reason   string          `json:"reason"`
}

func (b *toolbox) listDamage(ctx context.Context, out io.Writer, all, asJSON bool) error {
	var notes []damageNote
	for _, t := range b.tenants {
		page := catalog.Page{Limit: 500}
		for {
			l, err := b.catalog.Damage(ctx, t, catalog.DamageQuery{Open: !all, Page: page})
			if err != nil {
				return err
			}
			var ids []backup.UnitID
			for _, d := range l.Items {
				ids = append(ids, d.Unit)
			}
			slices.Sort(ids)
			units, err := b.catalog.UnitsByID(ctx, t, slices.Compact(ids))
			if err != nil {
				return err
			}
			for _, d := range l.Items {
				notes = append(notes, damageNote{t, d.Unit, units[d.Unit].Address, d.Found.UTC(), d.Healed, d.Path, d.Reason})
			}
			if page.After = l.Next; l.Next == "" {
				break
			}
		}
	}
	if asJSON {
		return printValues(out, notes)
	}
	for _, d := range notes {
		state := "open"
		if !d.Healed.IsZero() {
			state = "healed " + d.Healed.Format(time.RFC3339)
		}
		fmt.Fprintf(out, "%s  %s  %s  %s  %s\n", d.Found.Format(time.RFC3339), cmp.Or(d.Owner, "unit "+string(d.Unit)), state, oneLine(d.Path), d.Reason)
	}
	if len(notes) == 0 {
		fmt.Fprintln(out, "No damage is noted.")
	}
	return nil
}

func (b *toolbox) repairCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Mend what keeps a tenant's vault from opening, from what its own packs know",
		Long: `Repair puts the blob kopia.repository back from its copy, takes damaged index blobs
and settings away, and makes the index anew from the packs. What it takes away it
keeps in the state folder. The vault must not be in use: stop every server that works on it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, true, true, b.repair)
		},
	}
	b.oneVault(cmd)
	return cmd
}

func (b *toolbox) repair(ctx context.Context, out io.Writer) error {
	name, err := b.chosen()
	if err != nil {
		return err
	}
	cfg, err := b.vaultConfig(name)
	if err != nil {
		return err
	}
	if cfg.ID, err = b.catalog.VaultID(ctx, name); err != nil {
		return err
	}
	did, err := vault.Repair(ctx, cfg)
	for _, what := range did {
		fmt.Fprintln(out, what)
	}
	if len(did) > 0 {
		a := b.activity(name.Tenant, backup.VaultRepairedActivity, "vault repair: "+strings.Join(did, "; "))
		if err != nil {
			a.Result = backup.ActivityPartiallySucceeded
		}
		err = errors.Join(err, b.catalog.Record(ctx, a))
	}
	if err != nil {
		return advised(err)
	}
	if len(did) == 0 {
		fmt.Fprintln(out, "There was nothing to repair.")
	}
	fmt.Fprintln(out, "The vault opens. Verify it next: holdfast vault verify --full")
	return nil
}

func (b *toolbox) acceptCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "accept",
		Short: "Have the vault that is now in its place be the tenant's, on purpose",
		Long: `A vault is known by its id, and another in its place is refused. Accept says that
the one which is there now, or the empty folder, is meant. Points that it does not
hold are marked as lost, and every drive begins anew.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, false, true, func(ctx context.Context, out io.Writer) error { return b.accept(ctx, out, yes) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	b.oneVault(cmd)
	return cmd
}

func (b *toolbox) accept(ctx context.Context, out io.Writer, yes bool) error {
	name, err := b.chosen()
	if err != nil {
		return err
	}
	t := name.Tenant
	if wanted, err := b.catalog.WantsVault(ctx, name); err != nil {
		return err
	} else if !wanted {
		return fail(exitNotFound, "tenant %s has no vault %d; 'holdfast vault status' shows those it has", t, name.Number)
	}
	known, err := b.catalog.VaultID(ctx, name)
	if err != nil {
		return err
	}
	drives, err := b.catalog.Roots(ctx, name)
	if err != nil {
		return err
	}
	if !yes {
		fmt.Fprintf(out, "The tenant's vault is known as %s, and holds backups of %s.\nPoints that the vault now in place does not hold will be marked as lost.\n", cmp.Or(known, "none yet"), number(len(drives), "drive"))
		return usageError{errors.New("say --yes if that is what you want; nothing was changed")}
	}
	cfg, err := b.vaultConfig(name)
	if err != nil {
		return err
	}
	cfg.Create = true
	v, err := vault.Open(ctx, cfg)
	if err != nil {
		return fmt.Errorf("nothing was changed, since the vault in place does not open: %w", advised(err))
	}
	b.open[name] = v
	if v.ID() == known {
		fmt.Fprintln(out, "The vault in place is the tenant's already: nothing was to be done.")
		return nil
	}
	all, err := b.catalog.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, other := range all {
		of, err := b.catalog.Vaults(ctx, other)
		if err != nil {
			return err
		}
		for _, of := range of {
			if id, err := b.catalog.VaultID(ctx, of); err != nil {
				return err
			} else if of != name && id == v.ID() {
				return fmt.Errorf("nothing was changed: the vault in place is that of tenant %s; check that no volumes were swapped", of)
			}
		}
	}
	if err := b.catalog.AcceptVault(ctx, name, v.ID(), operator()); err != nil {
		return err
	}
	held := 0
	for _, err := range v.Drives(ctx) {
		if err != nil {
			return fmt.Errorf("the vault in place is the tenant's from now on; to list what it holds: %w", err)
		}
		held++
	}
	fmt.Fprintf(out, "The tenant's vault is %s from now on, and holds backups of %s. A running server takes it up within a minute.\n", v.ID(), number(held, "drive"))
	return nil
}
