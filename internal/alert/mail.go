package alert

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/wneessen/go-mail"
)

// Mail is the server that mail is handed to.
type Mail struct {
	Server   string // host:port
	TLS      string // how it is spoken to: StartTLS, ImplicitTLS or NoTLS; default StartTLS
	User     string // "" to hand it over without signing in
	Password string
	From     string
	Roots    *x509.CertPool // that vouch for the server; nil for those of the system
	Timeout  time.Duration  // of one message; default one minute
}

// How a mail server is spoken to.
const (
	StartTLS    = "starttls"
	ImplicitTLS = "tls"
	NoTLS       = "none" // for a server on this machine
)

// send hands a message for one address over. The server has taken it if there is no
// error.
func (m *Mail) send(ctx context.Context, to string, message *Message) error {
	fail := func(err error) error {
		f := &failure{text: Without(err.Error(), m.Password)}
		if e, ok := errors.AsType[*mail.SendError](err); ok {
			f.final = e.ErrorCode() >= 500 && e.ErrorCode() < 600
		}
		return f
	}
	host, portText, err := net.SplitHostPort(m.Server)
	if err != nil {
		return fail(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return fail(err)
	}
	letter := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := letter.From(m.From); err != nil {
		return &failure{text: "the sender's address cannot be used", final: true}
	}
	if err := letter.To(to); err != nil {
		return &failure{text: "the address cannot be used", final: true}
	}
	page, err := message.HTML()
	if err != nil {
		return fail(err)
	}
	letter.Subject(message.Subject())
	letter.SetDateWithValue(message.Time)
	// The same each time that it is tried, so that one which comes twice is known.
	letter.SetMessageIDWithValue(string(message.ID) + "@holdfast")
	letter.SetGenHeader("Auto-Submitted", "auto-generated")
	letter.SetBodyString(mail.TypeTextPlain, message.Text())
	letter.AddAlternativeString(mail.TypeTextHTML, page)
	if r := message.Report; r != nil {
		picture, err := r.picture()
		if err != nil {
			return fail(err)
		}
		if err := letter.EmbedReader("week.png", bytes.NewReader(picture), mail.WithFileContentID("<week.png>"), mail.WithFileContentType("image/png")); err != nil {
			return fail(err)
		}
	}

	timeout := m.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	secure := &tls.Config{ServerName: host, RootCAs: m.Roots, MinVersion: tls.VersionTLS12}
	policy := mail.TLSMandatory
	switch m.TLS {
	case ImplicitTLS:
		policy = mail.TLSOpportunistic // the connection is that of dial, below
	case NoTLS:
		policy = mail.NoTLS
	}
	dial := func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(dialing, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { conn.Close() }) // whatever hangs, ends
		if m.TLS == ImplicitTLS {
			return tls.Client(conn, secure), nil
		}
		return conn, nil
	}
	options := []mail.Option{mail.WithPort(port), mail.WithTLSPolicy(policy), mail.WithTLSConfig(secure), mail.WithTimeout(timeout), mail.WithDialContextFunc(dial)}
	if m.User != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(m.User), mail.WithPassword(m.Password))
		if m.TLS == NoTLS {
			options = append(options, mail.WithSMTPAuth(mail.SMTPAuthPlainNoEnc))
		}
	}
	client, err := mail.NewClient(host, options...)
	if err != nil {
		return fail(err)
	}
	if err := client.DialWithContext(ctx); err != nil {
		return fail(fmt.Errorf("the mail server %s: %w", m.Server, timely(ctx, err)))
	}
	defer client.Close() // what goes wrong with that does not concern the message
	if err := client.Send(letter); err != nil && !letter.IsDelivered() {
		return fail(fmt.Errorf("the mail server %s: %w", m.Server, timely(ctx, err)))
	}
	return nil
}

// timely says of an error that comes of a connection closed for its time that it
// does.
func timely(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("there was no answer in time: %w", err)
	}
	return err
}
