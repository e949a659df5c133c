package audit

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// Syslog is a server that takes messages as RFC 5424 has them.
type Syslog struct {
	Network string      // "tls", "tcp", "udp" or "unix", a socket of datagrams
	Address string      // host:port, or the socket's path
	TLS     *tls.Config // for "tls"; nil for the authorities of the system
	Host    string      // that messages are of; default this machine's
}

// mostDatagram is how much a datagram holds.
const mostDatagram = 60_000

// send sends a message for each entry. By TCP and TLS it returns nil once the server
// has read them all: a connection takes some messages, is closed from this end, and the
// server, which has to read to that end to know of it, closes it from its own. One that
// goes away before has not taken them. A datagram is taken when it was sent.
func (s *Syslog) send(ctx context.Context, all []backup.Activity, lines [][]byte) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	var b bytes.Buffer
	for i, a := range all {
		m, stream := s.message(a, lines[i]), s.Network == "tls" || s.Network == "tcp"
		if stream { // RFC 5425 and RFC 6587: its length in front
			fmt.Fprintf(&b, "%d %s", len(m), m)
			continue
		}
		if len(m) > mostDatagram {
			short, err := lineOf(shortened(a))
			if err != nil {
				return err
			}
			m = s.message(a, short)
		}
		if _, err := conn.Write(m); err != nil {
			return err
		}
	}
	if b.Len() == 0 {
		return nil
	}
	early := make(chan error, 1)
	closing := make(chan struct{})
	go func() {
		_, err := io.Copy(io.Discard, conn) // it has nothing to say
		select {
		case <-closing:
		default:
			err = errors.Join(err, errors.New("the server closed the connection before it had everything"))
		}
		early <- err
	}()
	if _, err := conn.Write(b.Bytes()); err != nil {
		return err
	}
	close(closing)
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	err = <-early
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the server did not close the connection after the last message, so that it is not known to have read it: %w", err)
	}
	if s.Network == "tls" && errors.Is(err, io.ErrUnexpectedEOF) {
		return nil // as servers end that do not say goodbye
	}
	return err
}

func (s *Syslog) dial(ctx context.Context) (net.Conn, error) {
	d := &net.Dialer{Timeout: 10 * time.Second}
	switch s.Network {
	case "tls":
		return (&tls.Dialer{NetDialer: d, Config: s.TLS}).DialContext(ctx, "tcp", s.Address)
	case "unix":
		return d.DialContext(ctx, "unixgram", s.Address)
	}
	return d.DialContext(ctx, s.Network, s.Address)
}

const (
	facility = 13 << 3 // log audit
	informal = facility | 6
	warning  = facility | 4
)

// message is an entry as RFC 5424 has it, with the line as what it says.
func (s *Syslog) message(a backup.Activity, line []byte) []byte {
	priority := informal
	if a.Result != backup.ActivitySucceeded {
		priority = warning
	}
	host := s.Host
	if host == "" {
		host, _ = os.Hostname()
	}
	return fmt.Appendf(nil, "<%d>1 %s %s holdfast - %s - %s", priority, a.At.UTC().Format("2006-01-02T15:04:05.000000Z"), header(host, 255), header(a.Operation, 32), line)
}

// header is a text as the header of a message takes it, "-" for none.
func header(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
	if text = text[:min(len(text), most)]; text == "" {
		return "-"
	}
	return text
}

// shortened is an entry that a datagram holds. The log has all of it.
func shortened(a backup.Activity) backup.Activity {
	cut := func(s string) string {
		if len(s) > 1000 {
			s = strings.ToValidUTF8(s[:1000], "") + "…"
		}
		return s
	}
	a.Target = cut(a.Target)
	if p := a.Problem; p != nil {
		short := *p
		short.Message, short.Details = cut(p.Message), nil
		a.Problem = &short
	}
	return a
}
