package vault

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"strings"

	"github.com/kopia/kopia/repo/blob"
)

// Which blobs of the index are in larger ones a process notes in a file of its
// Config.State, so that it need not read all of them again when it is started: after an
// hour there are thousands, of which all but some dozens are in others, and that twice or
// thrice. A note stays true whatever becomes of either, and is of no use where the larger
// one is not. Where there are no notes more is read.
//
// A line is a checksum, the larger blob, and those that are in it. It counts if it is
// whole: a process may end while it writes one, and several may write to one file.

// remember reads the notes, and has others go there too.
func (x *shortIndex) remember(file string) error {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the notes on the vault's index: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.noted, x.remembered = file, nil
	for line := range strings.Lines(string(b)) {
		in, ids := parseNote(line)
		for _, id := range ids {
			if s, ok := x.span(id); ok && !x.isIn(in, id) {
				s.known[id] = true
				x.inside[id] = in
				x.remembered = append(x.remembered, id)
			}
		}
	}
	return nil
}

// isIn reports whether a blob is another, or in it.
func (x *shortIndex) isIn(id, other blob.ID) bool {
	for ok := true; ok; id, ok = x.inside[id] {
		if id == other {
			return true
		}
	}
	return false
}

// doubt forgets what was remembered, and reports whether that was anything: a content is
// missing.
func (x *shortIndex) doubt() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range x.remembered {
		delete(x.inside, id)
	}
	had := len(x.remembered) > 0
	x.remembered = nil
	return had
}

// note notes that one blob has all of others.
func (x *shortIndex) note(ids []blob.ID, one blob.ID) error {
	x.mu.Lock()
	file, outdated := x.noted, x.outdated
	var all string
	if outdated {
		all = x.notes()
	}
	x.outdated = false
	x.mu.Unlock()
	if outdated {
		err := replaceFile(file, []byte(all))
		if err != nil {
			x.mu.Lock()
			x.outdated = true
			x.mu.Unlock()
		}
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(formatNote(one, ids))
	return errors.Join(err, f.Close())
}

// notes returns a note on each blob that others are in.
func (x *shortIndex) notes() string {
	all := map[blob.ID][]blob.ID{}
	for id, in := range x.inside {
		all[in] = append(all[in], id)
	}
	var b strings.Builder
	for in, ids := range all {
		b.WriteString(formatNote(in, ids))
	}
	return b.String()
}

func formatNote(in blob.ID, ids []blob.ID) string {
	var b strings.Builder
	b.WriteString(string(in))
	for _, id := range ids {
		b.WriteString(" " + string(id))
	}
	return fmt.Sprintf("%08x %s\n", crc32.Checksum([]byte(b.String()), noteSum), b.String())
}

// parseNote returns nothing of a line that is not as it was written.
func parseNote(line string) (in blob.ID, ids []blob.ID) {
	sum, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if sum != fmt.Sprintf("%08x", crc32.Checksum([]byte(rest), noteSum)) || !strings.HasSuffix(line, "\n") {
		return "", nil
	}
	for i, id := range strings.Split(rest, " ") {
		if i == 0 {
			in = blob.ID(id)
		} else {
			ids = append(ids, blob.ID(id))
		}
	}
	return in, ids
}

var noteSum = crc32.MakeTable(crc32.Castagnoli)
