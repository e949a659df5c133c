package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// A copying is what 'vault copy' is told.
type copying struct {
	dir, file, at string
	anew, full    bool
	keep          time.Duration
}

func (b *toolbox) copyCommand() *cobra.Command {
	var c copying
	cmd := &cobra.Command{
		Use:   "copy",
		Short: "Copy the vaults to another place",
		Long: `Copy makes and keeps a copy of each tenant's vault in another place: a folder, or what
a file names as the configuration names the vault's own place. It copies what the copy
lacks, reads back what it wrote, opens the copy in the end and compares it with its
index. It may run beside a server, be stopped and started at any time, and needs no
catalog.

The copy is the vault: it is used by naming its place in the configuration. What the
vault has no more, the copy keeps for --keep. With --at the vault of a bucket that keeps
versions is copied as it was then, whatever has been deleted or written over since.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := b.copyAll(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), c)
			if err != nil && cmd.Context().Err() != nil {
				return fail(exitStopped, "interrupted; the next copy goes on from here")
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.dir, "to", "", "the folder that holds the copies, one below it for each tenant")
	f.StringVar(&c.file, "to-place", "", `or a JSON file that names their place, such as {"s3": {"bucket": "copies"}}`)
	f.BoolVar(&c.anew, "new", false, "begin a copy where there is none yet")
	f.BoolVar(&c.full, "full", false, "compare also what was copied before, byte by byte")
	f.DurationVar(&c.keep, "keep", vault.CopyKeep, "how long to keep what the vault has no more")
	f.StringVar(&c.at, "at", "", "copy the bucket as it was then, such as 2026-11-27T08:00:00Z")
	return cmd
}

// copyAll copies the vaults of all tenants that are meant.
func (b *toolbox) copyAll(ctx context.Context, out, errs io.Writer, c copying) (err error) {
	var place Place
	var at time.Time
	switch {
	case (c.dir == "") == (c.file == ""):
		return usageError{errors.New("say where to copy to: --to FOLDER, or --to-place FILE")}
	case c.keep < 0:
		return usageError{errors.New("--keep is not less than nothing")}
	case c.file != "":
		if place, err = readPlace(c.file); err != nil {
			return err
		}
	default:
		if place.Dir, err = filepath.Abs(c.dir); err != nil {
			return err
		}
	}
	if c.at != "" {
		if at, err = parseTime(c.at, false); err != nil {
			return fmt.Errorf("--at: %w", err)
		}
	}
	if err := b.settings(); err != nil {
		return err
	}
	b.log = newLog(errs)
	if err := b.choose(ctx, false); err != nil {
		return err
	}
	b.open = map[backup.VaultName]*vault.Vault{}
	defer func() { err = errors.Join(err, b.shut(ctx)) }()
	from := func(name backup.VaultName) (vault.Config, error) { return b.vaultAt(name, at) }
	all, failed, lost := 0, 0, 0
	for _, t := range b.tenants {
		var names []backup.VaultName
		if at.IsZero() {
			names, err = b.namesAlone(ctx, t)
		} else { // what is there now may be what one flees from
			names, err = vaultsThere(ctx, t, 1, from)
		}
		if err != nil {
			fmt.Fprintf(out, "%s  it cannot be told whether the tenant has further vaults: %v\n", t, err)
			all++
			failed++
		}
		for _, name := range names {
			done, err := b.copyOne(ctx, name, place, from, c)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			all++
			tellCopy(out, name, done, c.keep, err)
			if err != nil {
				failed++
			}
			lost += len(done.Lost)
		}
	}
	if failed == 0 && lost > 0 {
		return fail(exitPartial, "the copies are whole, and the vaults are not; 'holdfast vault verify --full' says what is damaged")
	}
	return partly(failed, all, "vault", "copied whole")
}

// vaultAt says where a vault is as it was at a time, or as it is.
func (b *toolbox) vaultAt(name backup.VaultName, at time.Time) (vault.Config, error) {
	from, err := b.vaultConfig(name)
	if err != nil || at.IsZero() {
		return from, err
	}
	switch {
	case from.Bucket != nil:
		from.Bucket.At = at
	case from.Azure != nil:
		from.Azure.At = at
	default:
		err = usageError{errors.New("--at: the vault is in a folder, which keeps nothing of what was before")}
	}
	return from, err
}

func (b *toolbox) copyOne(ctx context.Context, name backup.VaultName, place Place, source func(backup.VaultName) (vault.Config, error), c copying) (done vault.Copied, err error) {
	from, err := source(name)
	if err != nil {
		return done, err
	}
	to := vault.Config{Password: from.Password, Log: b.log}
	if err := place.of(name, &to); err != nil {
		return done, err
	}
	done, err = vault.Copy(ctx, from, to, vault.CopyOptions{New: c.anew, Full: c.full, Keep: c.keep})
	if errors.Is(err, vault.ErrMissing) && !c.anew {
		err = fmt.Errorf("%w: --new begins one", err)
	}
	return done, advised(err)
}

// tellCopy says what was copied.
func tellCopy(out io.Writer, name backup.VaultName, done vault.Copied, keep time.Duration, err error) {
	bytes := func(n int64) string { return size(strconv.FormatInt(n, 10)) }
	fmt.Fprintf(out, "%s  %s copied, %s\n", name, number(done.Blobs, "blob"), bytes(done.Bytes))
	if err == nil {
		fmt.Fprintf(out, "  The copy is whole: backups of %s in %s, %s.\n", number(done.Drives, "drive"), number(done.Held, "blob"), bytes(done.HeldBytes))
	} else {
		fmt.Fprintf(out, "  %v\n", err)
	}
	if done.Kept+done.Removed > 0 {
		fmt.Fprintf(out, "  Of what the vault has no more, the copy keeps %s for %v at most; %d have gone.\n", number(done.Kept, "blob"), keep, done.Removed)
	}
	for _, row := range []struct {
		what  string
		names []string
	}{
		{"The vault has lost what it needs, and the copy has it", done.Lost},
		{"The vault could not give", done.Unread},
		{"Neither vault nor copy has whole", done.Missing},
	} {
		if len(row.names) > 0 {
			fmt.Fprintf(out, "  %s: %s\n", row.what, strings.Join(row.names, ", "))
		}
	}
}
