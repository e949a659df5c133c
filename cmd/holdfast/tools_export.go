package main

import (
	"cmp"
	"context"
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

	"holdfast/internal/backup"
	"holdfast/internal/engine"
	"holdfast/internal/export"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// An exporting is what 'export' is told.
type exporting struct {
	of, at, path, to string
	mailbox          bool         // of the owner's mailbox, and not of the drive
	as, find         string       // of a mailbox
	items            *spill.Table // that find has found, or nil
}

// newExport is the command that writes backups out as plain files.
func newExport() *cobra.Command {
	b := &toolbox{}
	var x exporting
	cmd := &cobra.Command{
		Use:   "export DRIVE --to FOLDER|FILE.zip|FILE.mbox",
		Short: "Write a backup out as plain files, without Microsoft 365 and without a server",
		Long: `Export reads a drive's, a site's or a mailbox's backup from the vault itself and writes
it into a folder, or into a zip file that is made. It needs the vault and its password,
and neither a server, a token, Microsoft 365 nor a catalog: it is how the files of a user
who has left are handed over, and how a backup is read when all else is lost.

DRIVE is the address or id of an owner or a site, or the id of a unit or a drive;
'holdfast vault list' shows what there is. Of an owner who has a drive and a mailbox it is
the drive, and --mailbox exports the other. Each file is read whole and verified before
it has its name. Nothing that is there is written over: what has the name of something
else takes another, which is said. Run it again to go on with a folder where it stopped:
what is there already is compared and not written twice.

Of a mailbox, --as mbox writes its messages as mail programs read them, a file for each
folder, or one for all if --to is a FILE.mbox; --as eml writes a file for each message.
--find exports only the messages that a query finds, as 'holdfast search mail' has it; it
needs the catalog, where the index is. What is no message, or is held for Exchange alone,
is named.

'holdfast help exit-codes' says what scripts may build on.`,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			x.of = args[0]
			return b.bare(cmd, func(ctx context.Context, out io.Writer) error { return b.export(ctx, out, cmd.ErrOrStderr(), x) })
		},
	}
	b.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&x.to, "to", "", "the folder to write into, or the zip or mbox file to make")
	f.BoolVar(&x.mailbox, "mailbox", false, "of the owner's mailbox, and not of the drive")
	f.StringVar(&x.as, "as", "", "write a mailbox's messages in this `FORM`: mbox or eml (default: all that the vault has, as it has it)")
	f.StringVar(&x.find, "find", "", "only the messages that this `QUERY` finds, as 'holdfast search mail' has it")
	f.StringVar(&x.at, "at", "", "as it was at this `TIME`: the newest restore point up to then (default the newest)")
	f.StringVar(&x.path, "path", "", "only this file or folder; of a site it begins with libraries/NAME or lists/NAME")
	return cmd
}

func (b *toolbox) listCommand() *cobra.Command {
	var x exporting
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [DRIVE]",
		Short: "List whose backups the vaults hold, one's restore points, or what is in one, without a catalog",
		Args:  args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			inside := cmd.Flags().Changed("path") || cmd.Flags().Changed("at")
			if (inside || x.mailbox) && len(args) == 0 {
				return usageError{errors.New("--path, --at and --mailbox are of one backup: name its DRIVE")}
			}
			if len(args) > 0 {
				x.of = args[0]
			}
			return b.bare(cmd, func(ctx context.Context, out io.Writer) error {
				switch {
				case len(args) == 0:
					return b.listStored(ctx, out, asJSON)
				case inside:
					return b.listInside(ctx, out, cmd.ErrOrStderr(), x, asJSON)
				}
				return b.listPoints(ctx, out, cmd.ErrOrStderr(), x, asJSON)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&x.path, "path", "", "what is in this folder of a restore point, as 'holdfast export' has it; \"\" is all of it")
	f.StringVar(&x.at, "at", "", "of the newest restore point up to this `TIME` (default the newest)")
	f.BoolVar(&x.mailbox, "mailbox", false, "of the owner's mailbox, and not of the drive")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// An itemHeld is what is in a folder of a restore point.
type itemHeld struct {
	Name     string    `json:"name"`
	Folder   bool      `json:"isFolder,omitempty"`
	Size     int64     `json:"sizeInBytes"`
	Modified time.Time `json:"lastModifiedDateTime,omitzero"`
}

// listInside lists what is in a folder of a restore point.
func (b *toolbox) listInside(ctx context.Context, out, errs io.Writer, x exporting, asJSON bool) error {
	s, p, err := b.pointOf(ctx, errs, x)
	if err != nil {
		return err
	}
	all, err := export.List(ctx, s.vault, p.Tree, x.path)
	if err != nil {
		return noPath(err)
	}
	var items []itemHeld
	for _, e := range all {
		items = append(items, itemHeld{e.Name, e.Kind == backup.Folder, e.Size, e.Modified})
	}
	if asJSON {
		return printValues(out, items)
	}
	var rows [][]string
	for _, e := range items {
		long, modified, name := "", "", e.Name+"/"
		if !e.Folder {
			long, name = size(strconv.FormatInt(e.Size, 10)), e.Name
		}
		if !e.Modified.IsZero() {
			modified = e.Modified.Local().Format(timeForm)
		}
		rows = append(rows, []string{name, long, modified})
	}
	c := cli{out: out}
	return c.table([]string{"NAME", "SIZE", "MODIFIED"}, rows)
}

// pointOf is the backup that is meant, and its restore point.
func (b *toolbox) pointOf(ctx context.Context, errs io.Writer, x exporting) (s stored, p vault.Point, err error) {
	until := time.Time{}
	if x.at != "" && !strings.EqualFold(x.at, "latest") {
		if until, err = parseTime(x.at, true); err != nil {
			return s, p, err
		}
	}
	if s, err = b.meant(ctx, errs, x); err == nil {
		p, err = s.pointAt(ctx, until)
	}
	return s, p, err
}

// bare is run for a command that works on vaults alone.
func (b *toolbox) bare(cmd *cobra.Command, do func(ctx context.Context, out io.Writer) error) (err error) {
	ctx := cmd.Context()
	if err := b.settings(); err != nil {
		return err
	}
	b.log = newLog(cmd.ErrOrStderr())
	if err := b.choose(ctx, false); err != nil {
		return err
	}
	b.open = map[backup.VaultName]*vault.Vault{}
	err = do(ctx, cmd.OutOrStdout())
	if err != nil && ctx.Err() != nil {
		err = fail(exitStopped, "interrupted; run it again to go on")
	}
	return errors.Join(err, b.shut(ctx))
}

// shut closes the vaults that were opened.
func (b *toolbox) shut(ctx context.Context) (err error) {
	for _, v := range b.open {
		err = errors.Join(err, v.Close(context.WithoutCancel(ctx)))
	}
	return err
}

// alone opens a vault, whatever a catalog knows of it.
func (b *toolbox) alone(ctx context.Context, name backup.VaultName) (*vault.Vault, error) {
	if v := b.open[name]; v != nil {
		return v, nil
	}
	cfg, err := b.vaultConfig(name)
	if err != nil {
		return nil, err
	}
	v, err := vault.Open(ctx, cfg)
	if err != nil {
		return nil, advised(err)
	}
	b.open[name] = v
	return v, nil
}

// namesAlone returns a tenant's vaults, whatever a catalog knows of them: those that the
// record in the first one tells of, and those that follow. Also with an error it returns
// those that it knows of.
func (b *toolbox) namesAlone(ctx context.Context, t backup.TenantID) ([]backup.VaultName, error) {
	last := 1
	v, err := b.alone(ctx, backup.FirstVault(t))
	if err == nil {
		last, err = engine.LastVault(ctx, v, t)
	}
	names, wrong := vaultsThere(ctx, t, last, b.vaultConfig)
	return names, errors.Join(err, wrong)
}

// A stored is a drive in a vault, and its newest point.
type stored struct {
	tenant backup.TenantID
	vault  *vault.Vault
	vault.Stored
	latest vault.Point
	err    error // why the newest point cannot be read
}

// owner is whose the drive is, for people.
func (s stored) owner() string {
	o := s.latest.Info.Owner
	return cmp.Or(o.Address, o.Mail, o.DisplayName, string(o.ID), string(s.Key.Drive))
}

// is reports whether a person may mean the drive by a name.
func (s stored) is(name string) bool {
	info := s.latest.Info
	for _, own := range []string{string(s.Key.Drive), string(info.Unit), string(info.Owner.ID), info.Owner.SourceID, info.Owner.Address, info.Owner.Mail} {
		if own != "" && strings.EqualFold(strings.TrimRight(own, "/"), strings.TrimRight(name, "/")) {
			return true
		}
	}
	return false
}

// each goes through the drives in the vaults that are meant.
func (b *toolbox) each(ctx context.Context, do func(stored) error) error {
	for _, t := range b.tenants {
		names, err := b.namesAlone(ctx, t)
		if err != nil {
			return fmt.Errorf("tenant %s: %w", t, err)
		}
		for _, name := range names {
			v, err := b.alone(ctx, name)
			if err != nil {
				return fmt.Errorf("tenant %s: %w", name, err)
			}
			for s, err := range v.Drives(ctx) {
				if err != nil {
					return err
				}
				d := stored{tenant: t, vault: v, Stored: s}
				if d.latest, d.err = v.Latest(ctx, s); ctx.Err() != nil {
					return ctx.Err()
				}
				if err := do(d); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// meant finds the one backup that a person means: of an owner's the drive, unless it is
// of mail that something is said.
func (b *toolbox) meant(ctx context.Context, errs io.Writer, x exporting) (stored, error) {
	mail := x.mailbox || x.as != ""
	var found, boxes []stored
	err := b.each(ctx, func(s stored) error {
		switch {
		case !s.is(x.of):
		case s.err == nil && s.latest.Info.Workload == backup.Exchange:
			boxes = append(boxes, s)
		case !mail || s.err != nil:
			found = append(found, s)
		}
		return nil
	})
	if mail || len(found) == 0 {
		found = append(found, boxes...)
	} else if len(boxes) > 0 {
		fmt.Fprintf(errs, "%s has a mailbox, too, which --mailbox is for; this is the drive.\n", x.of)
	}
	switch {
	case err != nil:
		return stored{}, err
	case len(found) == 0 && mail:
		return stored{}, fail(exitNotFound, "the vaults hold no mailbox of %q, for which --mailbox, --as, --find and FILE.mbox are; 'holdfast vault list' shows what they hold", x.of)
	case len(found) == 0:
		return stored{}, fail(exitNotFound, "the vaults hold no backup of %q; 'holdfast vault list' shows what they hold", x.of)
	case len(found) > 1:
		var ids []string
		for _, s := range found {
			ids = append(ids, fmt.Sprintf("%s (%s)", s.Key.Drive, cmp.Or(s.latest.Info.Workload, backup.OneDrive)))
		}
		return stored{}, usageError{fmt.Errorf("%q may be any of several; name one by its id: %s", x.of, strings.Join(ids, ", "))}
	}
	return found[0], nil
}

// A backupHeld is a backup in a vault.
type backupHeld struct {
	TenantID backup.TenantID `json:"tenantId"`
	Owner    string          `json:"owner"`
	Workload backup.Workload `json:"workload,omitempty"`
	ID       backup.DriveID  `json:"id"`
	Newest   time.Time       `json:"newestPointDateTime,omitzero"`
	Files    int64           `json:"fileCount"`
	Size     int64           `json:"sizeInBytes"`
	Problem  string          `json:"error,omitempty"` // why it cannot be read
}

func (b *toolbox) listStored(ctx context.Context, out io.Writer, asJSON bool) error {
	var held []backupHeld
	bad, tenants := 0, map[backup.TenantID]bool{}
	err := b.each(ctx, func(s stored) error {
		tenants[s.Key.Tenant] = true
		one := backupHeld{TenantID: s.Key.Tenant, Owner: s.owner(), ID: s.Key.Drive}
		if p := s.latest; s.err != nil {
			bad++
			one.Problem = s.err.Error()
		} else {
			one.Workload, one.Newest, one.Files, one.Size = cmp.Or(p.Info.Workload, backup.OneDrive), p.At.UTC(), p.Files, p.Bytes
		}
		held = append(held, one)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(held, func(x, y backupHeld) int {
		return cmp.Or(cmp.Compare(x.TenantID, y.TenantID), cmp.Compare(x.Owner, y.Owner), cmp.Compare(x.Workload, y.Workload), cmp.Compare(x.ID, y.ID))
	})
	if asJSON {
		err = printValues(out, held)
	} else {
		var rows [][]string
		for _, h := range held {
			row := []string{string(h.TenantID), h.Owner, string(h.Workload), string(h.ID), "", "", oneLine(h.Problem)}
			if h.Problem == "" {
				row = append(row[:4], h.Newest.Local().Format(timeForm), strconv.FormatInt(h.Files, 10), size(strconv.FormatInt(h.Size, 10)))
			}
			rows = append(rows, row)
		}
		c := cli{out: out}
		err = c.table(ofSeveral(len(tenants), []string{"TENANT", "OWNER", "WORKLOAD", "ID", "NEWEST POINT", "FILES", "SIZE"}, rows))
	}
	if err != nil {
		return err
	}
	return partly(bad, len(held), "backup", "read")
}

// ofSeveral is a table whose first column is the tenant: without it, where there are not
// several.
func ofSeveral(tenants int, head []string, rows [][]string) ([]string, [][]string) {
	if tenants > 1 {
		return head, rows
	}
	for i := range rows {
		rows[i] = rows[i][1:]
	}
	return head[1:], rows
}

// A pointHeld is a restore point in a vault.
type pointHeld struct {
	At      time.Time `json:"protectionDateTime,omitzero"`
	Files   int64     `json:"fileCount"`
	Folders int64     `json:"folderCount"`
	Size    int64     `json:"sizeInBytes"`
	Lacks   int       `json:"lacks"`           // items that could not be backed up
	Problem string    `json:"error,omitempty"` // why it cannot be read
}

func (b *toolbox) listPoints(ctx context.Context, out, errs io.Writer, x exporting, asJSON bool) error {
	s, err := b.meant(ctx, errs, x)
	if err != nil {
		return err
	}
	points, err := s.vault.Points(ctx, s.Key)
	if err != nil {
		return err
	}
	var held []pointHeld
	bad := 0
	for _, p := range slices.Backward(points) {
		switch {
		case p.Info.Incomplete:
		case p.Err != nil:
			bad++
			held = append(held, pointHeld{Problem: p.Err.Error()})
		default:
			held = append(held, pointHeld{At: p.At.UTC(), Files: p.Files, Folders: p.Folders, Size: p.Bytes, Lacks: p.Unread})
		}
	}
	if asJSON {
		err = printValues(out, held)
	} else {
		var rows [][]string
		for _, p := range held {
			row := []string{"", "", "", "", oneLine(p.Problem)}
			if p.Problem == "" {
				row = []string{p.At.Local().Format(timeForm), strconv.FormatInt(p.Files, 10), strconv.FormatInt(p.Folders, 10), size(strconv.FormatInt(p.Size, 10)), ""}
			}
			if p.Lacks > 0 {
				row[4] = number(p.Lacks, "item") + " could not be backed up"
			}
			rows = append(rows, row)
		}
		c := cli{out: out}
		err = c.table([]string{"TIME", "FILES", "FOLDERS", "SIZE", "NOTE"}, rows)
	}
	if err != nil {
		return err
	}
	return partly(bad, len(held), "restore point", "read")
}

func (b *toolbox) export(ctx context.Context, out, errs io.Writer, x exporting) error {
	if x.to == "" {
		return usageError{errors.New("say where to: --to FOLDER, or --to FILE.zip")}
	}
	if err := x.mail(); err != nil {
		return err
	}
	s, p, err := b.pointOf(ctx, errs, x)
	if err != nil {
		return err
	}
	if x.find != "" {
		if x.items, err = b.findMail(ctx, errs, s, p, x.find); err != nil {
			return err
		}
		defer x.items.Close()
	}
	b.audit(ctx, errs, s, p, x)
	fmt.Fprintf(errs, "Exporting %s as it was at %s\n", s.owner(), p.At.Local().Format(timeForm))
	parts, err := s.vault.Parts(ctx, p.Tree)
	if err != nil {
		return err
	}
	total := int(p.Files)
	for _, part := range parts {
		if part.Kind.Beside() { // which the point does not count
			total += int(part.Files)
		}
	}
	if x.path != "" {
		files, err := export.Files(ctx, s.vault, p.Tree, x.path)
		switch {
		case err == nil:
			total = int(files)
		case !errors.Is(err, vault.ErrDamaged): // of which the export says what can be had
			return noPath(err)
		}
	}
	if x.as != "" {
		total /= 2 // a message is two files
	}
	if x.items != nil {
		total = x.items.Len()
	}
	bar := newProgress(errs, "files", total)
	step := max(1, total/50)
	r, err := x.write(ctx, s.vault, p.Tree, func(done int) {
		if done%step == 0 || done == total {
			bar.set(done)
		}
	})
	bar.close()
	if r.Files+r.Folders+r.Failed > 0 || err == nil {
		tellExport(out, x, r)
	}
	switch {
	case err != nil:
		return noPath(err)
	case r.Failed > 0:
		return fail(exitPartial, "%s could not be exported; 'holdfast vault verify --full' says what is damaged, and an earlier or later point may have it", number(r.Failed, "item"))
	case r.Messages == 0 && x.find != "":
		return fail(exitNotFound, "the restore point holds no such message")
	}
	return nil
}

// noPath says what is wrong with --path, if it is that, and what to do otherwise.
func noPath(err error) error {
	if errors.Is(err, export.ErrNoPath) {
		return fail(exitNotFound, "--path: %v", err)
	}
	return advised(err)
}

// pointAt is the newest point up to a time, or of all.
func (s stored) pointAt(ctx context.Context, until time.Time) (vault.Point, error) {
	if until.IsZero() && s.err == nil {
		return s.latest, nil
	}
	points, err := s.vault.Points(ctx, s.Key)
	if err != nil {
		return vault.Point{}, err
	}
	for _, p := range slices.Backward(points) {
		if p.Err == nil && !p.Info.Incomplete && (until.IsZero() || !p.At.After(until)) {
			return p, nil
		}
	}
	return vault.Point{}, fail(exitNotFound, "there is no restore point of %s that early and can be read; 'holdfast vault list %s' lists those there are", s.owner(), s.Key.Drive)
}

// mail completes what is said of mail.
func (x *exporting) mail() error {
	one := strings.EqualFold(filepath.Ext(x.to), ".mbox")
	switch {
	case x.as == "" && one:
		x.as = string(export.Mbox)
	case x.as == "" && x.find != "":
		x.as = string(export.EML)
	case x.as != "":
		as, err := oneOf(x.as, string(export.Mbox), string(export.EML))
		if err != nil {
			return usageError{fmt.Errorf("--as: %w", err)}
		}
		x.as = as
	}
	if one && x.as != string(export.Mbox) {
		return usageError{errors.New("an .mbox file holds an mbox: leave --as away, or name a folder")}
	}
	return nil
}

// findMail finds messages by the index of the catalog.
func (b *toolbox) findMail(ctx context.Context, errs io.Writer, s stored, p vault.Point, query string) (found *spill.Table, err error) {
	expression, err := mailQuery(query)
	if err != nil {
		return nil, err
	}
	beside := *b // with vaults of its own, of which it opens none
	stop, err := beside.start(ctx, false, errs)
	if err != nil {
		return nil, fmt.Errorf("--find needs the catalog, where the index of mail is: %w", err)
	}
	found = spill.New("")
	// The vault has points by milliseconds, and the catalog knows when in one it was.
	at := p.At.Add(time.Millisecond - time.Microsecond)
	point := backup.Point{Tenant: s.tenant, Unit: p.Info.Unit, Drive: s.Key.Drive, At: at, Tree: p.Tree}
	for id, failed := range beside.catalog.FoundMail(ctx, backup.Artifact{Tenant: s.tenant, Point: point, Query: expression}) {
		if failed != nil {
			err = failed
			break
		}
		found.Put(string(id), "")
	}
	if err = errors.Join(err, found.Err(), stop()); err != nil {
		found.Close()
		return nil, err
	}
	return found, nil
}

// point exports what is meant into a target.
func (x exporting) point(ctx context.Context, v *vault.Vault, tree string, to export.Target, progress func(int)) (export.Report, error) {
	if x.as == "" {
		return export.Point(ctx, v, tree, x.path, to, progress)
	}
	m := export.Messages{At: x.path, Form: export.MailForm(x.as), Temp: filepath.Dir(filepath.Clean(x.to))}
	if strings.EqualFold(filepath.Ext(x.to), ".mbox") {
		m.One = filepath.Base(x.to)
	}
	if x.items != nil {
		m.Only = func(id backup.ItemID) (bool, error) {
			_, ok := x.items.Find(string(id))
			return ok, x.items.Err()
		}
	}
	return export.Mail(ctx, v, tree, m, to, progress)
}

func (x exporting) write(ctx context.Context, v *vault.Vault, tree string, progress func(int)) (export.Report, error) {
	if !strings.EqualFold(filepath.Ext(x.to), ".zip") {
		dir := x.to
		if strings.EqualFold(filepath.Ext(x.to), ".mbox") {
			if _, err := os.Lstat(x.to); err == nil {
				return export.Report{}, usageError{fmt.Errorf("--to: %s is there already, and is not written over", x.to)}
			}
			dir = filepath.Dir(x.to)
		}
		to, err := export.OpenFolder(dir)
		if err != nil {
			return export.Report{}, err
		}
		defer to.Close()
		return x.point(ctx, v, tree, to, progress)
	}
	to, err := export.CreateZip(x.to)
	if errors.Is(err, fs.ErrExist) {
		return export.Report{}, usageError{fmt.Errorf("--to: %s is there already, and is not written over", x.to)}
	}
	if err != nil {
		return export.Report{}, err
	}
	r, err := x.point(ctx, v, tree, to, progress)
	if err == nil {
		err = to.Finish()
	}
	return r, errors.Join(err, to.Close())
}

// tellExport says what was exported.
func tellExport(out io.Writer, x exporting, r export.Report) {
	for _, m := range r.Remarks {
		switch {
		case m.Err != nil:
			fmt.Fprintf(out, "%s  not exported: %s\n", oneLine(m.Path), oneLine(m.Err.Error()))
		case m.Note != "":
			fmt.Fprintf(out, "%s  %s\n", oneLine(m.Path), oneLine(m.Note))
		default:
			fmt.Fprintf(out, "%s  is there as %s\n", oneLine(m.Path), oneLine(m.As))
		}
	}
	if r.More > 0 {
		fmt.Fprintf(out, "and %s\n", number(r.More, "more remark"))
	}
	if x.as != "" {
		fmt.Fprintf(out, "%s, in ", number(r.Messages, "message"))
	}
	fmt.Fprintf(out, "%s and %s, %s, are in %s", number(r.Files, "file"), number(r.Folders, "folder"), size(strconv.FormatInt(r.Bytes, 10)), x.to)
	if r.There > 0 {
		fmt.Fprintf(out, "; %d of them were there before", r.There)
	}
	fmt.Fprintln(out, ".")
	if r.Unread > 0 {
		fmt.Fprintf(out, "The restore point itself does not hold %s as they were; 'holdfast point show' names them.\n", number(r.Unread, "item"))
	}
}

// audit notes in the catalog, where there is one, who has exported what to where.
func (b *toolbox) audit(ctx context.Context, errs io.Writer, s stored, p vault.Point, x exporting) {
	beside := *b // with vaults of its own, of which it opens none
	stop, err := beside.start(ctx, false, errs)
	if err == nil {
		a := b.activity(s.tenant, backup.ExportedActivity, "export")
		a.Target = fmt.Sprintf("%s at %s, %q to %s", s.owner(), wire(p.At), x.path, x.to)
		err = errors.Join(beside.catalog.Record(ctx, a), stop())
	}
	if err != nil {
		fmt.Fprintf(errs, "This export is in no audit log: %v\n", err)
	}
}
