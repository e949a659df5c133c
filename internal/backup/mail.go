package backup

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"time"
	"unicode"
)

// A MailKind is what an item of a mailbox is.
type MailKind string

const (
	MailEmail    MailKind = "email"
	MailCalendar MailKind = "calendar"
	MailContact  MailKind = "contact"
	MailTask     MailKind = "task"
	MailNote     MailKind = "note"
	MailOther    MailKind = "other"
)

// MailKindOf returns what an item of a message class is, such as IPM.Note. A
// meeting request is an e-mail; the meeting in the calendar is none.
func MailKindOf(class string) MailKind {
	class = strings.ToLower(class)
	for _, k := range []struct {
		class string
		kind  MailKind
	}{
		{"ipm.appointment", MailCalendar}, {"ipm.contact", MailContact}, {"ipm.distlist", MailContact}, {"ipm.task", MailTask},
		{"ipm.stickynote", MailNote}, {"ipm.note", MailEmail}, {"ipm.post", MailEmail}, {"ipm.schedule", MailEmail}, {"report", MailEmail},
	} {
		if class == k.class || strings.HasPrefix(class, k.class+".") {
			return k.kind
		}
	}
	return MailOther
}

// A MailItem is an item of a mailbox as it can be searched for.
type MailItem struct {
	ID         ItemID
	Folder     string // its path, by which it is shown; a folder renamed later need not be followed
	Kind       MailKind
	Subject    string    // of a contact its name, of a note what it begins with
	Sender     Person    // of an event its organizer
	Recipients []Person  // all of To, Cc and Bcc; of an event its attendees
	At         time.Time // when it was received or sent; of an event when it begins; zero where that is not known
	Attachment bool
	Size       int64
}

// A Person is who sends or receives mail, as far as it is known.
type Person struct{ Name, Address string }

// String returns p as mail programs show it: "Amala Rao <amala@contoso.com>".
func (p Person) String() string {
	switch {
	case p.Address == "":
		return p.Name
	case p.Name == "" || strings.EqualFold(p.Name, p.Address):
		return p.Address
	}
	return p.Name + " <" + p.Address + ">"
}

// IsWord reports whether a search for mail looks at r: at letters and digits, and
// at what belongs to them.
func IsWord(r rune) bool { return unicode.In(r, unicode.L, unicode.M, unicode.N) }

// MaxPickedMail is how many items and folders of a mailbox an artifact restores that were
// picked one by one: as many as a page of them has at most.
const MaxPickedMail = 200

// pickedMail begins what PickedMail writes, and no expression of ParseMailQuery.
const pickedMail = "picked:"

// PickedMail is the Query of an artifact of a mailbox that restores items and folders of a
// point which were picked one by one. It does not depend on their order.
func PickedMail(refs []ItemRef) string {
	refs = slices.Clone(refs)
	slices.SortFunc(refs, func(a, b ItemRef) int { return bytes.Compare(a[:], b[:]) })
	query := pickedMail
	for _, r := range slices.Compact(refs) {
		query += " " + hex.EncodeToString(r[:])
	}
	return query
}

// PickedOf returns which items and folders a Query is of that PickedMail wrote. ok is false
// for every other.
func PickedOf(query string) (refs []ItemRef, ok bool) {
	text, ok := strings.CutPrefix(query, pickedMail)
	for one := range strings.FieldsSeq(text) {
		var r ItemRef
		if b, err := hex.DecodeString(one); !ok || err != nil || copy(r[:], b) != len(r) {
			return nil, false
		}
		refs = append(refs, r)
	}
	return refs, ok
}
