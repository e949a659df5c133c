package simtenant

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"strings"
	"time"
)

// An exported item is a stream of our own, as Exchange's is of its own: a line
// that says what it is, a line of properties, the item's file as it lies on disk,
// and the SHA-256 of all that. Who exports one keeps it as it came.

const streamMagic = "Holdfast mailbox item 1\n"

// streamHead is the line of properties.
type streamHead struct {
	Class      string    `json:"class"`
	Ext        string    `json:"ext"` // of the file's name
	Received   time.Time `json:"received"`
	Created    time.Time `json:"created"`
	Flags      string    `json:"flags,omitempty"` // Maildir's letters
	Complete   bool      `json:"complete,omitempty"`
	Categories []string  `json:"categories,omitempty"`
	SearchKey  []byte    `json:"searchKey,omitempty"`
	Size       int64     `json:"size"` // of the file
}

// letters are Maildir's for the flags.
func (f mailFlags) letters() string {
	var b strings.Builder
	for _, l := range maildirLetters {
		if f&l.flag != 0 {
			b.WriteByte(l.letter)
		}
	}
	return b.String()
}

// streamHead is what a stream says of an item.
func (it *mailItem) streamHead(size int64) streamHead {
	h := streamHead{
		Class: it.class, Ext: itemExt(it.file.name), Received: it.received.time().UTC(), Created: it.created.time().UTC(),
		Flags: it.flags.letters(), Complete: it.flags&isComplete != 0, Categories: it.categories, Size: size,
	}
	if it.search != [16]byte{} {
		h.SearchKey = it.search[:]
	}
	return h
}

// begin is what precedes the file.
func (h streamHead) begin() ([]byte, error) {
	line, err := json.Marshal(h)
	return append(append([]byte(streamMagic), line...), '\n'), err
}

// write writes the stream of a file.
func (h streamHead) write(w io.Writer, file io.Reader) error {
	begin, err := h.begin()
	if err != nil {
		return err
	}
	sum := sha256.New()
	both := io.MultiWriter(w, sum)
	if _, err := both.Write(begin); err != nil {
		return err
	}
	if _, err := io.CopyN(both, file, h.Size); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

// readStream takes a stream apart. It reports false for what is none, or not whole.
func readStream(data []byte) (h streamHead, file []byte, ok bool) {
	n := len(data) - sha256.Size
	if n < 0 {
		return h, nil, false
	}
	if sum := sha256.Sum256(data[:n]); !bytes.Equal(sum[:], data[n:]) {
		return h, nil, false
	}
	rest, ok := bytes.CutPrefix(data[:n], []byte(streamMagic))
	line, file, ok2 := bytes.Cut(rest, []byte("\n"))
	if !ok || !ok2 || json.Unmarshal(line, &h) != nil {
		return h, nil, false
	}
	known := h.Ext == extMail || h.Ext == extCalendar || h.Ext == extContact || h.Ext == extNote
	return h, file, known && h.Class != "" && int64(len(file)) == h.Size && len(h.SearchKey) <= 16
}

// flags are what the letters and Complete say.
func (h streamHead) flags() mailFlags {
	_, flags := maildirName(":2," + h.Flags)
	if h.Complete {
		flags |= isComplete
	}
	return flags
}
