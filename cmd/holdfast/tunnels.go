package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// serviceNames are the names by which clients without a setting for it know the
// service.
var serviceNames = []string{"graph.microsoft.com", "login.microsoftonline.com", "login.microsoft.com", "login.windows.net", "*.sharepoint.com"}

// tunnels is a proxy at which the service's names lead to a simulated tenant, and
// no others anywhere: what a client under test asks of the world does not get out.
type tunnels struct {
	to string // the tenant's address for HTTPS

	mu    sync.Mutex
	open  map[net.Conn]bool
	ended bool
}

func (t *tunnels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, port, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil || port != "443" || !isService(host) {
		http.Error(w, "This proxy leads to a simulated tenant, by HTTPS to "+strings.Join(serviceNames, ", ")+" only.", http.StatusForbidden)
		return
	}
	there, err := net.Dial("tcp", t.to)
	if err != nil {
		http.Error(w, "The tenant does not answer.", http.StatusBadGateway)
		return
	}
	here, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		there.Close()
		http.Error(w, "The connection cannot be a tunnel.", http.StatusInternalServerError)
		return
	}
	if !t.keep(here, there) {
		return
	}
	defer t.drop(here, there)
	if _, err := io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { pour(there, buffered) })
	both.Go(func() { pour(here, there) })
	both.Wait()
}

// pour copies until from ends, and then ends to in that direction.
func pour(to net.Conn, from io.Reader) {
	io.Copy(to, from)
	if half, ok := to.(*net.TCPConn); ok {
		half.CloseWrite()
	}
}

func isService(host string) bool {
	host = strings.ToLower(host)
	for _, name := range serviceNames {
		if suffix, ok := strings.CutPrefix(name, "*"); host == name || ok && strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// keep notes connections that close must end. It reports false when that was
// called already.
func (t *tunnels) keep(conns ...net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[net.Conn]bool{}
	}
	for _, c := range conns {
		if t.ended {
			c.Close()
			continue
		}
		t.open[c] = true
	}
	return !t.ended
}

func (t *tunnels) drop(conns ...net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(t.open, c)
	}
}

// close ends all tunnels.
func (t *tunnels) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	var errs []error
	for c := range t.open {
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
