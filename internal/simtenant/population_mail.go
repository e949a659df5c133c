package simtenant

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// Sizes of made messages.
const (
	leastMail   = 1200
	averageMail = 6 << 10
	mostMail    = 10 << 20
)

// fillMail makes what a mailbox holds at first: the folders that every mailbox
// has, a few of its own, and the items. Each hundred items have five events and
// three contacts among them.
func (p Population) fillMail(place place, items int, add func(*item)) {
	d := p.dice("mailbox", place.id())
	began := time.Date(2016, 1, 1, 8, 0, 0, 0, time.UTC)
	id, n := p.ids(place), 0
	put := func(it *item) *item {
		n++
		it.id, it.num, it.etag, it.made, it.native, it.pristine = id(n), int32(n), 1, 1, true, true
		at := moment{began.Unix() + d.Int64N(10*365*24*3600), 0}
		it.mtime, it.created, it.noticed = at, at, at.sec*1e9
		return it
	}
	folder := func(in, name string) string {
		it := put(&item{kind: isFolder, from: in, name: name, children: map[string]*item{}})
		add(it)
		return it.id
	}
	folders := map[string]string{}
	for _, well := range madeFolders {
		folders[well] = folder(id(0), wellKnown[well].names[0])
	}
	for _, well := range madeRecoverable {
		folder(folders["recoverableitemsroot"], wellKnown[well].names[0])
	}
	mail := []string{folders["inbox"], folders["inbox"], folders["inbox"], folders["sentitems"], folders["archive"], folders["deleteditems"]}
	for i := range min(8, items/50) {
		mail = append(mail, folder(folders["inbox"], fmt.Sprintf("%s %d", firstWords[d.IntN(len(firstWords))], i+1)))
	}
	for i := range items {
		it := &item{kind: isFile, ctag: 1}
		switch i % 100 {
		case 10, 30, 50, 70, 90:
			it.from, it.name = folders["calendar"], fmt.Sprintf("event %d%s", i+1, extCalendar)
		case 20, 40, 60:
			it.from, it.name = folders["contacts"], fmt.Sprintf("contact %d%s", i+1, extContact)
		default:
			it.from, it.name, it.size = mail[d.IntN(len(mail))], fmt.Sprintf("message %d%s", i+1, extMail), p.mailSize(d)
		}
		put(it).strong = it.madeStrong()
		if it.size == 0 {
			it.size = int64(len(p.mail(place, it)))
		}
		add(it)
	}
}

// mailSize is the size of a message: averageMail, on average.
func (p Population) mailSize(d *rand.Rand) int64 {
	size := Population{Size: averageMail}.someSize(d)
	return min(max(size, leastMail), mostMail)
}

// mail is what a made item of a mailbox holds.
func (p Population) mail(place place, it *item) []byte {
	d := p.dice("mail", it.id, fmt.Sprint(it.made))
	title := firstWords[d.IntN(len(firstWords))] + " " + lastWords[d.IntN(len(lastWords))]
	users := place.tenant.Users
	other := &users[d.IntN(len(users))]
	words := func(n int) string {
		out := make([]string, n)
		for i := range out {
			out[i] = lastWords[d.IntN(len(lastWords))]
		}
		return strings.Join(out, " ")
	}
	at := it.created.time().UTC()
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	switch itemExt(it.name) {
	case extCalendar:
		line("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Holdfast//simulated tenant//EN\r\nBEGIN:VEVENT\r\nUID:%s", it.id)
		line("DTSTAMP:%s\r\nDTSTART:%s\r\nDTEND:%s", at.Format("20060102T150405Z"), at.Format("20060102T150000Z"), at.Add(time.Hour).Format("20060102T150000Z"))
		line("SUMMARY:%s\r\nORGANIZER;CN=%s:mailto:%s\r\nDESCRIPTION:%s\r\nEND:VEVENT\r\nEND:VCALENDAR", title, other.DisplayName, other.Mail, words(12))
		return b.Bytes()
	case extContact:
		line("BEGIN:VCARD\r\nVERSION:4.0\r\nUID:%s\r\nFN:%s\r\nEMAIL:%s\r\nNOTE:%s\r\nEND:VCARD", it.id, other.DisplayName, other.Mail, words(6))
		return b.Bytes()
	}
	line("Received: from mx.example by mail.%s; %s", place.tenant.Domain, at.Format(time.RFC1123Z))
	line("From: %s <%s>\r\nTo: %s <%s>", other.DisplayName, other.Mail, place.user.DisplayName, place.user.Mail)
	line("Subject: %s %d\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\nMIME-Version: 1.0", title, d.IntN(1000), at.Add(-2*time.Second).Format(time.RFC1123Z), it.id, place.tenant.Domain)
	const bound = "holdfast-made"
	end := ""
	size := int(it.size)
	attached := size > 8<<10
	if attached {
		line("Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%s", bound, bound)
		const raw = 57 // bytes of a line of base64
		lines := (size - 4<<10) / 78
		data := make([]byte, raw*lines)
		c := &madeContent{seed: [2]uint64{d.Uint64(), d.Uint64()}, size: int64(len(data))}
		for at := 0; at < len(data); {
			n, _ := c.Read(data[at:])
			at += n
		}
		var tail strings.Builder
		fmt.Fprintf(&tail, "\r\n--%s\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"%s.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n", bound, title)
		for ; len(data) > 0; data = data[raw:] {
			tail.WriteString(base64.StdEncoding.EncodeToString(data[:raw]) + "\r\n")
		}
		tail.WriteString("--" + bound + "--\r\n")
		end = tail.String()
	}
	line("Content-Type: text/plain; charset=utf-8\r\n")
	for b.Len()+len(end) < size-80 {
		line("%s", words(7))
	}
	for n := size - b.Len() - len(end); n > 0; n-- {
		b.WriteByte('.')
	}
	b.WriteString(end)
	return b.Bytes()
}

// churnMail changes something in a made mailbox, as people and their mail do: most
// is new, or read, and some is moved, written anew or deleted.
func (s *Service) churnMail(p Population, here place, dice *rand.Rand, count int64) error {
	r := &request{Request: new(http.Request).WithContext(context.Background()), place: here, arrived: time.Now()}
	return s.withMailbox(r, here, func(m *mailbox) error {
		d, inbox := m.d, m.well["inbox"]
		file := d.pick(dice, func(it *item) bool { return it.kind == isFile && itemExt(it.name) == extMail })
		now := momentOf(s.clock())
		now.nsec = 0
		what := dice.IntN(100)
		var it *mailItem
		if file != nil {
			it = m.byFile[file.id]
		}
		if it == nil || it.at == nil {
			what = 0
		}
		switch {
		case inbox == nil || inbox.dir == nil:
		case what < 40:
			file := &item{id: p.itemID(here, -int(count)), num: -int32(count), kind: isFile, made: 1, etag: 1, ctag: 1, size: p.mailSize(dice), mtime: now, created: now}
			file.strong = file.madeStrong()
			name := fmt.Sprintf("message c%d%s", count, extMail)
			if d.items[file.id] != nil || inbox.dir.children[name] != nil {
				return nil
			}
			d.items[file.id] = file
			d.attach(file, inbox.dir, name)
			d.touch(file)
		case what < 65:
			return m.setFlags(r.Context(), it, it.flags^isRead)
		case what < 70:
			return m.setFlags(r.Context(), it, it.flags^isFlagged)
		case what < 85:
			to := []*mailFolder{inbox, m.well["archive"], m.well["junkemail"]}[dice.IntN(3)]
			if to == nil {
				return nil
			}
			return m.move(r.Context(), it, to)
		case what < 90:
			size := p.mailSize(dice)
			grow(file, size-file.size)
			file.made++
			file.etag++
			file.ctag++
			file.mtime, file.hash, file.strong = now, "", file.madeStrong()
			d.touch(file)
		default:
			return m.remove(r.Context(), it)
		}
		return nil
	})
}
