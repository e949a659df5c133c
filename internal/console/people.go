package console

import (
	"context"
	"errors"
	"net/url"
	"time"

	"holdfast/internal/client"
)

// errNoDirectory says that nobody answers for the directory.
var errNoDirectory = errors.New("the directory does not answer")

// maxFound is how many people one search shows.
const maxFound = 20

// directory returns Graph as the session's person may use it. Its token is not
// that of the API: each is for one of them.
func (v *visit) directory() (*client.Client, error) {
	graph, err := url.Parse(v.signIn().Graph)
	if err != nil || graph.Host == "" {
		return nil, errNoDirectory
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if err := v.readHolds(v.ctx(), v.s); err != nil {
		return nil, errors.Join(errNoDirectory, err)
	}
	if v.s.holds.Directory.Expires.Sub(v.cfg.Clock()) < time.Minute {
		got, err := v.refresh(v.ctx(), v.s.person.Tenant, v.s.holds.API.Refresh, v.signIn().GraphScope)
		if err != nil {
			return nil, errors.Join(errNoDirectory, err)
		}
		if err := v.keepHolds(v.ctx(), v.s, holds{v.s.holds.API, got}); err != nil {
			return nil, err
		}
	}
	return client.New(client.Config{URL: graph.Scheme + "://" + graph.Host, Graph: v.signIn().Graph, Token: v.s.holds.Directory.Access, Transport: v.cfg.HTTP.Transport})
}

// search finds people whose name or address begins with a text.
func (v *visit) search(name string) ([]client.Person, error) {
	directory, err := v.directory()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(v.ctx(), 5*time.Second)
	defer cancel()
	return directory.People(ctx, name, maxFound)
}
