package vault

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"sync"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"
)

// A session is a write session of kopia's, but that it forgets the manifests that it has
// read and written with each flush: kopia's own keeps them as long as it is open, two
// kilobytes of each drive, which the collector of garbage looks at again and again.
type session struct {
	repo.DirectRepositoryWriter
	vault *Vault
	empty func() (*manifest.Manager, error) // returns one that has read nothing

	mu        sync.RWMutex // held for writing by who takes what is staged
	manifests *manifest.Manager

	staging sync.Mutex
	put     map[manifest.ID]bool          // by manifests, since the last flush
	gone    map[manifest.ID]manifestEntry // what is to be deleted of what was there before
}

// session starts a write session. It must be closed, and drops what was not flushed.
func (v *Vault) session(ctx context.Context, purpose string) (*session, error) {
	_, w, err := v.rep.NewDirectWriter(ctx, repo.WriteSessionOptions{Purpose: purpose, OnUpload: func(n int64) {
		v.blobsWritten.Add(1)
		v.bytesWritten.Add(n)
	}})
	if err != nil {
		return nil, storageError(err)
	}
	s := &session{DirectRepositoryWriter: w, vault: v, put: map[manifest.ID]bool{}, gone: map[manifest.ID]manifestEntry{}, empty: func() (*manifest.Manager, error) {
		return manifest.NewManager(context.WithoutCancel(ctx), w.ContentManager(), manifest.ManagerOptions{TimeNow: v.rep.Time}, nil)
	}}
	if s.manifests, err = s.empty(); err != nil {
		return nil, storageError(err)
	}
	return s, nil
}

func (s *session) PutManifest(ctx context.Context, labels map[string]string, payload any) (manifest.ID, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	id, err := s.manifests.Put(ctx, labels, payload)
	s.staging.Lock()
	defer s.staging.Unlock()
	s.put[id] = true
	return id, err
}

func (s *session) GetManifest(ctx context.Context, id manifest.ID, data any) (*manifest.EntryMetadata, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.stagesNothing() {
		found, err := s.vault.otherManifests(ctx, func(e *manifestEntry) bool { return e.ID == id })
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			if data != nil {
				err = json.Unmarshal(found[0].Data, data)
			}
			return found[0].metadata(), err
		}
	}
	return s.manifests.Get(ctx, id, data)
}

func (s *session) FindManifests(ctx context.Context, labels map[string]string) ([]*manifest.EntryMetadata, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if kind := labels[manifest.TypeLabelKey]; kind != "" && kind != snapshot.ManifestType && s.stagesNothing() {
		others, err := s.vault.otherManifests(ctx, func(e *manifestEntry) bool { return e.labelled(labels) })
		found := make([]*manifest.EntryMetadata, len(others))
		for i := range others {
			found[i] = others[i].metadata()
		}
		return found, err
	}
	found, err := s.manifests.Find(ctx, labels)
	s.staging.Lock()
	defer s.staging.Unlock()
	return slices.DeleteFunc(found, func(m *manifest.EntryMetadata) bool {
		_, gone := s.gone[m.ID]
		return gone
	}), err
}

// stagesNothing reports whether the session sees what all do. What names no snapshot is then
// found in the index of manifests: kopia's manager would read all of the vault for it.
func (s *session) stagesNothing() bool {
	s.staging.Lock()
	defer s.staging.Unlock()
	return len(s.put) == 0 && len(s.gone) == 0
}

// DeleteManifest stages the deletion of a manifest. Kopia's manager would read all there
// are, to see whether it is one of them.
func (s *session) DeleteManifest(ctx context.Context, id manifest.ID) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.staging.Lock()
	defer s.staging.Unlock()
	if s.put[id] {
		return s.manifests.Delete(ctx, id)
	}
	s.gone[id] = s.vault.gone(id)
	return nil
}

// ReplaceManifests puts a manifest in the place of all that have its labels.
func (s *session) ReplaceManifests(ctx context.Context, labels map[string]string, payload any) (manifest.ID, error) {
	found, err := s.FindManifests(ctx, labels)
	for _, m := range found {
		err = errors.Join(err, s.DeleteManifest(ctx, m.ID))
	}
	if err != nil {
		return "", err
	}
	return s.PutManifest(ctx, labels, payload)
}

// Flush makes what was written before durable, and forgets the manifests.
func (s *session) Flush(ctx context.Context) error {
	if err := s.flushManifests(ctx); err != nil {
		return err
	}
	return s.DirectRepositoryWriter.Flush(ctx)
}

func (s *session) flushManifests(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.manifests.Flush(ctx); err != nil {
		return err
	}
	clear(s.put)
	// After what stands in the place of what goes.
	if _, err := writeEntries(ctx, s.DirectRepositoryWriter, marshalled(s.gone)); err != nil {
		return err
	}
	clear(s.gone)
	next, err := s.empty()
	if err == nil {
		s.manifests = next
	}
	return err
}

func marshalled(entries map[manifest.ID]manifestEntry) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for _, e := range entries {
			if !yield(json.Marshal(e)) {
				return
			}
		}
	}
}
