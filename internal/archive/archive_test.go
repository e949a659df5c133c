package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// keys are a key that seals, and the one that opens what it has sealed.
func keys(t *testing.T) (seals, opens Key) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	seals, err = Recipients(id.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	opens, err = Identities(strings.NewReader("# a key\n" + id.String() + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return seals, opens
}

var sampleHead = Head{Made: time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC), Program: "holdfast test", Catalog: "sqlite", Tenants: []string{"t"},
	Files: []File{{Name: "serve.json", Setting: "the configuration", Path: "/etc/serve.json", Content: []byte("{}")}, {Name: "vault.password", Setting: "vault.passwordFile", Path: "/p", Content: []byte("secret")}}}

// sample is an archive of a catalog with n jobs.
func sample(t *testing.T, key Key, n int) []byte {
	t.Helper()
	db := dbtest.Open(t, database.SQLite)
	err := db.Tx(t.Context(), func(tx *database.Tx) error {
		for i := range n {
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO job (kind, key, tenant, run_at) VALUES ('k', $1, 't', $2)`, fmt.Sprintf("%d é", i), i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = db.Snapshot(t.Context(), func(s *database.Snapshot) error {
		_, err := Write(t.Context(), &b, key, sampleHead, s, func(int64) {})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An archive gives what it was made of: also of more rows than go into one entry.
func TestAnArchiveGivesWhatItHolds(t *testing.T) {
	seals, opens := keys(t)
	const n = 25_000
	b := sample(t, seals, n)
	if bytes.Contains(b, []byte("secret")) || bytes.Contains(b, []byte("serve.json")) {
		t.Error("the archive tells what is in it")
	}
	rows, last := 0, ""
	head, m, err := Read(t.Context(), bytes.NewReader(b), opens, Into{
		Head: func(h Head) error {
			if h.Files[1].Content != nil || h.Program != "holdfast test" {
				t.Errorf("it begins with %+v", h)
			}
			return nil
		},
		Row: func(table database.Table, row database.Row) error {
			if table.Name != "job" {
				t.Errorf("a row of %s", table.Name)
			}
			rows, last = rows+1, row[slices.Index(table.Columns, "key")].(string)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if rows != n || m.Rows() != n || last != fmt.Sprintf("%d é", n-1) {
		t.Errorf("%d rows, %d in the manifest, the last %q", rows, m.Rows(), last)
	}
	if string(head.Files[1].Content) != "secret" || head.Format != Format || head.Schema == 0 || !head.Made.Equal(sampleHead.Made) {
		t.Errorf("the head is %+v", head)
	}
	stop := errors.New("stop")
	if _, _, err := Read(t.Context(), bytes.NewReader(b), opens, Into{Row: func(database.Table, database.Row) error { return stop }}); err != stop {
		t.Errorf("what was refused is %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Read(ended, bytes.NewReader(b), opens, Into{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a read that was given up: %v", err)
	}
}

// Words open what they have sealed, and no others do, nor a key.
func TestAnArchiveOpensWithItsKeyOnly(t *testing.T) {
	words, err := Passphrase("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	other, err := Passphrase("battery staple")
	if err != nil {
		t.Fatal(err)
	}
	seals, opens := keys(t)
	_, stranger := keys(t)
	byWords, byKey := sample(t, words, 1), sample(t, seals, 1)
	for _, row := range []struct {
		name string
		b    []byte
		key  Key
		want error
	}{
		{"its words", byWords, words, nil}, {"its key", byKey, opens, nil},
		{"other words", byWords, other, ErrKey}, {"another key", byKey, stranger, ErrKey},
		{"words for a key", byKey, words, ErrKey}, {"a key for words", byWords, opens, ErrKey},
	} {
		if _, _, err := Read(t.Context(), bytes.NewReader(row.b), row.key, Into{}); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	for _, wrong := range []string{"", "age1", "AGE-SECRET-KEY-1", "ssh-ed25519 AAAA"} {
		if _, err := Recipients(wrong); err == nil {
			t.Errorf("%q is a public key", wrong)
		}
	}
	if _, err := Identities(strings.NewReader("AGE-SECRET-KEY-1HIDDEN")); err == nil || strings.Contains(err.Error(), "HIDDEN") {
		t.Errorf("a private key that is none: %v", err)
	}
}

// An archive that was cut anywhere, or of which any part was changed, put in the place of
// another or added, is refused as that.
func TestADamagedArchiveIsRefused(t *testing.T) {
	seals, opens := keys(t)
	b := sample(t, seals, 12_000)
	other := sample(t, seals, 12_000)
	refuse := func(name string, b []byte) {
		t.Helper()
		_, _, err := Read(t.Context(), bytes.NewReader(b), opens, Into{})
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	step := len(b)/60 + 1
	for n := 0; n < len(b); n += step {
		refuse(fmt.Sprintf("cut at %d of %d", n, len(b)), b[:n])
		changed := bytes.Clone(b)
		changed[n] ^= 1
		refuse(fmt.Sprintf("the byte %d of %d changed", n, len(b)), changed)
	}
	for n := 1; n < 40; n++ {
		refuse(fmt.Sprintf("cut %d before its end", n), b[:len(b)-n])
	}
	refuse("with something added", append(bytes.Clone(b), 'x'))
	refuse("twice", append(bytes.Clone(b), b...))
	half := len(b) / 2
	refuse("of two", append(bytes.Clone(b[:half]), other[min(half, len(other)):]...))
	for name, text := range map[string]string{"a text": "hello", "nothing": "", "a zip": "PK\x03\x04", "age's first line": ageIntro, "another version of age": "age-encryption.org/v2\n"} {
		refuse(name, []byte(text))
	}
	if _, _, err := Read(t.Context(), bytes.NewReader(b), opens, Into{}); err != nil {
		t.Errorf("as it was: %v", err)
	}
	broken := io.MultiReader(bytes.NewReader(b[:half]), failingReader{})
	if _, _, err := Read(t.Context(), broken, opens, Into{}); err == nil {
		t.Error("a file that could not be read to its end was read")
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

// What is sealed with the right key and is nothing that Write writes is refused, too.
func TestAForgedArchiveIsRefused(t *testing.T) {
	seals, opens := keys(t)
	forge := func(make func(w *writer) error) []byte {
		t.Helper()
		var b bytes.Buffer
		sealed, err := age.Encrypt(&b, seals.recipients...)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := zstd.NewWriter(sealed)
		if err != nil {
			t.Fatal(err)
		}
		w := newWriter(packed, time.Now())
		if err := errors.Join(make(w), w.tar.Close(), packed.Close(), sealed.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	head := Head{Format: 1, Tables: []database.Table{{Name: "job", Columns: []string{"kind"}}}}
	for name, row := range map[string]struct {
		make func(w *writer) error
		want error
	}{
		"an empty archive":  {func(w *writer) error { return nil }, ErrForeign},
		"another's":         {func(w *writer) error { return w.entry("a.txt", nil) }, ErrForeign},
		"no manifest":       {func(w *writer) error { return w.json(headName, head) }, ErrDamaged},
		"a form of later":   {func(w *writer) error { return w.json(headName, Head{Format: Format + 1}) }, ErrNewer},
		"a file outside":    {func(w *writer) error { return w.json(headName, Head{Format: 1, Files: []File{{Name: "../x"}}}) }, ErrDamaged},
		"a file unheard of": {func(w *writer) error { return errors.Join(w.json(headName, head), w.entry("files/x", nil)) }, ErrDamaged},
		"a table unheard of": {func(w *writer) error {
			return errors.Join(w.json(headName, head), w.entry("catalog/x/000001.jsonl", nil))
		}, ErrDamaged},
		"rows out of order": {func(w *writer) error {
			return errors.Join(w.json(headName, head), w.entry("catalog/job/000002.jsonl", nil))
		}, ErrDamaged},
		"a row that is none": {func(w *writer) error {
			return errors.Join(w.json(headName, head), w.entry("catalog/job/000001.jsonl", []byte("[1.5]\n")))
		}, ErrDamaged},
		"a row that is cut": {func(w *writer) error {
			return errors.Join(w.json(headName, head), w.entry("catalog/job/000001.jsonl", []byte(`["a"]`)))
		}, ErrDamaged},
		"rows that are gone": {func(w *writer) error {
			return errors.Join(w.json(headName, head), w.json(manifestName, Manifest{Tables: []TableSum{{head.Tables[0], 1, "1"}}}))
		}, ErrDamaged},
		"a manifest of less": {func(w *writer) error { return errors.Join(w.json(headName, head), w.json(manifestName, Manifest{})) }, ErrDamaged},
		"more after its end": {func(w *writer) error {
			return errors.Join(w.json(headName, Head{Format: 1}), w.json(manifestName, Manifest{}), w.entry("x", nil))
		}, ErrDamaged},
		"something unheard of": {func(w *writer) error { return errors.Join(w.json(headName, head), w.entry("x", nil)) }, ErrDamaged},
	} {
		_, _, err := Read(t.Context(), bytes.NewReader(forge(row.make)), opens, Into{Row: func(database.Table, database.Row) error { return nil }})
		if !errors.Is(err, row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where there is no room, or a table cannot be read, there is no archive.
func TestAFullDiskEndsAnArchive(t *testing.T) {
	seals, _ := keys(t)
	whole := len(sample(t, seals, 5000))
	db := dbtest.Open(t, database.SQLite)
	for _, room := range []int{0, 10, 300, whole / 100} {
		err := db.Snapshot(t.Context(), func(s *database.Snapshot) error {
			_, err := Write(t.Context(), &limited{room}, seals, sampleHead, s, func(int64) {})
			return err
		})
		if err == nil || !strings.Contains(err.Error(), errFull.Error()) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
}

var errFull = errors.New("no space left on device")

type limited struct{ left int }

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.left {
		return 0, errFull
	}
	l.left -= len(b)
	return len(b), nil
}
