package export

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"net/textproto"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// A MailForm is what messages are exported as.
type MailForm string

const (
	EML  MailForm = "eml"  // each is a file in its folder
	Mbox MailForm = "mbox" // a file for each folder, which has the messages one after the other
)

// errNoMIME: the vault holds a message for Exchange only.
var errNoMIME = errors.New("it is held as Exchange exports it, and not as MIME (.eml) in this restore point")

// Messages are what of a mailbox's point is exported by Mail.
type Messages struct {
	At   string // a folder of the point, "" for all
	Form MailForm
	Only func(backup.ItemID) (bool, error) // if not nil, whether a message is wanted
	One  string                            // if not empty, the name of the one file that all messages go into; Form is Mbox
	Temp string                            // a folder that has room for what is exported of one folder
}

// Mail exports the messages of a mailbox's point, and nothing else of it: only they have a
// form that other programs read. What the point holds for Exchange alone is told: each
// message, and of a folder for events or people how much there is.
//
// No library is used for the form of an mbox: those that there are quote "From " but not
// ">From ", so that a message does not come back as it was.
func Mail(ctx context.Context, v *vault.Vault, tree string, m Messages, to Target, progress func(messages int)) (Report, error) {
	x := &mailExport{export: &export{vault: v, to: to, renamed: map[string]string{}}, Messages: m, tree: tree, told: progress}
	defer x.close()
	root, err := x.find(ctx, tree, strings.Trim(path.Clean("/"+m.At), "/"))
	if err == nil {
		err = x.all(ctx, root)
	}
	return x.report, err
}

type mailExport struct {
	*export
	Messages
	tree string
	told func(messages int)
	box  *os.File // the mbox that is being made
	in   int      // messages in it
}

func (x *mailExport) close() {
	if x.box != nil {
		x.box.Close()
		os.Remove(x.box.Name())
	}
}

// ofMail takes an id apart that the vault has for what is beside the items of a mailbox.
func ofMail(id backup.ItemID) (of backup.ItemID, own string) {
	if i := strings.LastIndexByte(string(id), ','); i >= 0 {
		return id[:i], string(id[i+1:])
	}
	return id, ""
}

func (x *mailExport) all(ctx context.Context, root backup.ItemID) error {
	n, ok, err := x.vault.Stat(ctx, x.tree, root)
	if err != nil {
		return fmt.Errorf("read the point: %w", err)
	}
	if _, own := ofMail(root); !ok || n.Kind != backup.Folder || own != "" && own != "recoverable" {
		return fmt.Errorf("%w: %q is no folder of the mailbox", ErrNoPath, x.At)
	}
	if err := x.lacks(ctx, x.tree, strings.Trim(path.Clean("/"+x.At), "/"), ""); err != nil {
		return err
	}
	if x.One != "" {
		if err := x.open(); err != nil {
			return err
		}
	}
	name := ""
	if n.Parent != "" {
		name = n.Name
	}
	if err := x.mailFolder(ctx, root, name); err != nil {
		return err
	}
	if x.One != "" {
		return x.finish(x.One)
	}
	return nil
}

// mailFolder exports a folder to a path, and those in it.
func (x *mailExport) mailFolder(ctx context.Context, id backup.ItemID, at string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	held, err := listed(x.vault.List(ctx, x.tree, id))
	if err != nil {
		if ends(err) {
			return err
		}
		x.remark(Remark{Path: path.Join(at, "*"), Err: err})
		return nil
	}
	class := ""
	var months, below []vault.Entry
	for _, e := range held {
		switch _, own := ofMail(e.ID); {
		case own == "folder":
			class = x.classOf(ctx, e)
		case e.Kind != backup.Folder:
		case own == "" || own == "recoverable":
			below = append(below, e)
		default:
			months = append(months, e)
		}
	}
	if x.Form == Mbox && x.One == "" {
		if err := x.open(); err != nil {
			return err
		}
	}
	others, made := 0, false
	for _, month := range months {
		if err := x.month(ctx, month.ID, at, class, &others, &made); err != nil {
			return err
		}
	}
	if others > 0 {
		x.remark(Remark{Path: path.Join(at, "*"), Note: fmt.Sprintf("%d items are no messages, and left out: only the vault's own form has them", others)})
	}
	if x.Form == Mbox && x.One == "" && x.in > 0 {
		if err := x.above(at); err != nil {
			return err
		}
		if err := x.finish(cmp.Or(at, "mailbox") + ".mbox"); err != nil {
			return err
		}
	}
	for _, e := range below {
		if err := x.mailFolder(ctx, e.ID, path.Join(at, strings.ReplaceAll(e.Name, "/", "_"))); err != nil {
			return err
		}
	}
	return nil
}

// classOf reads what a folder is for.
func (x *mailExport) classOf(ctx context.Context, e vault.Entry) string {
	var f struct {
		Type string `json:"type"`
	}
	if content, err := x.vault.Open(ctx, e.Content); err == nil {
		json.NewDecoder(io.LimitReader(content, 1<<20)).Decode(&f)
		content.Close()
	}
	return f.Type
}

// month exports what a folder got in a month.
func (x *mailExport) month(ctx context.Context, id backup.ItemID, at, class string, others *int, made *bool) error {
	held, err := listed(x.vault.List(ctx, x.tree, id))
	if err != nil {
		if ends(err) {
			return err
		}
		x.remark(Remark{Path: path.Join(at, "*"), Err: err})
		return nil
	}
	mimes := map[backup.ItemID]vault.Entry{}
	for _, e := range held {
		if of, own := ofMail(e.ID); own == "eml" {
			mimes[of] = e
		}
	}
	slices.SortFunc(held, func(a, b vault.Entry) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range held {
		if _, own := ofMail(e.ID); own != "" || e.Kind != backup.File {
			continue
		}
		if x.Only != nil {
			if wanted, err := x.Only(e.ID); err != nil {
				return err
			} else if !wanted {
				continue
			}
		}
		mime, ok := mimes[e.ID]
		if !ok && class != "" && !strings.HasPrefix(class, "IPF.Note") && x.Only == nil {
			*others++
			continue
		}
		where := path.Join(at, e.Name)
		if !ok {
			x.remark(Remark{Path: where, Err: errNoMIME})
			continue
		}
		if mime.CTag != e.Content {
			x.remark(Remark{Path: where, Note: "the message changed since it was read as MIME: it is exported as it was before"})
		}
		failed := x.report.Failed
		if err := x.message(ctx, mime, at, made); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if ends(err) {
				return err
			}
			x.remark(Remark{Path: where, Err: err})
			continue
		}
		if x.report.Failed == failed {
			x.report.Messages++
		}
		if x.told != nil {
			x.told(x.report.Messages + x.report.Failed)
		}
	}
	return nil
}

// message exports one message.
func (x *mailExport) message(ctx context.Context, e vault.Entry, at string, made *bool) error {
	if x.Form == Mbox {
		return x.add(ctx, e)
	}
	if !*made && at != "" {
		if err := x.export.folders(at); err != nil {
			return err
		}
	}
	*made = true
	return x.file(ctx, file{Node: vault.Node{Entry: e, Path: path.Join(at, e.Name)}, at: path.Join(at, e.Name)})
}

// above makes the folders that a path is in.
func (x *mailExport) above(at string) error {
	if dir := path.Dir(at); dir != "." && dir != "" {
		return x.export.folders(dir)
	}
	return nil
}

// open begins an mbox.
func (x *mailExport) open() (err error) {
	x.in = 0
	if x.box == nil {
		x.box, err = os.CreateTemp(x.Temp, partial+"*")
	} else if err = x.box.Truncate(0); err == nil {
		_, err = x.box.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errTarget, err)
	}
	return nil
}

// finish gives the mbox that was begun its place.
func (x *mailExport) finish(at string) error {
	size, err := x.box.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("%w: %w", errTarget, err)
	}
	want := path.Join(x.where(path.Dir(at)), path.Base(at))
	as, there, err := x.to.file(want, vault.Entry{Size: size}, x.box)
	switch {
	case ends(err):
		return err
	case err != nil:
		x.remark(Remark{Path: at, Err: err})
		return nil
	case as != want:
		x.remark(Remark{Path: at, As: as})
	}
	x.report.Files++
	x.report.Bytes += size
	if there {
		x.report.There++
	}
	return nil
}

// add puts a message into the mbox. One that cannot be read to its end is taken back.
func (x *mailExport) add(ctx context.Context, e vault.Entry) error {
	before, err := x.box.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("%w: %w", errTarget, err)
	}
	content, err := x.vault.Open(ctx, e.Content)
	if err != nil {
		return err
	}
	defer content.Close()
	if err = writeMbox(writing{x.box}, content, e.Size, e.Created); err != nil {
		taken := x.box.Truncate(before)
		if _, sought := x.box.Seek(before, io.SeekStart); taken != nil || sought != nil {
			return fmt.Errorf("%w: %w", errTarget, errors.Join(taken, sought))
		}
		return err
	}
	x.in++
	return nil
}

// writeMbox writes a message as an mbox has it, in the form mboxrd: after a line that says
// who sent it when, each line ends as Unix ends lines, and one of "From " after any number
// of ">" has one more of these, so that it can be told from the first and be taken back.
func writeMbox(to io.Writer, message io.Reader, size int64, at time.Time) error {
	w := bufio.NewWriterSize(to, 64<<10)
	read := &counted{r: message}
	r := bufio.NewReaderSize(read, 256<<10)
	head, err := r.Peek(256 << 10)
	if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
		return err
	}
	fmt.Fprintf(w, "From %s %s\n", sender(head), at.UTC().Format(time.ANSIC))
	begins, last := true, byte('\n')
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return err
		}
		if begins && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
			w.WriteByte('>')
		}
		begins = err == nil
		if begins && bytes.HasSuffix(line, []byte("\r\n")) {
			line = append(line[:len(line)-2], '\n')
		}
		if len(line) > 0 {
			last = line[len(line)-1]
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
	}
	if read.n != size {
		return fmt.Errorf("%w: it has %d bytes in the vault, and had %d", vault.ErrDamaged, read.n, size)
	}
	if last != '\n' {
		w.WriteByte('\n')
	}
	w.WriteByte('\n')
	return w.Flush()
}

type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// sender is the address of who sent a message, by how it begins; "-" if that is unknown.
func sender(head []byte) string {
	h, _ := textproto.NewReader(bufio.NewReader(bytes.NewReader(head))).ReadMIMEHeader()
	for _, name := range []string{"Return-Path", "Sender", "From"} {
		if all, err := mail.ParseAddressList(h.Get(name)); err == nil && len(all) > 0 && !strings.ContainsAny(all[0].Address, " \t\r\n") {
			return all[0].Address
		}
	}
	return "-"
}
