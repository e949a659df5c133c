// Package letter reads a message in MIME as a person reads it: who wrote to whom and what,
// as plain text, and what is attached. It never fails on a message that is not as it should
// be, and shows what can be made out; only that the message cannot be read is an error.
package letter

import (
	"errors"
	"io"
	"net/mail"
	"strings"
	"time"
)

const (
	maxText   = 256 << 10 // of a body that is shown
	maxHead   = 1 << 20   // of the head of a message
	maxLine   = 4 << 10   // of a head line that is shown
	maxHTML   = 8 << 20   // of HTML that is looked through for its text
	maxPeople = 1000      // that are named of a kind
	maxParts  = 1000
	maxNested = 20
)

// A Letter is a message as a person reads it.
type Letter struct {
	From, To, Cc []string // each as "Name <address>"; of very many the last says how many more there are
	Subject      string
	Date         time.Time // zero where it says none
	Text         string    // the body as plain text
	Cut          bool      // the body goes on
	Broken       bool      // the message is not as MIME should be: there may be more in it
	Attachments  []Attachment
}

// An Attachment is what comes with a message.
type Attachment struct {
	Name string
	Type string // media type
	Size int64  // as it is, decoded
}

// Read reads a message.
func Read(r io.Reader) (Letter, error) {
	src := &source{r: r}
	head, body := begin(src)
	l := Letter{
		From: people(head["From"]), To: people(head["To"]), Cc: people(head["Cc"]),
		Subject: line(decode(head.Get("Subject"))),
	}
	l.Date, _ = mail.ParseDate(head.Get("Date"))
	w := walk{letter: &l}
	if text := w.entity(head, body, 0); text != nil {
		l.Text, l.Cut = clean(text.text), text.cut
		if len(l.Text) > maxText { // what is no UTF-8 takes more as what stands for it
			l.Text, l.Cut = strings.ToValidUTF8(l.Text[:maxText], ""), true
		}
	}
	return l, src.err
}

// Open opens an attachment of a message: that of a number, from 0 on, as Read counts them.
// What is read of it comes as the message is read, again from its begin for each step back.
func Open(r io.ReadSeekCloser, number int) (io.ReadSeekCloser, Attachment, error) {
	l, err := Read(r)
	if err == nil && (number < 0 || number >= len(l.Attachments)) {
		err = ErrNone
	}
	if err != nil {
		return nil, Attachment{}, err
	}
	return &content{message: r, number: number, size: l.Attachments[number].Size}, l.Attachments[number], nil
}

// ErrNone: a message has no attachment of that number.
var ErrNone = errors.New("the message has no such attachment")

// A content is an attachment of a message that is read from where it is.
type content struct {
	message  io.ReadSeekCloser
	number   int
	size     int64
	at, want int64
	part     *io.PipeReader // what is read now, at at
	done     chan struct{}  // closed once nothing is read any more
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.want
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the begin of an attachment")
	}
	c.want = offset
	return offset, nil
}

func (c *content) Read(b []byte) (int, error) {
	if c.want >= c.size {
		return 0, io.EOF
	}
	if c.part == nil || c.at > c.want {
		if err := c.begin(); err != nil {
			return 0, err
		}
	}
	if skip := c.want - c.at; skip > 0 {
		n, err := io.CopyN(io.Discard, c.part, skip)
		if c.at += n; err != nil {
			return 0, err
		}
	}
	n, err := c.part.Read(b)
	c.at += int64(n)
	c.want = c.at
	return n, err
}

func (c *content) begin() error {
	c.end()
	if _, err := c.message.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		src := &source{r: c.message}
		head, body := begin(src)
		part := walk{letter: &Letter{}, wanted: c.number + 1, to: w}
		part.entity(head, body, 0)
		err := src.err
		if err == nil {
			err = io.EOF
		}
		w.CloseWithError(err)
	}()
	c.part, c.at, c.done = r, 0, done
	return nil
}

func (c *content) end() {
	if c.part != nil {
		c.part.Close()
		<-c.done
		c.part = nil
	}
}

func (c *content) Close() error {
	c.end()
	return c.message.Close()
}
