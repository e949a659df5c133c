package simtenant

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// A SentMail is a message that an application sent. None leaves the simulated
// tenant; users of it to whom it goes have it in their inbox.
type SentMail struct {
	Time      time.Time `json:"time"`
	Tenant    string    `json:"tenant"`
	From      string    `json:"from"`
	To        []string  `json:"to"` // with those of Cc and Bcc
	Subject   string    `json:"subject"`
	Kind      string    `json:"kind"` // mail, or what is sent of an event: invitation, update, cancellation, response
	Delivered []string  `json:"delivered"`
	MIME      string    `json:"mime"`
}

// How much of what was sent is kept.
const (
	keepSent      = 1000
	keepSentBytes = 64 << 20
)

// outbox is what was sent, oldest first.
type outbox struct {
	mu    sync.Mutex
	mail  []SentMail
	bytes int
}

func (o *outbox) add(one SentMail) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mail = append(o.mail, one)
	for o.bytes += len(one.MIME); len(o.mail) > keepSent || o.bytes > keepSentBytes && len(o.mail) > 1; {
		o.bytes -= len(o.mail[0].MIME)
		o.mail = append([]SentMail(nil), o.mail[1:]...)
	}
}

func (o *outbox) all() []SentMail {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]SentMail{}, o.mail...)
}

func (o *outbox) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mail, o.bytes = nil, 0
}

// deliver takes down what was sent, and puts it into the inboxes of those whom it
// goes to and who are users of the tenant. A mailbox that cannot take it has not got
// it, as the record tells.
func (s *Service) deliver(r *request, mail SentMail) {
	mail.Time, mail.Tenant, mail.Delivered = s.clock().UTC(), string(r.place.tenant.ID), []string{}
	data := setHead([]byte(mail.MIME), headField{"Received", "from " + r.place.tenant.Domain + "; " + mail.Time.Format(time.RFC1123Z)})
	seen := map[*User]bool{}
	for _, to := range mail.To {
		for _, u := range r.place.tenant.present {
			if seen[u] || !strings.EqualFold(to, u.Mail) && !strings.EqualFold(to, u.UserPrincipalName) {
				continue
			}
			seen[u] = true
			there := *r
			there.place = mailboxOf(site{tenant: r.place.tenant, user: u})
			if err := s.receiveMail(&there, data); err != nil {
				s.log.Info("mail was not delivered", "to", to, "err", err)
				continue
			}
			mail.Delivered = append(mail.Delivered, to)
		}
	}
	s.outbox.add(mail)
}

func (s *Service) receiveMail(r *request, data []byte) error {
	if s.faults.options().Mail.Full {
		return mailboxFull()
	}
	return s.withMailbox(r, r.place, func(m *mailbox) error {
		inbox := m.well["inbox"]
		if inbox == nil {
			return noMailFolder()
		}
		h := readHead(data[:min(len(data), headSize)], "IPM.Note")
		_, err := m.giveData(data, mailGift{ext: extMail, class: h.class, received: s.clock()}, inbox)
		return err
	})
}

// Mail returns what was sent, oldest first.
func (c *Control) Mail() []SentMail { return c.svc.outbox.all() }

func (c *Control) listMail(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, map[string]any{"value": c.Mail()})
}

func (c *Control) forgetMail(w http.ResponseWriter, _ *http.Request) error {
	c.svc.outbox.forget()
	w.WriteHeader(http.StatusNoContent)
	return nil
}
