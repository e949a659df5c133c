package console

import (
	"context"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/internal/client"
)

// A heldAnswer is a folder or an item that a point of a mailbox holds.
type heldAnswer struct {
	ItemKey, Type, Name, Path, Sender string
	ItemsCount                        *int // nil where it was not counted
	ItemDateTime                      time.Time
	SizeInBytes                       string
	HasAttachments, IsReadable        bool
	Unread                            *struct { // why the point does not hold it as it was
		Message string
		IsHeld  bool
	}
}

// A messageAnswer is an item of a mailbox as it is read.
type messageAnswer struct {
	heldAnswer
	Subject, Text                    string
	From, ToRecipients, CcRecipients []string
	SentDateTime                     time.Time
	IsTextCut, IsBroken              bool
	Attachments                      []struct{ ID, Name, ContentType, SizeInBytes string }
	Note                             string `json:"@holdfast.note"`
}

// A mailFolder is a folder of the tree: those in it are known if the way leads through it.
type mailFolder struct {
	heldAnswer
	Link   string
	Here   bool
	Folded []mailFolder
}

// A mailRow is an item of a folder as the list shows it.
type mailRow struct {
	heldAnswer
	Link   string
	Chosen bool
}

// A mailboxPage is a point of a mailbox as a mail program shows one.
type mailboxPage struct {
	Point   pointAnswer
	Unit    unitAnswer
	Folders []mailFolder
	Here    string // the name of the folder that is shown; "" for none
	Items   []mailRow
	First   string
	Next    string
	Message *messageAnswer
	Wrong   string // the message cannot be read
	Late    bool   // for want of time, so that it can be had all the same
	Lack    string // why the point does not hold the folder that is shown as it was
	Key     string // its own part of its key
	Folder  string // what has the folder that is shown restored, as Pick
	Trail   []string
}

// Restore is the address that has something of the point restored by itself.
func (p mailboxPage) Restore(pick string) template.URL {
	return template.URL("/console/points/" + url.PathEscape(p.Point.ID) + "/restore?" + url.Values{"item": {pick}, "t": p.Trail}.Encode()) // which is escaped
}

// Pick is what has something of a point restored by itself: its key, and what it is called,
// which of a folder ends with a stroke.
func (h heldAnswer) Pick() string {
	if h.Type == "folder" {
		return h.ItemKey + ":" + h.Path + "/"
	}
	return h.ItemKey + ":" + strings.TrimPrefix(h.Path+"/", "/") + h.Name
}

// messageTime is how long a page waits for a message: the rest of it is worth showing.
const messageTime = 8 * time.Second

// mailAt is the address of holdfast.mail of a folder of the point.
func (v *visit) mailAt(function, key string) string {
	at := pointSet + "/" + url.PathEscape(v.r.PathValue("id")) + "/holdfast." + function
	if key != "" {
		at += "/" + url.PathEscape(key)
	}
	return at
}

// readMailbox shows what is in a folder of a point of a mailbox, and one message.
func readMailbox(v *visit) error {
	p, err := get[pointAnswer](v.ctx(), v.api, pointSet+"/"+url.PathEscape(v.r.PathValue("id"))+"?$expand=protectionUnit")
	if err != nil {
		return err
	}
	page := mailboxPage{Point: p, Unit: v.unitOfPoint(p), Trail: v.r.URL.Query()["t"]}
	v.ofUnit(page.Unit)
	if page.Unit.Of() != client.Mailboxes {
		return errNoPage
	}
	q := v.r.URL.Query()
	at := crumbs(q)
	prefix := ""
	var tree func(key string, above []crumb) ([]mailFolder, error)
	tree = func(key string, above []crumb) (all []mailFolder, err error) {
		for value, err := range v.api.All(v.ctx(), v.mailAt("mail", key)) {
			if err != nil {
				return all, err
			}
			var held heldAnswer
			if err := json.Unmarshal(value, &held); err != nil {
				return all, err
			}
			if held.Type != "folder" || len(all) == maxItems {
				break // folders come first
			}
			i := strings.LastIndexByte(held.ItemKey, ',')
			prefix = held.ItemKey[:i+1]
			f := mailFolder{heldAnswer: held}
			below := append(above[:len(above):len(above)], crumb{held.ItemKey[i+1:], held.Name})
			f.Link = "?" + trail(below)
			if n := len(below); n <= len(at) && at[n-1].Part == below[n-1].Part {
				if f.Here = n == len(at); f.Here {
					if page.Folder = held.Pick(); held.Unread != nil {
						page.Lack = held.Unread.Message
					}
				}
				if f.Folded, err = tree(held.ItemKey, below); err != nil {
					return all, err
				}
			}
			all = append(all, f)
		}
		return all, nil
	}
	if page.Folders, err = tree("", nil); err != nil {
		return err
	}
	if page.Key = q.Get("m"); len(at) > 0 {
		page.Here = at[len(at)-1].Name
		held, err := uncounted[heldAnswer](v, v.mailAt("mail", prefix+at[len(at)-1].Part))
		if err != nil {
			return err
		}
		page.First, page.Next = held.First, held.Next
		for _, h := range held.Items {
			if h.Type != "folder" {
				part := strings.TrimPrefix(h.ItemKey, prefix)
				page.Items = append(page.Items, mailRow{h, v.with("m", part) + "#message", part == page.Key})
			}
		}
	}
	if page.Key != "" {
		ctx, cancel := context.WithTimeout(v.ctx(), messageTime)
		m, err := get[messageAnswer](ctx, v.api, v.mailAt("message", prefix+page.Key))
		cancel()
		switch p := explain(err); {
		case err == nil:
			page.Message = &m
		case errors.Is(err, context.DeadlineExceeded) && v.ctx().Err() == nil: // the API says each time that it cannot now
			page.Late, page.Wrong = true, "This message could not be read in time: it is very large, or its vault is away or damaged, of which Health says more."
		case p.status == http.StatusServiceUnavailable || p.status == http.StatusNotFound:
			page.Wrong = p.text
		default:
			return err
		}
		page.Key = prefix + page.Key
	}
	return v.show("mailbox", "Mail of "+page.Unit.Name(), page)
}

// sendMail sends a message of a point, or an attachment of it, to be kept.
func sendMail(v *visit) error {
	q := v.r.URL.Query()
	at := v.mailAt("mime", q.Get("key"))
	if id := q.Get("attachment"); id != "" {
		at = v.mailAt("attachment", q.Get("key")) + "/" + url.PathEscape(id)
	}
	return v.pass(at, "message.eml", false)
}
