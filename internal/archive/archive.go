// Package archive is the form of a backup of Holdfast itself: one file with the catalog,
// the configuration and the keys.
//
// It is made of three things that each have a program of their own, so that one who has
// the key can read it without Holdfast: "age -d FILE | zstd -d | tar x".
//
//	holdfast.json             the Head: of what and when the archive is, and its files
//	files/…                   the configuration, and the files with secrets that it names
//	catalog/TABLE/000001.jsonl rows of a table of the catalog, a JSON array a line
//	manifest.json             how many rows and which files there are, with their sums
//
// The manifest is the last, so that an archive which is cut never looks whole; age
// authenticates every byte, so that one which was changed is not read at all.
package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"holdfast/internal/database"
)

// Format is the version of the form that this program writes. It reads those up to it.
const Format = 1

const (
	headName     = "holdfast.json"
	manifestName = "manifest.json"
	filesFolder  = "files/"
	tablesFolder = "catalog/"

	chunk = 1 << 20 // rows that go into one entry, in bytes; one row may be more

	mostFile = 64 << 20 // how long a file beside the rows may be
	mostHead = 16 << 20
)

// Why an archive cannot be used.
var (
	ErrKey     = errors.New("the archive does not open with this key")
	ErrForeign = errors.New("the file is no backup of Holdfast")
	ErrDamaged = errors.New("the archive is damaged or not whole")
	ErrNewer   = errors.New("the archive was made by a newer Holdfast")
)

// A Head says what an archive is of.
type Head struct {
	Format  int              `json:"format"`
	Made    time.Time        `json:"made"`
	Program string           `json:"program"` // the version of Holdfast that made it
	Schema  int64            `json:"schema"`  // the version of the catalog's
	Catalog string           `json:"catalog"` // the database that it was in, without a password
	Config  string           `json:"config"`  // where the configuration was; empty of a dev
	Data    string           `json:"data"`    // where the data folder of a dev was; empty of a serve
	Tenants []string         `json:"tenants"`
	Files   []File           `json:"files"`
	Tables  []database.Table `json:"tables"`  // of the catalog, those that others refer to before these
	Missing []string         `json:"missing"` // what is not in the archive, in words
}

// A Kind is what a file is for.
type Kind string

const (
	Configuration Kind = "configuration"
	Tenant        Kind = "tenant" // in the folder of tenants
	Secret        Kind = "secret" // that a setting names
	State         Kind = "state"  // in the folder of the server's state, or in that of a dev's keys
)

// A File is a file of the installation.
type File struct {
	Name    string `json:"name"` // in the archive, without a slash
	Kind    Kind   `json:"kind"`
	Setting string `json:"setting"` // what names it, such as vault.passwordFile
	Path    string `json:"path"`    // where it was

	Content []byte `json:"-"`
}

// A Manifest says what is in a whole archive.
type Manifest struct {
	Tables []TableSum `json:"tables"`
	Files  []FileSum  `json:"files"`
}

// Rows is how many there are in all tables.
func (m *Manifest) Rows() (n int64) {
	for _, t := range m.Tables {
		n += t.Rows
	}
	return n
}

// A TableSum is what a table of the catalog holds.
type TableSum struct {
	database.Table
	Rows int64  `json:"rows"`
	Sum  string `json:"sum"` // of the rows, in whatever order
}

// A FileSum is what a file holds.
type FileSum struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func sumOf(f File) FileSum {
	h := sha256.Sum256(f.Content)
	return FileSum{f.Name, int64(len(f.Content)), hex.EncodeToString(h[:])}
}

// A Key is what an archive is sealed with, or opened by.
type Key struct {
	recipients []age.Recipient
	identities []age.Identity
}

// Passphrase is a key of words. It opens what it has sealed.
func Passphrase(words string) (Key, error) {
	r, err := age.NewScryptRecipient(words)
	if err != nil {
		return Key{}, err
	}
	i, err := age.NewScryptIdentity(words)
	return Key{[]age.Recipient{r}, []age.Identity{i}}, err
}

// Recipients is the key that seals for whoever has one of the private keys of these
// public keys of age's, "age1…".
func Recipients(public ...string) (k Key, err error) {
	for _, text := range public {
		r, err := age.ParseX25519Recipient(strings.TrimSpace(text))
		if err != nil {
			return k, fmt.Errorf("%q is no public key of age: it begins with age1, as age-keygen prints it", text)
		}
		k.recipients = append(k.recipients, r)
	}
	return k, nil
}

// Identities is the key that opens with the private keys in a file of age's. No error
// says what is in it.
func Identities(file io.Reader) (Key, error) {
	all, err := age.ParseIdentities(file)
	if err != nil {
		return Key{}, errors.New("it holds no private key of age: a line that begins with AGE-SECRET-KEY-1, as age-keygen writes it")
	}
	return Key{identities: all}, nil
}

// Write writes an archive of a catalog and of the files in head, sealed with a key.
// progress is told how many rows were written.
func Write(ctx context.Context, to io.Writer, key Key, head Head, s *database.Snapshot, progress func(rows int64)) (m Manifest, err error) {
	sealed, err := age.Encrypt(to, key.recipients...)
	if err != nil {
		return m, fmt.Errorf("seal the archive: %w", err)
	}
	packed, err := zstd.NewWriter(sealed, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return m, err
	}
	head.Format, head.Schema, head.Tables = Format, s.Version, s.Tables
	w := newWriter(packed, head.Made)
	if err := w.write(ctx, head, s, progress); err != nil {
		packed.Close()
		return m, err
	}
	return w.manifest, errors.Join(w.tar.Close(), packed.Close(), sealed.Close())
}

type writer struct {
	tar      *tar.Writer
	made     time.Time
	manifest Manifest
}

func newWriter(to io.Writer, made time.Time) *writer {
	return &writer{tar: tar.NewWriter(to), made: made}
}

func (w *writer) entry(name string, content []byte) error {
	err := w.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), ModTime: w.made.Truncate(time.Second)})
	if err == nil {
		_, err = w.tar.Write(content)
	}
	if err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return nil
}

func (w *writer) json(name string, of any) error {
	b, err := json.MarshalIndent(of, "", "  ")
	if err != nil {
		return err
	}
	return w.entry(name, append(b, '\n'))
}

func (w *writer) write(ctx context.Context, head Head, s *database.Snapshot, progress func(rows int64)) error {
	if err := w.json(headName, head); err != nil {
		return err
	}
	for _, f := range head.Files {
		if len(f.Content) > mostFile {
			return fmt.Errorf("%s, which %s names, has %d bytes: a file with a secret has no more than %d", f.Path, f.Setting, len(f.Content), mostFile)
		}
		if err := w.entry(filesFolder+f.Name, f.Content); err != nil {
			return err
		}
		w.manifest.Files = append(w.manifest.Files, sumOf(f))
	}
	var done int64
	for _, t := range s.Tables {
		rows, err := w.table(ctx, s, t, func(rows int64) { progress(done + rows) })
		if err != nil {
			return err
		}
		done += rows
	}
	return w.json(manifestName, w.manifest)
}

// table writes the rows of a table. One that has none is in the manifest only.
func (w *writer) table(ctx context.Context, s *database.Snapshot, t database.Table, progress func(rows int64)) (int64, error) {
	var sum database.Sum
	var lines []byte
	var rows int64
	n := 0
	flush := func() error {
		n++
		err := w.entry(fmt.Sprintf("%s%s/%06d.jsonl", tablesFolder, t.Name, n), lines)
		lines = lines[:0]
		progress(rows)
		return err
	}
	for row, err := range s.Rows(ctx, t) {
		if err != nil {
			return rows, err
		}
		line, err := row.MarshalJSON()
		if err != nil {
			return rows, fmt.Errorf("the table %s: %w", t.Name, err)
		}
		sum.Add(line)
		lines = append(append(lines, line...), '\n')
		rows++
		if len(lines) >= chunk {
			if err := flush(); err != nil {
				return rows, err
			}
		}
	}
	if len(lines) > 0 {
		if err := flush(); err != nil {
			return rows, err
		}
	}
	w.manifest.Tables = append(w.manifest.Tables, TableSum{t, rows, sum.String()})
	return rows, nil
}

// Into is who is told of what is in an archive, as it is read. Either may be nil.
type Into struct {
	Head func(Head) error // before all else, without the files' contents
	Row  func(table database.Table, row database.Row) error
}

// Read reads an archive to its end, and makes sure that it is whole; until it has
// returned, what it gave is not to be believed. The head has the contents of the files.
// It fails with ErrKey, ErrForeign, ErrDamaged or ErrNewer, or with what into says.
func Read(ctx context.Context, from io.Reader, key Key, into Into) (Head, Manifest, error) {
	opened, err := open(from, key)
	if err != nil {
		return Head{}, Manifest{}, err
	}
	failing := &failing{from: opened}
	packed, err := zstd.NewReader(failing, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return Head{}, Manifest{}, err
	}
	defer packed.Close()
	r := reader{tar: tar.NewReader(packed), into: into, seen: map[string]*tableSeen{}}
	err = r.read(ctx)
	if err == nil { // what stands behind is not of it
		var n int64
		if n, err = io.Copy(io.Discard, packed); err == nil && n > 0 {
			err = damaged("something follows its end")
		}
	}
	var own ownError
	switch {
	case err == nil:
		return r.head, r.manifest, nil
	case errors.As(err, &own):
		err = own.error
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, ErrForeign), errors.Is(err, ErrNewer), errors.Is(err, ErrDamaged):
	default:
		err = damaged("%v", err)
	}
	return Head{}, Manifest{}, err
}

// An ownError is one that is not about the archive.
type ownError struct{ error }

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s. Nothing of it is used; take another backup", ErrDamaged, fmt.Sprintf(format, args...))
}

// failing keeps zstd, which reads ahead, from making another error of age's.
type failing struct{ from io.Reader }

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.from.Read(b)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: it was cut or changed (%v). Nothing of it is used; take another backup", ErrDamaged, err)
	}
	return n, err
}

const ageIntro = "age-encryption.org/v1\n"

func open(from io.Reader, key Key) (io.Reader, error) {
	buffered := bufio.NewReaderSize(from, 64<<10)
	intro, err := buffered.Peek(len(ageIntro))
	switch {
	case err != nil && err != io.EOF:
		return nil, fmt.Errorf("read the archive: %w", err)
	case len(intro) < len(ageIntro) && strings.HasPrefix(ageIntro, string(intro)):
		return nil, damaged("it has %d bytes", len(intro))
	case string(intro) != ageIntro:
		return nil, fmt.Errorf("%w: it is not encrypted with age, as all of them are", ErrForeign)
	}
	opened, err := age.Decrypt(buffered, key.identities...)
	if none := new(age.NoIdentityMatchError); errors.As(err, &none) {
		return nil, fmt.Errorf("%w: give the --identity of the public key that it was made for, or its --passphrase-file", ErrKey)
	}
	if err != nil {
		return nil, damaged("its beginning cannot be read (%v)", err)
	}
	return opened, nil
}

type tableSeen struct {
	rows   int64
	sum    database.Sum
	chunks int
}

type reader struct {
	tar      *tar.Reader
	into     Into
	head     Head
	manifest Manifest
	seen     map[string]*tableSeen
	files    []FileSum
}

func (r *reader) next() (string, int64, error) {
	h, err := r.tar.Next()
	if err == io.EOF {
		return "", 0, damaged("it ends before its manifest")
	}
	if err != nil {
		return "", 0, err
	}
	return h.Name, h.Size, nil
}

func (r *reader) json(size int64, into any) error {
	if size > mostHead {
		return damaged("what it says of itself has %d bytes", size)
	}
	b, err := io.ReadAll(r.tar)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return damaged("what it says of itself cannot be read: %v", err)
	}
	return nil
}

func (r *reader) read(ctx context.Context) error {
	h, err := r.tar.Next()
	switch {
	case errors.Is(err, ErrDamaged):
		return err
	case err != nil || h.Name != headName:
		return fmt.Errorf("%w: what is sealed in it is something else", ErrForeign)
	}
	if err := r.json(h.Size, &r.head); err != nil {
		return err
	}
	if r.head.Format > Format {
		return fmt.Errorf("%w: its form is %d, and this one knows no further than %d. Use the version that made it, %s, or a later one", ErrNewer, r.head.Format, Format, r.head.Program)
	}
	if r.head.Format < 1 {
		return damaged("its form is %d", r.head.Format)
	}
	for _, f := range r.head.Files {
		if f.Name == "" || path.Base(f.Name) != f.Name || f.Name[0] == '.' || strings.ContainsAny(f.Name, `\:`) {
			return damaged("it has a file called %q", f.Name)
		}
	}
	if r.into.Head != nil {
		if err := r.into.Head(r.head); err != nil {
			return ownError{err}
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		name, size, err := r.next()
		if err != nil {
			return err
		}
		switch {
		case name == manifestName:
			if err := r.json(size, &r.manifest); err != nil {
				return err
			}
			if _, err := r.tar.Next(); err != io.EOF {
				return cmpErr(err, damaged("something follows its manifest"))
			}
			return r.whole()
		case strings.HasPrefix(name, filesFolder):
			err = r.file(strings.TrimPrefix(name, filesFolder), size)
		case strings.HasPrefix(name, tablesFolder):
			err = r.rows(ctx, strings.TrimPrefix(name, tablesFolder))
		default:
			err = damaged("it holds %q, which no backup does", name)
		}
		if err != nil {
			return err
		}
	}
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func (r *reader) file(name string, size int64) error {
	i := slices.IndexFunc(r.head.Files, func(f File) bool { return f.Name == name })
	if i < 0 || size > mostFile {
		return damaged("it holds the file %q of %d bytes, of which it does not speak", name, size)
	}
	var content bytes.Buffer
	if _, err := content.ReadFrom(r.tar); err != nil {
		return err
	}
	r.head.Files[i].Content = content.Bytes()
	r.files = append(r.files, sumOf(r.head.Files[i]))
	return nil
}

func (r *reader) rows(ctx context.Context, name string) error {
	table, number, _ := strings.Cut(name, "/")
	of := slices.IndexFunc(r.head.Tables, func(t database.Table) bool { return t.Name == table })
	if of < 0 {
		return damaged("it holds the table %q, of which it does not speak", table)
	}
	seen := r.seen[table]
	if seen == nil {
		seen = &tableSeen{}
		r.seen[table] = seen
	}
	seen.chunks++
	if number != fmt.Sprintf("%06d.jsonl", seen.chunks) {
		return damaged("rows of %s come out of their order", table)
	}
	lines := bufio.NewReaderSize(r.tar, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return ctx.Err()
		}
		if err != nil {
			return cmpErr(noEOF(err), damaged("a row of %s is cut", table))
		}
		line = line[:len(line)-1]
		seen.sum.Add(line)
		seen.rows++
		if r.into.Row == nil {
			continue
		}
		var row database.Row
		if err := json.Unmarshal(line, &row); err != nil {
			return damaged("a row of %s is none: %v", table, err)
		}
		if err := r.into.Row(r.head.Tables[of], row); err != nil {
			return ownError{err}
		}
	}
}

func noEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// whole makes sure that all came of which the manifest speaks, and nothing else.
func (r *reader) whole() error {
	if !slices.Equal(r.files, r.manifest.Files) || len(r.files) != len(r.head.Files) {
		return damaged("its files are not those of its manifest")
	}
	if !slices.EqualFunc(r.manifest.Tables, r.head.Tables, func(a TableSum, b database.Table) bool {
		return a.Name == b.Name && slices.Equal(a.Columns, b.Columns)
	}) {
		return damaged("its tables are not those of its manifest")
	}
	for _, t := range r.manifest.Tables {
		seen := r.seen[t.Name]
		if seen == nil {
			seen = &tableSeen{}
		}
		if seen.rows != t.Rows || seen.sum.String() != t.Sum {
			return damaged("of the table %s it holds %d rows, and should hold %d", t.Name, seen.rows, t.Rows)
		}
	}
	return nil
}
