package drive

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"holdfast/internal/backup"
)

const (
	// MaxExport is how many items one export may name.
	MaxExport = 20
	// maxWord is how long a text in an export may be that is no content.
	maxWord = 64 << 10
	// maxExported is more than an item has: the service takes none of more than 150 MB.
	maxExported = 512 << 20
)

// An Export holds items as the source streams them, in a temporary file. What is in a
// stream is the source's affair: it is for an import only. It must be closed.
type Export struct {
	file  *os.File
	items map[backup.ItemID]Exported
}

// An Exported item is one of an export.
type Exported struct {
	ChangeKey string // of what was exported
	Size      int64
	Err       error // why it could not be, if it could not

	at int64 // in the file
}

// Item returns what came of an item. What the answer did not speak of failed.
func (x *Export) Item(id backup.ItemID) Exported {
	e, ok := x.items[id]
	if !ok {
		e.Err = &Error{Op: "export item " + string(id), Err: errors.New("the answer does not speak of it"), kind: ErrUnavailable}
	}
	return e
}

// Read returns the stream of an item that was exported.
func (x *Export) Read(id backup.ItemID) *io.SectionReader {
	e := x.items[id]
	return io.NewSectionReader(x.file, e.at, e.Size)
}

// Close gives the file back.
func (x *Export) Close() { drop(x.file) }

// ExportMail exports up to MaxExport items of a mailbox into a file in dir. The failure
// of a single item is that item's alone; what it returns is the failure of all.
func (c *Client) ExportMail(ctx context.Context, m backup.DriveID, dir string, ids ...backup.ItemID) (*Export, error) {
	op := fmt.Sprintf("export %d items of mailbox %s", len(ids), m)
	if len(ids) == 1 {
		op = onItem("export item", m, ids[0])
	}
	file, err := scratch(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	x := &Export{file: file}
	asked := make(map[backup.ItemID]bool, len(ids))
	for _, id := range ids {
		asked[id] = true
	}
	k := onMail(m, op, http.MethodPost, c.inMailbox(m, "exportItems"))
	k.cost, k.limit, k.itemOf = costList, longCall, m
	k.json = struct {
		IDs []backup.ItemID `json:"itemIds"`
	}{ids}
	var size int64
	_, err = c.do(ctx, k, streamed(func(r io.Reader) error {
		x.items = make(map[backup.ItemID]Exported, len(ids))
		size = 0
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return &local{err}
		}
		s := exportScan{r: bufio.NewReaderSize(r, 64<<10), file: file}
		return s.answer(func(id backup.ItemID, e Exported) error {
			if _, twice := x.items[id]; twice || !asked[id] {
				return errOtherItem
			}
			if failed, ok := errors.AsType[*Error](e.Err); ok {
				failed.Op = onItem("export item", m, id)
			}
			size += e.Size
			x.items[id] = e
			return nil
		})
	}))
	if err == nil {
		err = c.moved(ctx, op, size, 0)
	}
	if err != nil {
		x.Close()
		return nil, notThere(err)
	}
	return x, nil
}

// A streamed answer is read as it comes, by what may be called once for each try.
type streamed func(io.Reader) error

// A local failure is not the source's.
type local struct{ error }

func (l *local) Unwrap() error { return l.error }

// An exportScan reads the answer of an export without holding it.
type exportScan struct {
	r    *bufio.Reader
	file *os.File
	at   int64
}

// errNoExport: the answer is not that of an export.
var errNoExport = errors.New("the answer is not that of an export")

// answer reads all, and yields the items as they come.
func (s *exportScan) answer(yield func(backup.ItemID, Exported) error) error {
	whole := false
	err := s.object(func(key string) error {
		if key != "value" {
			return s.skip(nil)
		}
		whole = true
		return s.array(func() error {
			id, e, err := s.item()
			if err == nil {
				err = yield(id, e)
			}
			return err
		})
	})
	if err == nil && !whole {
		err = errNoExport
	}
	return err
}

func (s *exportScan) item() (id backup.ItemID, e Exported, err error) {
	var fault []byte
	has := false
	e.at = s.at
	err = s.object(func(key string) error {
		b, err := s.peek()
		switch {
		case err != nil:
			return err
		case b == 'n' || key != "data" && key != "error" && b != '"':
			return s.skip(nil)
		}
		switch key {
		case "itemId":
			text, err := s.word()
			id = backup.ItemID(text)
			return err
		case "changeKey":
			e.ChangeKey, err = s.word()
			return err
		case "error":
			var raw bytes.Buffer
			err := s.skip(&raw)
			fault = raw.Bytes()
			return err
		case "data":
			if has {
				return errNoExport
			}
			has = true
			e.Size, err = s.content()
			return err
		}
		return s.skip(nil)
	})
	switch {
	case err != nil:
	case id == "":
		err = errNoExport
	case fault != nil:
		var w mailError
		e.Err = w.take(fault)
	case !has || e.Size == 0:
		e.Err = &Error{Status: http.StatusOK, Err: errors.New("it comes without its content"), kind: ErrContent}
	}
	return id, e, err
}

// content decodes a text of base64 into the file.
func (s *exportScan) content() (int64, error) {
	text := &textReader{s: s}
	if b, err := s.peek(); err != nil || b != '"' {
		return 0, cmpErr(err, errNoExport)
	}
	s.r.Discard(1)
	into := &fileWriter{s.file}
	n, err := io.Copy(into, io.LimitReader(base64.NewDecoder(base64.StdEncoding, text), maxExported+1))
	s.at += n
	switch {
	case err != nil:
		return n, err
	case n > maxExported:
		return n, errors.New("the item is too long")
	case !text.ended:
		return n, errNoExport
	}
	return n, nil
}

// A fileWriter marks the failures of our own file.
type fileWriter struct{ f *os.File }

func (w *fileWriter) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	if err != nil {
		err = &local{err}
	}
	return n, err
}

// A textReader reads a JSON text to the quotation mark that ends it.
type textReader struct {
	s     *exportScan
	ended bool
}

func (t *textReader) Read(b []byte) (int, error) {
	if t.ended {
		return 0, io.EOF
	}
	r := t.s.r
	if _, err := r.Peek(1); err != nil {
		return 0, unexpected(err)
	}
	held, _ := r.Peek(min(r.Buffered(), len(b)))
	n := bytes.IndexAny(held, `"\`)
	if n < 0 {
		n = len(held)
	}
	if n > 0 {
		copy(b, held[:n])
		r.Discard(n)
		return n, nil
	}
	if held[0] == '"' {
		r.Discard(1)
		t.ended = true
		return 0, io.EOF
	}
	c, err := escaped(r)
	if err != nil {
		return 0, err
	}
	b[0] = c
	return 1, nil
}

// escaped reads an escape that stands for one byte of ASCII.
func escaped(r *bufio.Reader) (byte, error) {
	raw, err := r.Peek(2)
	if err != nil {
		return 0, unexpected(err)
	}
	if raw[1] == 'u' {
		if raw, err = r.Peek(6); err != nil {
			return 0, unexpected(err)
		}
	}
	var text string
	if err := json.Unmarshal([]byte(`"`+string(raw)+`"`), &text); err != nil || len(text) != 1 {
		return 0, errNoExport
	}
	r.Discard(len(raw))
	return text[0], nil
}

func (s *exportScan) object(member func(key string) error) error {
	if err := s.expect('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		b, err := s.peek()
		if err != nil {
			return err
		}
		if b == '}' {
			s.r.Discard(1)
			return nil
		}
		if !first {
			if err := s.expect(','); err != nil {
				return err
			}
		}
		key, err := s.word()
		if err == nil {
			err = s.expect(':')
		}
		if err == nil {
			err = member(key)
		}
		if err != nil {
			return err
		}
	}
}

func (s *exportScan) array(element func() error) error {
	if err := s.expect('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		b, err := s.peek()
		if err != nil {
			return err
		}
		if b == ']' {
			s.r.Discard(1)
			return nil
		}
		if !first {
			if err := s.expect(','); err != nil {
				return err
			}
		}
		if err := element(); err != nil {
			return err
		}
	}
}

// word reads a short text.
func (s *exportScan) word() (text string, err error) {
	var raw bytes.Buffer
	if b, err := s.peek(); err != nil || b != '"' {
		return "", cmpErr(err, errNoExport)
	}
	if err := s.skip(&raw); err != nil {
		return "", err
	}
	if json.Unmarshal(raw.Bytes(), &text) != nil {
		return "", errNoExport
	}
	return text, nil
}

// skip passes over a value, which it keeps in raw if that is given.
func (s *exportScan) skip(raw *bytes.Buffer) error {
	if _, err := s.peek(); err != nil {
		return err
	}
	depth, inText := 0, false
	for n := 0; ; n++ {
		b, err := s.r.ReadByte()
		if err != nil {
			return unexpected(err)
		}
		if !inText && depth == 0 && n > 0 && bytes.IndexByte([]byte(",}]"), b) >= 0 {
			return s.r.UnreadByte() // it ended a number or a word
		}
		if n == maxWord {
			return errNoExport
		}
		if raw != nil {
			raw.WriteByte(b)
		}
		switch {
		case inText && b == '\\':
			if b, err = s.r.ReadByte(); err != nil {
				return unexpected(err)
			}
			if raw != nil {
				raw.WriteByte(b)
			}
			continue
		case b == '"':
			inText = !inText
		case inText:
			continue
		case b == '{' || b == '[':
			depth++
		case b == '}' || b == ']':
			depth--
		}
		if depth == 0 && !inText && (b == '"' || b == '}' || b == ']') {
			return nil
		}
	}
}

func (s *exportScan) peek() (byte, error) {
	for {
		b, err := s.r.Peek(1)
		switch {
		case err != nil:
			return 0, unexpected(err)
		case bytes.IndexByte([]byte(" \t\r\n"), b[0]) < 0:
			return b[0], nil
		}
		s.r.Discard(1)
	}
}

func (s *exportScan) expect(want byte) error {
	b, err := s.peek()
	if err != nil || b != want {
		return cmpErr(err, errNoExport)
	}
	s.r.Discard(1)
	return nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// unexpected is an end where there is none.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
