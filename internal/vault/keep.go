package vault

import (
	"context"
	"sync"
)

// Keeping returns a context in which directories and leaves of indexes that were read
// lately are not read again: the same parts of several trees, which are one object, are
// looked into one after another by a restore. What proves that a vault holds something
// must not be done in it.
func Keeping(ctx context.Context) context.Context {
	if ctx.Value(keeping{}) != nil {
		return ctx
	}
	return context.WithValue(ctx, keeping{}, &keepers{dirs: keeper[*dir]{most: maxRecords}, leaves: keeper[leaf]{most: maxParents}})
}

type keeping struct{}

type keepers struct {
	dirs   keeper[*dir]
	leaves keeper[leaf]
}

// A keeper has the parts that were read last, by their objects. Nobody changes them.
type keeper[P part] struct {
	mu    sync.Mutex
	most  int // items
	items int
	held  map[string]P
	order []string
}

func (k *keeper[P]) get(object string) (P, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.held[object]
	return p, ok
}

func (k *keeper[P]) has(object string) bool {
	_, ok := k.get(object)
	return ok
}

func (k *keeper[P]) add(object string, p P) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.held[object]; ok || p.size() > k.most {
		return
	}
	if k.held == nil {
		k.held = map[string]P{}
	}
	k.held[object] = p
	k.order = append(k.order, object)
	for k.items += p.size(); k.items > k.most; k.order = k.order[1:] {
		k.items -= k.held[k.order[0]].size()
		delete(k.held, k.order[0])
	}
}

// lookDir is readDir, but for what was read lately in a context that keeps it.
func (v *Vault) lookDir(ctx context.Context, oid string) (*dir, error) {
	l, err := v.lookList(ctx, oid)
	if err != nil {
		return nil, err
	}
	return l.whole()
}

// lookLeaf is readLeaf, but for what was read lately in a context that keeps it.
func (v *Vault) lookLeaf(ctx context.Context, oid string) (leaf, error) {
	k, _ := ctx.Value(keeping{}).(*keepers)
	if k == nil {
		return v.readLeaf(ctx, oid)
	}
	if l, ok := k.leaves.get(oid); ok {
		return l, nil
	}
	l, err := v.readLeaf(ctx, oid)
	if err == nil {
		k.leaves.add(oid, l)
	}
	return l, err
}
