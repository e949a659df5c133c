package vault

import (
	"context"
	"fmt"
	"strings"

	"github.com/kopia/kopia/repo/blob"
)

// probeBlob is what a probe writes, always under one name: neither kopia nor a copy takes
// it for a part of the vault, and no lock is put on it.
const probeBlob blob.ID = "holdfast.probe"

// Probe makes sure that the vault can be written to, by writing to it. The error is
// ErrStorage or another of those by which a vault cannot be used.
func (v *Vault) Probe(ctx context.Context) error {
	if err := putBlob(ctx, v.updates.BlobStorage(), probeBlob, []byte("Whether this vault can be written to.\n")); err != nil {
		return fmt.Errorf("write to the vault in %s: %w", v.place.place(), v.place.in(storageError(err)))
	}
	return nil
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
