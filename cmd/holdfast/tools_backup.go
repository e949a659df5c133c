package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/archive"
	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// newBackupCommand is the command for backups of Holdfast itself.
func newBackupCommand() *cobra.Command {
	b := &toolbox{}
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Back up Holdfast itself: its catalog and its keys",
		Long: `A backup of Holdfast itself is one encrypted file with the catalog, the configuration
and the keys: the passwords of the vaults, secrets and certificates. With it and the
vaults a server is brought back that knows all that this one knew. What was backed up
of Microsoft 365 is not in it: that is in the vaults, which 'holdfast vault copy' copies.

The file is sealed for a public key of age (https://age-encryption.org), whose private key is kept
elsewhere, or with a passphrase. Whoever has neither cannot read it, nor can you: keep
the key apart from this machine, as you keep the vaults' passwords.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(b.backupCreateCommand(), backupShowCommand(), b.backupDrillCommand(), b.backupRestoreCommand())
	return cmd
}

// A keyring is the flags by which an archive is sealed or opened.
type keyring struct {
	recipients           []string
	identity, passphrase string // files
}

func (k *keyring) flags(cmd *cobra.Command, seals bool) {
	f := cmd.Flags()
	if seals {
		f.StringArrayVar(&k.recipients, "recipient", nil, "seal it for the private key of this public `KEY` of age, such as age1…; may be given several times")
	} else {
		f.StringVar(&k.identity, "identity", "", "the `FILE` with the private key of age that it is sealed for")
	}
	f.StringVar(&k.passphrase, "passphrase-file", "", "or the `FILE` with its passphrase")
}

// key is what the flags name.
func (k *keyring) key() (archive.Key, error) {
	switch {
	case len(k.recipients) > 0 && k.passphrase != "":
		return archive.Key{}, usageError{errors.New("--recipient and --passphrase-file exclude each other")}
	case k.identity != "" && k.passphrase != "":
		return archive.Key{}, usageError{errors.New("--identity and --passphrase-file exclude each other")}
	case len(k.recipients) > 0:
		key, err := archive.Recipients(k.recipients...)
		if err != nil {
			return key, usageError{fmt.Errorf("--recipient: %w", err)}
		}
		return key, nil
	case k.identity != "":
		f, err := os.Open(k.identity)
		if err != nil {
			return archive.Key{}, named("--identity", err)
		}
		defer f.Close()
		if err := guarded(k.identity); err != nil {
			return archive.Key{}, fmt.Errorf("--identity %w", err)
		}
		key, err := archive.Identities(f)
		if err != nil {
			return key, fmt.Errorf("--identity: %s: %w", k.identity, err)
		}
		return key, nil
	case k.passphrase != "":
		words, err := readSecret(k.passphrase, "")
		if err != nil {
			return archive.Key{}, named("--passphrase-file", err)
		}
		return archive.Passphrase(string(words))
	}
	return archive.Key{}, nil
}

// named is the error of a file that a flag names.
func named(flag string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fail(exitNotFound, "%s: %w", flag, err)
	}
	return fmt.Errorf("%s: %w", flag, err)
}

func (b *toolbox) backupCreateCommand() *cobra.Command {
	var to string
	var keep int
	var keys keyring
	cmd := &cobra.Command{
		Use:   "create --to FILE|FOLDER",
		Short: "Write catalog, configuration and keys into an encrypted file",
		Long: `Create writes the catalog as it is at one moment, the configuration, and every file with
a secret that the configuration names into one encrypted file. It runs beside a server,
which does not wait for it. A file that is there is never written over, and one that is
there is whole: until then it has another name.

In a folder the file is called by the time, such as holdfast-2026-11-28T031500Z.backup. With
--keep the oldest of those that are called so go, once the new one is whole.

Secrets in variables of the environment, and tokens that a cluster gives, are not in it;
they are named.`,
		Example: `  holdfast backup create --config serve.json --to holdfast-2026-11-28.backup --recipient age1…
  holdfast backup create --config serve.json --to /var/backups/holdfast --keep 14 --recipient age1…
  holdfast backup create --config serve.json --to holdfast.backup --passphrase-file passphrase`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := keys.key()
			if err != nil {
				return err
			}
			switch {
			case len(keys.recipients) == 0 && keys.passphrase == "":
				return usageError{errors.New("say what it is to be sealed with: --recipient KEY, a public key of age, or --passphrase-file FILE. It holds the passwords of the vaults, and is never written in the clear")}
			case to == "":
				return usageError{errors.New("say where to: --to FILE, or --to FOLDER")}
			}
			info, err := os.Stat(to)
			isFolder := err == nil && info.IsDir()
			switch {
			case keep < 0:
				return usageError{errors.New("--keep: give how many are to be kept, from 1")}
			case keep > 0 && err == nil && !isFolder, keep > 0 && errors.Is(err, fs.ErrNotExist):
				return usageError{fmt.Errorf("--keep goes with a folder that is there, which %s is not", to)}
			}
			folder := to
			if isFolder {
				to = filepath.Join(to, time.Now().UTC().Format(backupName))
			}
			return b.run(cmd, false, false, func(ctx context.Context, out io.Writer) error {
				if err := b.backupCreate(ctx, out, cmd.ErrOrStderr(), to, key); err != nil || keep == 0 {
					return err
				}
				return dropBackups(folder, keep)
			})
		},
	}
	f := cmd.Flags()
	b.whereabouts.flags(f)
	f.StringVar(&to, "to", "", "the file to make, where none may be, or the folder to make one in")
	f.IntVar(&keep, "keep", 0, "how many backups to keep in the folder, the new one among them (default all)")
	keys.flags(cmd, true)
	return cmd
}

// backupName is what a backup is called in a folder, by its time.
const backupName = "holdfast-2006-01-02T150405Z.backup"

// dropBackups removes all but the newest of the backups in a folder that are called by
// their time.
func dropBackups(folder string, keep int) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var names []string // by their time, as they are by their name
	for _, e := range entries {
		if _, err := time.Parse(backupName, e.Name()); err == nil && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-keep)] {
		if err := os.Remove(filepath.Join(folder, name)); err != nil {
			return fmt.Errorf("the backup is made, but an older one could not be removed: %w", err)
		}
	}
	return nil
}

func (b *toolbox) backupCreate(ctx context.Context, out, errs io.Writer, to string, key archive.Key) error {
	head := archive.Head{Made: time.Now().UTC().Truncate(time.Second), Program: version(), Catalog: string(b.db.Dialect())}
	var g gathering
	var err error
	if b.config != "" {
		if head.Config, err = filepath.Abs(b.config); err == nil {
			err = g.ofServe(head.Config, b.cfg)
		}
	} else {
		head.Data = filepath.Dir(b.cfg.State)
		err = g.ofDev(head.Data)
	}
	if err != nil {
		return fmt.Errorf("no backup is made, since it would not be whole: %w", err)
	}
	head.Files, head.Missing = g.files, g.missing
	for _, t := range b.tenants {
		head.Tenants = append(head.Tenants, string(t))
	}
	var manifest archive.Manifest
	size, err := newFile(to, func(w io.Writer) error {
		return b.db.Snapshot(ctx, func(s *database.Snapshot) (err error) {
			total, err := s.Count(ctx)
			if err != nil {
				return err
			}
			bar, step, next := newProgress(errs, "rows", int(total)), total/20, int64(0)
			defer bar.close()
			manifest, err = archive.Write(ctx, w, key, head, s, func(rows int64) {
				if rows >= next || rows == total {
					bar.set(int(rows))
					next = rows + step
				}
			})
			return err
		})
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s holds %s of the catalog and %s, %s, and is encrypted.\n", to, number(int(manifest.Rows()), "row"), number(len(head.Files), "file"), sizeOf(size))
	tellMissing(out, head)
	fmt.Fprintf(out, "What was backed up of Microsoft 365 is in the vaults: 'holdfast vault copy' copies those.\nRehearse it: holdfast backup drill %s\n", to)
	for _, t := range b.tenants {
		if err := b.catalog.Record(ctx, b.activity(t, backup.CatalogBackedUpActivity, "backup create --to "+to)); err != nil {
			return fmt.Errorf("the backup is made, but could not be noted in the audit log: %w", err)
		}
	}
	return nil
}

func tellMissing(out io.Writer, head archive.Head) {
	for _, what := range head.Missing {
		fmt.Fprintf(out, "Not in this backup: %s.\n", what)
	}
}

func sizeOf(n int64) string { return size(strconv.FormatInt(n, 10)) }

// newFile makes a file, for its owner only, which has its name once write has written it
// whole and it is on the disk. It never takes the place of another. It returns its size.
func newFile(name string, write func(io.Writer) error) (size int64, err error) {
	there := func() error {
		return fail(exitFailed, "%s is there already, and nothing is written over: name a file that is not there", name)
	}
	if _, err := os.Lstat(name); err == nil {
		return 0, there()
	}
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+"-*.part") // mode 0600
	if err != nil {
		return 0, named("--to", err)
	}
	defer os.Remove(f.Name())
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		size, err = f.Seek(0, io.SeekCurrent)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("there is no %s: %w", name, err)
	}
	// A link, other than a new name, does not replace what has come meanwhile.
	switch err := os.Link(f.Name(), name); {
	case errors.Is(err, fs.ErrExist):
		return 0, there()
	case err != nil: // a file system that has none
		if _, err := os.Lstat(name); err == nil {
			return 0, there()
		}
		if err := os.Rename(f.Name(), name); err != nil {
			return 0, err
		}
	}
	return size, syncDir(dir)
}

// syncDir has the names in a folder be on the disk.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// readBackup reads a backup to its end.
func readBackup(ctx context.Context, file string, key archive.Key, into archive.Into) (archive.Head, archive.Manifest, error) {
	f, err := os.Open(file)
	if err != nil {
		return archive.Head{}, archive.Manifest{}, named("the backup", err)
	}
	defer f.Close()
	head, manifest, err := archive.Read(ctx, f, key, into)
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return head, manifest, err
}

// opening is what the commands share that read a backup.
func opening(cmd *cobra.Command, do func(ctx context.Context, out io.Writer, file string, key archive.Key) error) {
	var keys keyring
	keys.flags(cmd, false)
	cmd.Args = args(1, 1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		key, err := keys.key()
		if err != nil {
			return err
		}
		if keys.identity == "" && keys.passphrase == "" {
			return usageError{errors.New("say what opens it: --identity FILE, with the private key of age, or --passphrase-file FILE")}
		}
		err = do(cmd.Context(), cmd.OutOrStdout(), args[0], key)
		if err != nil && cmd.Context().Err() != nil {
			err = fail(exitStopped, "interrupted; nothing was changed")
		}
		return err
	}
}

func backupShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show FILE",
		Short:   "Say what is in a backup of Holdfast, and whether it is whole",
		Long:    `Show reads a backup to its end, which proves that it is whole and as it was written, and says what is in it. No secret is shown.`,
		Example: "  holdfast backup show holdfast.backup --identity key.txt",
	}
	opening(cmd, func(ctx context.Context, out io.Writer, file string, key archive.Key) error {
		head, manifest, err := readBackup(ctx, file, key, archive.Into{})
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(out, map[string]any{"backup": head, "manifest": manifest})
		}
		fmt.Fprintf(out, "Made      %s\nBy        %s\nOf        %s\nCatalog   %s, version %d of the schema, %s\nTenants   %s\n", head.Made.Local().Format(timeForm), head.Program,
			cmp.Or(head.Config, head.Data), head.Catalog, head.Schema, number(int(manifest.Rows()), "row"), cmp.Or(strings.Join(head.Tenants, ", "), "none"))
		tellMissing(out, head)
		c := cli{out: out}
		var rows [][]string
		for i, f := range head.Files {
			rows = append(rows, []string{f.Name, f.Setting, f.Path, sizeOf(manifest.Files[i].Size)})
		}
		fmt.Fprintln(out)
		if err := c.table([]string{"FILE", "NAMED BY", "WAS AT", "SIZE"}, rows); err != nil {
			return err
		}
		rows = nil
		for _, t := range manifest.Tables {
			rows = append(rows, []string{t.Name, strconv.FormatInt(t.Rows, 10)})
		}
		slices.SortFunc(rows, slices.Compare)
		fmt.Fprintln(out)
		if err := c.table([]string{"TABLE", "ROWS"}, rows); err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, "\nThe backup is whole.")
		return err
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (b *toolbox) backupRestoreCommand() *cobra.Command {
	var to, url string
	cmd := &cobra.Command{
		Use:   "restore FILE --to FOLDER [--database URL]",
		Short: "Lay a backup of Holdfast out in a new folder, and load its catalog",
		Long: `Restore makes a folder with the configuration, whose paths lead into it, the keys, and
the catalog: as a file of SQLite, or in the empty database that --database names,
whichever of the two it was in before. So a catalog also moves from the one to the other.
With --database alone only the catalog is loaded.

Before anything is made the backup is read to its end. Nothing that is there is changed:
the folder must be new or empty, and so must the database.

A catalog of before does not know what has happened since. So restores that were at work
are paused, and the grace of offboardings begins anew. Restore points that the vaults have
and the catalog does not know are taken up by 'holdfast catalog rebuild', or by the server.

A password for PostgreSQL is taken from where its own clients look for it, such as the
environment variable PGPASSWORD.`,
		Example: "  holdfast backup restore holdfast.backup --identity key.txt --to /etc/holdfast",
	}
	opening(cmd, func(ctx context.Context, out io.Writer, file string, key archive.Key) error {
		b.log = newLog(cmd.ErrOrStderr())
		return b.backupRestore(ctx, out, file, key, to, url)
	})
	cmd.Flags().StringVar(&to, "to", "", "the folder to make")
	cmd.Flags().StringVar(&url, "database", "", "the empty database to load the catalog into: sqlite:/path/catalog.db or postgres://user@host/name (default a file in the folder)")
	return cmd
}

func (b *toolbox) backupRestore(ctx context.Context, out io.Writer, file string, key archive.Key, to, url string) error {
	cfg := Config{Database: url}
	switch {
	case to == "" && url == "":
		return usageError{errors.New("say where to: --to FOLDER, or --database URL, or both")}
	case url != "":
		if err := cfg.completeDatabase(""); err != nil {
			return usageError{fmt.Errorf("--database %w", err)}
		}
		if path, file := strings.CutPrefix(url, "sqlite:"); file {
			abs, err := filepath.Abs(path)
			if err != nil {
				return err
			}
			url = "sqlite:" + abs
			if _, err := os.Lstat(abs); err == nil {
				return fail(exitFailed, "--database: %s is there already, and nothing is written over: name a file that is not there", abs)
			}
		}
	}
	if to != "" {
		if err := vacant(to); err != nil {
			return err
		}
	}
	head, manifest, err := readBackup(ctx, file, key, archive.Into{})
	if err != nil {
		return err
	}
	dir, err := "", error(nil)
	if to != "" {
		if to, err = filepath.Abs(to); err != nil {
			return err
		}
		if dir, err = os.MkdirTemp(filepath.Dir(to), "."+filepath.Base(to)+"-*"); err != nil { // mode 0700
			return named("--to", err)
		}
		defer os.RemoveAll(dir)
		if err := layOut(dir, head, url); err != nil {
			return fmt.Errorf("lay the files out: %w", err)
		}
	}
	into := url
	if into == "" {
		into = "sqlite:" + filepath.Join(dir, laidCatalog)
	}
	if err := load(ctx, file, key, head, into); err != nil {
		return err
	}
	rested, err := b.settle(ctx, into, head)
	if err != nil {
		return fmt.Errorf("the catalog is loaded, but is not ready to be served: %w; empty the database, and restore again", err)
	}
	if to != "" {
		if err := vacant(to); err != nil {
			return err
		}
		os.Remove(to) // an empty folder, which cannot be replaced everywhere
		if err := errors.Join(syncDir(dir), os.Rename(dir, to), syncDir(filepath.Dir(to))); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "The catalog of %s is back: %s.\n", head.Made.Local().Format(timeForm), number(int(manifest.Rows()), "row"))
	if rested.Restores > 0 {
		fmt.Fprintf(out, "%s that were at work then wait, paused: look at each, and have it resumed or cancelled ('holdfast restore list').\n", number(int(rested.Restores), "restore"))
	}
	if rested.Offboardings > 0 {
		fmt.Fprintf(out, "The backups of %s were to be destroyed then; their grace begins anew. Call off what is not meant any more.\n", number(int(rested.Offboardings), "unit"))
	}
	tellMissing(out, head)
	tellNext(out, head, to, url)
	return nil
}

// tellNext says what is to be done after a restore.
func tellNext(out io.Writer, head archive.Head, to, url string) {
	switch {
	case to == "":
		fmt.Fprintln(out, "Name the database in the configuration of serve.")
	case head.Config == "":
		fmt.Fprintf(out, "Next: have the folder of the vaults, which was %s, be %s, then start: holdfast dev --data %s\n", filepath.Join(head.Data, "vault"), filepath.Join(to, "vault"), to)
	default:
		config := filepath.Join(to, laidConfig)
		fmt.Fprintf(out, `Make sure that no server works on these vaults any more, and that they are where %[1]s says. Then:
  holdfast serve --config %[1]s --check
  holdfast catalog rebuild --config %[1]s
  holdfast serve --config %[1]s
Rebuild takes up the restore points that were made since. Look through retention, legal holds and policies: what was changed after the backup is not in it.
`, config)
		if url != "" {
			fmt.Fprintln(out, "The configuration names the database that the catalog is in now; its password is not changed in it.")
		}
	}
}

// vacant makes sure that a folder can be made in a place: that nothing is there, or an
// empty folder.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return fail(exitFailed, "--to: %s is there already, and is no folder: name one that is not there", path)
	}
	entries, err := os.ReadDir(path)
	if err == nil && len(entries) > 0 {
		return fail(exitFailed, "--to: %s is there already, and is not empty: name a folder that is not there", path)
	}
	return err
}

// load puts the rows of a backup into an empty database. One that fails leaves it empty.
func load(ctx context.Context, file string, key archive.Key, head archive.Head, url string) error {
	db, err := database.OpenEmpty(ctx, url, head.Schema)
	if errors.Is(err, database.ErrNewer) {
		return fmt.Errorf("%w: %v. Use the version that made it, %s, or a later one", archive.ErrNewer, err, head.Program)
	}
	if err != nil {
		return err
	}
	err = db.Fill(ctx, func(put func(database.Table, database.Row) error) error {
		_, _, err := readBackup(ctx, file, key, archive.Into{Row: put})
		return err
	})
	return errors.Join(err, db.Close())
}

// settle brings a catalog that was loaded to the present schema, and has what was under
// way rest.
func (b *toolbox) settle(ctx context.Context, url string, head archive.Head) (r catalog.Rested, err error) {
	db, err := database.Open(ctx, url)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	c := catalog.New(db, jobs.New(db, time.Now), catalog.Config{Clock: time.Now})
	if r, err = c.Rest(ctx); err != nil {
		return r, err
	}
	tenants, err := c.Tenants(ctx)
	if err != nil {
		return r, err
	}
	for _, t := range tenants {
		if err := c.Record(ctx, b.activity(t, backup.CatalogRestoredActivity, "backup restore, of the backup of "+head.Made.Format(time.RFC3339))); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (b *toolbox) backupDrillCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "drill FILE",
		Short: "Rehearse a restore of a backup of Holdfast, and prove that it would do",
		Long: `Drill restores a backup into a folder that it throws away again, and proves it: that the
catalog loads, is what it was, and comes to the present schema; that the configuration
can be used; and, for each tenant, that its vaults open with the password in the backup,
are those that the catalog knows, and give a file of one of the newest restore points.

Nothing of the installation is changed, and no server needs to run: vaults are opened to
be read only. Each check is a line that says ok or failed; the exit code is 0 if all are
ok. The folder is made where TMPDIR says, and takes as much room as the catalog.`,
		Example: "  holdfast backup drill holdfast.backup --identity key.txt",
	}
	opening(cmd, func(ctx context.Context, out io.Writer, file string, key archive.Key) error {
		b.log = newLog(cmd.ErrOrStderr())
		return b.backupDrill(ctx, out, file, key, asJSON)
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// A check is what a drill has looked at.
type check struct {
	Check  string `json:"check"`
	Tenant string `json:"tenant,omitempty"`
	OK     bool   `json:"ok"`
	Says   string `json:"says"`
}

// A rehearsal is what a drill has seen, and the folder that it is in.
type rehearsal struct {
	dir    string
	checks []check
}

func (d *rehearsal) say(what, tenant string, err error, format string, args ...any) {
	c := check{what, tenant, err == nil, fmt.Sprintf(format, args...)}
	if err != nil {
		c.Says = err.Error()
	}
	d.checks = append(d.checks, c)
}

func (b *toolbox) backupDrill(ctx context.Context, out io.Writer, file string, key archive.Key, asJSON bool) (err error) {
	dir, err := os.MkdirTemp("", "holdfast-drill-*") // mode 0700
	if err != nil {
		return err
	}
	d := rehearsal{dir: dir}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b.rehearse(ctx, &d, file, key)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	failed := 0
	var rows [][]string
	for _, c := range d.checks {
		result := "ok"
		if !c.OK {
			result = "failed"
			failed++
		}
		rows = append(rows, []string{c.Check, c.Tenant, result, c.Says})
	}
	if asJSON {
		err = printJSON(out, map[string]any{"ok": failed == 0, "checks": d.checks})
	} else {
		err = (&cli{out: out}).table([]string{"CHECK", "TENANT", "RESULT", ""}, rows)
	}
	if err != nil {
		return err
	}
	return partly(failed, len(rows), "check", "passed")
}

// rehearse does all checks that can be done.
func (b *toolbox) rehearse(ctx context.Context, d *rehearsal, file string, key archive.Key) {
	head, manifest, err := readBackup(ctx, file, key, archive.Into{})
	d.say("archive", "", err, "whole, of %s: %s, %s", head.Made.Local().Format(timeForm), number(int(manifest.Rows()), "row"), number(len(head.Files), "file"))
	if err != nil {
		return
	}
	url := "sqlite:" + filepath.Join(d.dir, laidCatalog)
	err = load(ctx, file, key, head, url)
	if err == nil {
		err = compareLoaded(ctx, url, head, manifest)
	}
	if err == nil {
		_, err = b.settle(ctx, url, head)
	}
	d.say("catalog", "", err, "%s load, are as they were, and come to the present schema", number(int(manifest.Rows()), "row"))
	if err != nil {
		return
	}
	err = layOut(d.dir, head, "")
	if err == nil && head.Config != "" {
		b.cfg, err = ReadConfig(filepath.Join(d.dir, laidConfig)) // with an error, too, most of it is there
	} else {
		b.cfg = Config{State: filepath.Join(d.dir, laidState), Vault: VaultConfig{Place: Place{Dir: filepath.Join(head.Data, "vault")}, PasswordFile: filepath.Join(d.dir, laidKeys, "vault-password")}}
	}
	d.say("configuration", "", err, "%s", cmp.Or(strings.Join(head.Missing, "; "), "all that it names is in the backup"))
	db, err := database.OpenBeside(ctx, url)
	if err != nil {
		d.say("catalog", "", err, "")
		return
	}
	defer db.Close()
	b.catalog = catalog.New(db, jobs.New(db, time.Now), catalog.Config{Clock: time.Now})
	tenants, err := b.catalog.Tenants(ctx)
	if err != nil {
		d.say("catalog", "", err, "")
		return
	}
	for _, t := range tenants {
		b.rehearseTenant(ctx, d, t)
	}
}

// compareLoaded makes sure that a catalog is what its backup says.
func compareLoaded(ctx context.Context, url string, head archive.Head, manifest archive.Manifest) (err error) {
	db, err := database.OpenAt(ctx, url, head.Schema)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.Snapshot(ctx, func(s *database.Snapshot) error {
		for _, t := range manifest.Tables {
			n, sum, err := s.Sum(ctx, t.Table)
			if err != nil {
				return err
			}
			if n != t.Rows || sum.String() != t.Sum {
				return fmt.Errorf("the table %s has %d rows once it is loaded, and is not what it was with %d", t.Name, n, t.Rows)
			}
		}
		if s.Version != head.Schema {
			return fmt.Errorf("the schema has version %d once it is loaded, and had %d", s.Version, head.Schema)
		}
		return nil
	})
}

// drillPoints is how many of the newest points are looked at for a file.
const drillPoints = 50

// rehearseTenant opens the vaults of a tenant, and reads a file.
func (b *toolbox) rehearseTenant(ctx context.Context, d *rehearsal, t backup.TenantID) {
	names, err := b.catalog.Vaults(ctx, t)
	if err != nil {
		d.say("vault", string(t), err, "")
		return
	}
	open := map[backup.VaultName]*vault.Vault{}
	defer func() {
		for _, v := range open {
			v.Close(context.WithoutCancel(ctx)) // nothing was written
		}
	}()
	for _, name := range names {
		id, err := b.catalog.VaultID(ctx, name)
		if err == nil && id == "" && name.Number == 1 {
			d.say("vault", string(t), nil, "none: nothing was backed up yet")
			continue
		}
		var cfg vault.Config
		if err == nil {
			cfg, err = b.cfg.vaultOf(name, b.log)
		}
		if err == nil {
			cfg.ID, cfg.ReadOnly, cfg.State = id, true, filepath.Join(d.dir, "drill", name.String())
			open[name], err = vault.Open(ctx, cfg)
			err = advised(err)
		}
		if err != nil {
			delete(open, name)
		}
		d.say("vault", name.String(), err, "opens with the password in the backup, and is the one that the catalog knows (%s)", id)
	}
	points, err := b.catalog.NewestPoints(ctx, t, drillPoints)
	if err != nil {
		d.say("file", string(t), err, "")
		return
	}
	if len(points) == 0 {
		d.say("file", string(t), nil, "the catalog knows no restore point yet")
		return
	}
	for _, p := range points {
		v := open[p.Vault]
		if v == nil {
			err = fmt.Errorf("the vault %s does not open", p.Vault)
			continue
		}
		var path string
		var n int64
		if path, n, err = readOne(ctx, v, p.Tree); err == nil && path == "" {
			continue
		}
		d.say("file", string(t), err, "%s of the restore point of %s is read through, %s", path, p.At.Local().Format(timeForm), sizeOf(n))
		return
	}
	d.say("file", string(t), err, "the newest restore points hold no file that has a content")
}

// readOne reads the first file in a point through that has a content, and returns its path
// and size; no path where there is none.
func readOne(ctx context.Context, v *vault.Vault, tree string) (path string, n int64, err error) {
	trees := []string{tree}
	parts, err := v.Parts(ctx, tree)
	if err != nil {
		return "", 0, err
	}
	if len(parts) > 0 {
		trees = nil
	}
	for _, p := range parts {
		trees = append(trees, p.Tree)
	}
	for _, tree := range trees {
		for node, err := range v.Walk(ctx, tree) {
			if err != nil {
				return "", 0, err
			}
			if node.Kind != backup.File || node.Size == 0 || node.Content == "" {
				continue
			}
			r, err := v.Open(ctx, node.Content)
			if err != nil {
				return "", 0, fmt.Errorf("%s: %w", node.Path, err)
			}
			n, err := io.Copy(io.Discard, r)
			if err = errors.Join(err, r.Close()); err == nil && n != node.Size {
				err = fmt.Errorf("it has %d bytes, and should have %d", n, node.Size)
			}
			if err != nil {
				return "", 0, fmt.Errorf("%s: %w", node.Path, err)
			}
			return node.Path, n, nil
		}
	}
	return "", 0, nil
}
