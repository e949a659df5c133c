package engine

import (
	"context"
	"io"
	"sync"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
)

// exportBytes is how much the items of one export hold together, as far as the source
// says how large they are. A larger one is exported by itself.
const exportBytes = 32 << 20

// mailExports are the exports of a mailbox that are under way, or of which not all was
// read: who asks for an item has those exported with it that will be asked for next.
type mailExports struct {
	mu   sync.Mutex
	of   map[backup.ItemID]*mailExport
	life context.Context // nil if none was begun
	stop context.CancelFunc
	work sync.WaitGroup
}

// A mailExport is one of them.
type mailExport struct {
	done chan struct{} // closed when what follows is there
	all  *drive.Export
	err  error

	ids  []backup.ItemID
	left int // how many of them were not read yet
}

// export opens an item as the source exports it.
func (s *mailSource) export(ctx context.Context, listed drive.Item, alone bool) (content, error) {
	x := s.exporting(ctx, listed.ID, alone)
	select {
	case <-x.done:
	case <-ctx.Done():
		s.exports.read(x, listed.ID)
		return nil, context.Cause(ctx)
	}
	if x.err != nil {
		s.exports.read(x, listed.ID)
		if len(x.ids) == 1 || alone || stopped(ctx, x.err) {
			return nil, x.err
		}
		return s.export(ctx, listed, true) // what is wrong may be another's fault
	}
	e := x.all.Item(listed.ID)
	if e.Err != nil {
		s.exports.read(x, listed.ID)
		return nil, e.Err
	}
	is := listed
	is.Size, is.CTag, is.ETag = e.Size, e.ChangeKey, e.ChangeKey
	proof := drive.Unstated
	if said := s.sizes([]backup.ItemID{listed.ID})[listed.ID]; e.Size < said*3/4 {
		proof = drive.Mismatch // its size is about that of the stream
	}
	return &mailContent{SectionReader: x.all.Read(listed.ID), is: is, proof: proof, close: func() { s.exports.read(x, listed.ID) }}, nil
}

// exporting returns the export that an item is in, and begins it if there is none.
func (s *mailSource) exporting(ctx context.Context, id backup.ItemID, alone bool) *mailExport {
	xs := &s.exports
	var next []backup.ItemID
	if !alone {
		next = s.run.upcoming(5 * drive.MaxExport)
	}
	sizes := s.sizes(append(next, id))
	xs.mu.Lock()
	defer xs.mu.Unlock()
	if x := xs.of[id]; x != nil && !alone {
		return x
	}
	if xs.life == nil {
		xs.life, xs.stop = context.WithCancel(context.WithoutCancel(ctx))
	}
	x := &mailExport{done: make(chan struct{}), ids: []backup.ItemID{id}}
	total := sizes[id]
	for _, other := range next {
		size, told := sizes[other]
		if told && xs.of[other] == nil && other != id && total+size <= exportBytes && len(x.ids) < drive.MaxExport {
			x.ids = append(x.ids, other)
			total += size
		}
	}
	x.left = len(x.ids)
	if !alone {
		for _, of := range x.ids {
			xs.of[of] = x
		}
	}
	life := xs.life
	xs.work.Go(func() {
		x.all, x.err = s.client.ExportMail(life, s.box, s.dir, x.ids...)
		close(x.done)
	})
	return x
}

// sizes returns how large items are that were told of, as far as the source says.
func (s *mailSource) sizes(ids []backup.ItemID) map[backup.ItemID]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[backup.ItemID]int64, len(ids))
	for _, id := range ids {
		if t, ok := s.toldOf(id); ok {
			all[id] = max(t.size, 0)
		}
	}
	return all
}

// read notes that an item of an export was read. With the last one it is given back.
func (xs *mailExports) read(x *mailExport, id backup.ItemID) {
	xs.mu.Lock()
	defer xs.mu.Unlock()
	if xs.of[id] == x {
		delete(xs.of, id)
	}
	if x.left--; x.left > 0 {
		return
	}
	xs.work.Go(x.drop)
}

func (x *mailExport) drop() {
	<-x.done
	if x.all != nil {
		x.all.Close()
	}
}

// close ends all exports.
func (xs *mailExports) close() {
	xs.mu.Lock()
	if xs.stop != nil {
		xs.stop()
	}
	open := map[*mailExport]bool{}
	for id, x := range xs.of {
		open[x] = true
		delete(xs.of, id)
	}
	xs.life, xs.stop = nil, nil
	xs.mu.Unlock()
	for x := range open {
		x.drop()
	}
	xs.work.Wait()
}

// upcoming returns what a run will ask for next.
func (p *protection) upcoming(most int) (ids []backup.ItemID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range p.todo[p.next:min(len(p.todo), p.next+most)] {
		if id := p.stage.items.id(i); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// A mailContent is an exported item being read.
type mailContent struct {
	*io.SectionReader
	is    drive.Item
	proof drive.Proof
	once  sync.Once
	close func()
}

func (c *mailContent) Close() error       { c.once.Do(c.close); return nil }
func (c *mailContent) Is() drive.Item     { return c.is }
func (c *mailContent) Sum() string        { return "" }
func (c *mailContent) Proof() drive.Proof { return c.proof }
