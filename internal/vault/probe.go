package vault

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/kopia/kopia/repo/blob"
	"github.com/minio/minio-go/v7"
)

// probeBlob is what a probe writes, always under one name: neither kopia nor a copy takes
// it for a part of the vault, and no lock is put on it.
const probeBlob blob.ID = "holdfast.probe"

// How soon another probe of a place is worth its requests, and the versions that it
// leaves: in a bucket that keeps versions each probe takes its own away again, and where
// it may not, there is one in an hour.
const (
	probeOfFolder  = 0 // at once
	probeOfBucket  = 5 * time.Minute
	probeThatStays = time.Hour
)

// Probe makes sure that the vault can be written to, by writing to it, and says after
// how long it is worth another look. The error is ErrStorage or another of those by which a
// vault cannot be used.
func (v *Vault) Probe(ctx context.Context) (again time.Duration, err error) {
	again, what := probeOfBucket, []byte("Whether this vault can be written to.\n")
	stays := false
	switch {
	// Not by kopia's storage, which tries for minutes before it says why it cannot.
	case v.place.Bucket != nil:
		stays, err = v.place.Bucket.probe(ctx, what)
	case v.place.Azure != nil:
		stays, err = v.place.Azure.probe(ctx, what)
	default:
		again, err = probeOfFolder, putBlob(ctx, v.updates.BlobStorage(), probeBlob, what)
	}
	if err != nil {
		return probeOfFolder, fmt.Errorf("write to the vault in %s: %w", v.place.place(), v.place.in(storageError(err)))
	}
	if stays {
		again = probeThatStays
	}
	return again, nil
}

// probe writes an object and takes it away again, by the id of its version where the
// bucket keeps such; stays says that it could not be taken away.
func (b *Bucket) probe(ctx context.Context, what []byte) (stays bool, err error) {
	store, err := b.client()
	if err != nil {
		return false, err
	}
	put, err := store.PutObject(ctx, b.Name, b.Prefix+probeName, bytes.NewReader(what), int64(len(what)), minio.PutObjectOptions{SendContentMd5: true})
	if err != nil {
		return false, err
	}
	return store.RemoveObject(ctx, b.Name, b.Prefix+probeName, minio.RemoveObjectOptions{VersionID: put.VersionID}) != nil, nil
}

// probe is that of a container.
func (c *Container) probe(ctx context.Context, what []byte) (stays bool, err error) {
	in, err := c.client()
	if err != nil {
		return false, err
	}
	name := c.Prefix + probeName
	put, err := in.NewBlockBlobClient(name).Upload(ctx, streaming.NopCloser(bytes.NewReader(what)), nil)
	if err != nil {
		return false, err
	}
	_, err = in.NewBlobClient(name).Delete(ctx, nil)
	if err == nil && put.VersionID != nil {
		var version *azblob.Client
		if version, err = in.NewBlobClient(name).WithVersionID(*put.VersionID); err == nil {
			_, err = version.Delete(ctx, nil)
		}
	}
	return err != nil, nil
}

// A Holding is what a vault takes of its storage.
type Holding struct {
	Blobs, Bytes int64
	Index        int64 // how many of the blobs are of its index
}

// Holding lists the vault's storage, which takes the longer the more the vault holds.
func (v *Vault) Holding(ctx context.Context) (h Holding, err error) {
	err = v.rep.BlobReader().ListBlobs(ctx, "", func(m blob.Metadata) error {
		h.Blobs++
		h.Bytes += m.Length
		for _, p := range indexPrefixes {
			if strings.HasPrefix(string(m.BlobID), string(p)) {
				h.Index++
				break
			}
		}
		return nil
	})
	if err != nil {
		return Holding{}, fmt.Errorf("list the vault in %s: %w", v.place.place(), v.place.in(storageError(err)))
	}
	return h, nil
}

// IndexSize returns how many bytes the vault's index has, which is about what it takes of
// memory while the vault is open.
func (v *Vault) IndexSize(ctx context.Context) (bytes int64, err error) {
	blobs, err := v.rep.IndexBlobs(ctx, false)
	if err != nil {
		return 0, fmt.Errorf("list the index of the vault in %s: %w", v.place.place(), v.place.in(storageError(err)))
	}
	for _, b := range blobs {
		bytes += b.Length
	}
	return bytes, nil
}
