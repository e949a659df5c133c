package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A Hook is an address that messages are posted to. The address may be a secret.
type Hook struct {
	URL     string
	Secret  string         // that messages are signed with; "" for not at all
	Roots   *x509.CertPool // that vouch for the server; nil for those of the system
	Timeout time.Duration  // default 30 seconds
}

// send posts a message as JSON, signed as standardwebhooks.com has it: webhook-id,
// which is the same each time that the message is tried, webhook-timestamp, and
// webhook-signature of both and the body.
func (h *Hook) send(ctx context.Context, m *Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return h.Post(ctx, string(m.ID), body)
}

// Post posts JSON as send does, under an id.
func (h *Hook) Post(ctx context.Context, id string, body []byte) error {
	header := http.Header{}
	header.Set("webhook-id", id)
	if h.Secret != "" {
		at := strconv.FormatInt(time.Now().Unix(), 10)
		header.Set("webhook-timestamp", at)
		header.Set("webhook-signature", "v1,"+Sign(h.Secret, id, at, body))
	}
	return h.post(ctx, header, body)
}

// Sign returns the signature of a body that was sent under an id at a time, in
// seconds since 1970.
func Sign(secret, id, at string, body []byte) string {
	key := []byte(secret)
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if raw, err := base64.StdEncoding.DecodeString(text); err == nil {
			key = raw
		}
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, at)
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// maxCard is how much Teams takes.
const maxCard = 24 << 10

// sendCard posts a message as an adaptive card, as workflows of Teams take it.
func (h *Hook) sendCard(ctx context.Context, m *Message) error {
	body, err := json.Marshal(card(m, len(m.Alerts)))
	for n := len(m.Alerts) - 1; err == nil && len(body) > maxCard && n >= 0; n-- {
		body, err = json.Marshal(card(m, n))
	}
	if err != nil {
		return err
	}
	return h.post(ctx, http.Header{}, body)
}

// card is a message with its first n alerts as a card.
func card(m *Message, n int) any {
	type block map[string]any
	text := func(s string, more block) block {
		b := block{"type": "TextBlock", "text": plain(s), "wrap": true}
		for k, v := range more {
			b[k] = v
		}
		return b
	}
	blocks := []block{text("Holdfast, "+m.Who(), block{"isSubtle": true, "spacing": "None"})}
	if m.Type == "test" {
		blocks = append(blocks, text(testText, nil))
	}
	if r := m.Report; r != nil {
		var facts []block
		for _, f := range r.Facts() {
			facts = append(facts, block{"title": f.Title, "value": f.Value})
		}
		blocks = append(blocks, text(r.Headline(), block{"weight": "Bolder", "size": "Medium"}), block{"type": "FactSet", "facts": facts})
		for _, e := range r.Alerts[:min(len(r.Alerts), 10)] {
			blocks = append(blocks, text("• "+e.Title+". "+e.When(), block{"spacing": "Small"}))
		}
	}
	for _, e := range m.Alerts[:n] {
		color := "Attention"
		if e.Over() {
			color = "Good"
		}
		items := []block{text(e.Headline(), block{"weight": "Bolder", "size": "Medium", "color": color}), text(e.When(), block{"isSubtle": true, "spacing": "None"})}
		for _, line := range e.Named() {
			items = append(items, text("• "+line, block{"spacing": "Small"}))
		}
		if !e.Over() {
			items = append(items, text("What to do: "+e.Advice, block{"isSubtle": true}))
		}
		blocks = append(blocks, block{"type": "Container", "separator": true, "items": items})
	}
	if left := len(m.Alerts) - n; left > 0 {
		blocks = append(blocks, text(fmt.Sprintf("and %d more: 'holdfast alert list' has all", left), nil))
	}
	content := block{"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "msteams": block{"width": "Full"}, "body": blocks}
	if m.Link != "" {
		content["actions"] = []block{{"type": "Action.OpenUrl", "title": "Open the console", "url": m.Link}}
	}
	return block{"type": "message", "attachments": []block{{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil, "content": content}}}
}

// plain keeps what stands in names from being read as a link or as markup.
func plain(s string) string {
	return strings.NewReplacer("[", `\[`, "]", `\]`, "*", `\*`, "_", `\_`, "`", "'", "<", "‹", ">", "›").Replace(s)
}

// post posts JSON. Whatever is not a success is a failure: a redirection too, which
// is not followed, since what is sent is meant for this address.
func (h *Hook) post(ctx context.Context, header http.Header, body []byte) error {
	timeout := h.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	fail := func(err error) error {
		if e, ok := errors.AsType[*url.Error](err); ok { // it has the address in it
			err = e.Err
		}
		return &failure{text: Without(timely(ctx, err).Error(), h.URL, h.Secret)}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return fail(err)
	}
	r.Header = header
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "holdfast")
	client := &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: h.Roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(r)
	if err != nil {
		return fail(err)
	}
	defer answer.Body.Close()
	io.CopyN(io.Discard, answer.Body, 64<<10) // what it says to that is not for us, and may be anything
	switch status := answer.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return &failure{text: fmt.Sprintf("it was answered with %s; redirections are not followed: configure the address that is meant", answer.Status), final: true}
	default:
		f := &failure{text: Without("it was answered with "+answer.Status, h.URL, h.Secret)}
		f.final = status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooEarly && status != http.StatusTooManyRequests
		if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
			f.after = time.Duration(min(seconds, 3600)) * time.Second
		}
		return f
	}
}
