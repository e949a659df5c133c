package vault

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
)

// A long content is the same object whether its chunks are stored side by side or
// one after the other, and cores that it took are given back, whatever happens.
func TestAContentInLanesIsTheSameContent(t *testing.T) {
	v, _ := newVault(t)
	v.lanes = make(chan struct{}, 3)
	u := begin(t, v, Sealed{})
	data := make([]byte, 13<<20)
	for i, x := 0, uint64(7); i < len(data); i++ {
		x = x*6364136223846793005 + 1442695040888963407
		data[i] = byte(x >> 56)
	}
	var all sync.WaitGroup
	var ids [3]string
	for i := range ids {
		all.Go(func() {
			var r io.Reader = bytes.NewReader(data)
			if i == 0 {
				r = struct{ io.Reader }{r} // nobody says how long it is
			}
			c, err := u.Write(t.Context(), "long", r)
			if err != nil || c.Size != int64(len(data)) {
				t.Error(c, err)
			}
			ids[i] = c.ID
		})
	}
	all.Wait()
	for i, id := range ids {
		if id != ids[0] {
			t.Errorf("content %d is %s, and without lanes %s", i, id, ids[0])
		}
	}
	if err := v.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := v.Open(t.Context(), ids[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes come back, not those that were written, or %v", len(got), err)
	}

	broken := errors.New("broken")
	if _, err := u.Write(t.Context(), "long", &breaking{bytes.NewReader(data), broken}); !errors.Is(err, broken) {
		t.Errorf("err = %v, want the reader's", err)
	}
	if n := len(v.lanes); n > 0 {
		t.Errorf("%d lanes were not given back", n)
	}
	if n := v.takeLanes(bytes.NewReader(data)); n != 3 {
		t.Errorf("a long content has %d lanes, want 3", n)
	}
	if n := v.takeLanes(bytes.NewReader(data)); n != 0 {
		t.Errorf("another has %d lanes, want none", n)
	}
	v.leaveLanes(3)
	if n := v.takeLanes(bytes.NewReader(data[:long-1])); n != 0 {
		t.Errorf("a short one has %d lanes, want none", n)
	}
}

// breaking is a reader of a long content that fails after two thirds of it.
type breaking struct {
	*bytes.Reader
	err error
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.Len() < 5<<20 {
		return 0, b.err
	}
	return b.Reader.Read(p)
}

func (b *breaking) WriteTo(io.Writer) (int64, error) { panic("read it") }
