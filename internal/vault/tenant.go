package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"holdfast/internal/backup"
)

// A tenant's record is what a catalog needs and no drive's points carry, as files
// in one folder with a manifest of its own: it is as legible by the stock kopia as
// the drives are.

// recordPath is the path of the records' sources.
const recordPath = "/catalog"

func recordSource(tenant backup.TenantID) snapshot.SourceInfo {
	return snapshot.SourceInfo{Host: string(tenant), UserName: owner, Path: recordPath}
}

// recordsOf returns the manifests of a tenant's records, the oldest first.
func (v *Vault) recordsOf(ctx context.Context, tenant backup.TenantID) ([]named, error) {
	return v.manifestsOf(ctx, recordSource(tenant))
}

// SaveRecord makes files a tenant's record, and reports whether it differed from
// the last. Each file is written by its function.
func (v *Vault) SaveRecord(ctx context.Context, tenant backup.TenantID, files map[string]func(io.Writer) error) (changed bool, err error) {
	if changed, err = v.saveRecord(ctx, tenant, files); err != nil {
		err = fmt.Errorf("save the record of tenant %s: %w", tenant, err)
	}
	return changed, err
}

func (v *Vault) saveRecord(ctx context.Context, tenant backup.TenantID, files map[string]func(io.Writer) error) (bool, error) {
	if err := v.there(ctx); err != nil {
		return false, err
	}
	var records []record
	for name, fill := range files {
		oid, size, err := v.writeRecord(ctx, name, fill)
		if err != nil {
			return false, err
		}
		records = append(records, record{Name: name, Type: fileType, Mode: fileMode, Size: size, Object: oid})
	}
	dir, err := v.writeDir(ctx, v.updates, "", time.Time{}, records)
	if err != nil {
		return false, err
	}
	if err := v.rep.Refresh(once(ctx)); err != nil {
		return false, storageError(err)
	}
	older, err := v.recordsOf(ctx, tenant)
	if err != nil || len(older) > 0 && older[len(older)-1].root == dir.Object {
		return false, err
	}
	if _, err := save(ctx, v.updates, recordSource(tenant), &dir, "", v.rep.Time()); err != nil {
		return false, err
	}
	// Those before stay for a while, should a catalog have written this one that
	// had itself lost something.
	for _, m := range older {
		if v.rep.Time().Sub(m.at) > recordHistory {
			if err := v.updates.DeleteManifest(once(ctx), m.id); err != nil {
				return false, storageError(err)
			}
		}
	}
	return true, v.flush(ctx)
}

// recordHistory is how long a record is kept that another has followed.
const recordHistory = 30 * 24 * time.Hour

// writeRecord writes a file of a record, however long it is.
func (v *Vault) writeRecord(ctx context.Context, name string, fill func(io.Writer) error) (string, int64, error) {
	ow := v.newWriter(ctx, v.updates, object.WriterOptions{Description: "RECORD:" + name, Prefix: metaPrefix, Compressor: compressed, MetadataCompressor: compressed})
	defer ow.Close()
	counted := &countedWriter{w: ow}
	if err := fill(counted); err != nil {
		return "", 0, errors.Join(err, storageError(counted.err))
	}
	id, err := ow.Result()
	if err != nil {
		return "", 0, storageError(err)
	}
	return id.String(), counted.n, v.wrote(ctx)
}

type countedWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (c *countedWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	c.err = errors.Join(c.err, err)
	return n, err
}

// Record returns a tenant's record by the names of its files, and when it was
// saved. ErrNotFound when there is none.
func (v *Vault) Record(ctx context.Context, tenant backup.TenantID) (map[string]io.Reader, time.Time, error) {
	files, at, err := v.readRecord(ctx, tenant)
	if err != nil {
		return nil, at, fmt.Errorf("read the record of tenant %s: %w", tenant, err)
	}
	return files, at, nil
}

func (v *Vault) readRecord(ctx context.Context, tenant backup.TenantID) (map[string]io.Reader, time.Time, error) {
	all, err := v.recordsOf(ctx, tenant)
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(all) == 0 {
		return nil, time.Time{}, ErrNotFound
	}
	last := all[len(all)-1]
	d, err := v.readDir(ctx, last.root)
	if err != nil {
		return nil, last.at, err
	}
	files := map[string]io.Reader{}
	for _, r := range d.records {
		b, err := v.readObject(ctx, r.Object)
		if err != nil {
			return nil, last.at, err
		}
		files[r.Name] = bytes.NewReader(b)
	}
	return files, last.at, nil
}
