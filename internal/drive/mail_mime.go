package drive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"

	"holdfast/internal/backup"
)

// A MIME is a message as mail programs have it, in a temporary file. It must be closed.
type MIME struct {
	*io.SectionReader
	Sum [sha256.Size]byte // of all of it
	// Ends says that nothing speaks against its being whole: it begins as messages do,
	// and has the end of its last part, if it is of several. Of one part alone only the
	// transport tells that it was not cut.
	Ends bool

	file *os.File
}

// Close gives the file back.
func (x *MIME) Close() { drop(x.file) }

// MailMIME reads a message of a user's mailbox as MIME into a file in dir. What is no
// message that the source would give so is ErrNotFound, as is one that is gone. A page or
// an error in the message's place, and nothing at all, is ErrContent.
func (c *Client) MailMIME(ctx context.Context, m backup.DriveID, user backup.ObjectID, id backup.ItemID, dir string) (*MIME, error) {
	op := onItem("read as MIME item", m, id)
	file, err := scratch(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	k := onMail(m, op, http.MethodGet, c.at("users", string(user), "messages", string(id), "$value"))
	k.header.Set("Accept", "text/plain, */*")
	k.cost, k.limit, k.itemOf = costGet, longCall, m
	x := &MIME{file: file}
	var size int64
	_, err = c.do(ctx, k, streamed(func(r io.Reader) error {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return &local{err}
		}
		sum := sha256.New()
		n, err := io.Copy(io.MultiWriter(&fileWriter{file}, sum), io.LimitReader(r, maxExported+1))
		if err == nil && n > maxExported {
			err = errors.New("the message is too long")
		}
		size, x.Sum = n, [sha256.Size]byte(sum.Sum(nil))
		return err
	}))
	if err == nil {
		err = c.moved(ctx, op, size, 0)
	}
	if err == nil {
		x.SectionReader = io.NewSectionReader(file, 0, size)
		err = x.look(op)
	}
	if err != nil {
		x.Close()
		return nil, notThere(err)
	}
	return x, nil
}

// MayReadMail returns nil if the source gives messages of a user's mailbox, whatever it
// says of a single one, and ErrDenied if it gives none.
func (c *Client) MayReadMail(ctx context.Context, m backup.DriveID, user backup.ObjectID) error {
	k := onMail(m, fmt.Sprintf("read a message of mailbox %s", m), http.MethodGet, c.at("users", string(user), "messages", "?$top=1&$select=id"))
	k.cost, k.itemOf = costGet, m
	_, err := c.do(ctx, k, &struct{}{})
	return err
}

const (
	// maxHead is how much of a message is looked at for its head.
	maxHead = 256 << 10
	// maxTail is how much of it is looked at for the end of its last part.
	maxTail = 64 << 10
)

// look looks at how a message begins and ends.
func (x *MIME) look(op string) error {
	head := make([]byte, min(maxHead, x.Size()))
	if _, err := x.ReadAt(head, 0); err != nil && err != io.EOF {
		return fmt.Errorf("%s: %w", op, err)
	}
	if pageLike(head) {
		return &Error{Op: op, Status: http.StatusOK, Err: doubt(looksLikePage), kind: ErrContent}
	}
	if len(head) == 0 {
		return &Error{Op: op, Status: http.StatusOK, Err: errors.New("it comes without its content"), kind: ErrContent}
	}
	kind, ok := contentType(head)
	if !ok {
		return nil
	}
	kind, params, _ := mime.ParseMediaType(kind)
	boundary := params["boundary"]
	if x.Ends = !strings.HasPrefix(kind, "multipart/") || boundary == ""; x.Ends {
		return nil
	}
	tail := make([]byte, min(maxTail, x.Size()))
	if _, err := x.ReadAt(tail, x.Size()-int64(len(tail))); err != nil && err != io.EOF {
		return fmt.Errorf("%s: %w", op, err)
	}
	x.Ends = bytes.Contains(tail, []byte("\n--"+boundary+"--"))
	return nil
}

// contentType returns what the head of a message says that it is, and whether it is one.
func contentType(head []byte) (kind string, ok bool) {
	var name string
	s := bufio.NewScanner(bytes.NewReader(head))
	s.Buffer(nil, maxHead)
	for s.Scan() {
		line := strings.TrimSuffix(s.Text(), "\r")
		if line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if name == "content-type" {
				kind += line
			}
			continue
		}
		before, value, colon := strings.Cut(line, ":")
		if name = strings.ToLower(strings.TrimSpace(before)); !colon || strings.ContainsAny(name, " \t<>\"'{}") {
			name = ""
			continue
		}
		if ok = true; name == "content-type" && kind == "" {
			kind = value
		}
	}
	return strings.TrimSpace(kind), ok
}

// scratch makes a file in dir that has no name, where the system allows it.
func scratch(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, ".holdfast-*")
	if err == nil {
		os.Remove(file.Name())
	}
	return file, err
}

// drop gives a file of scratch back.
func drop(file *os.File) {
	file.Close()
	os.Remove(file.Name()) // where it could not be removed while it was open
}
