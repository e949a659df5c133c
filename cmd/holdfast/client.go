package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"holdfast/internal/drive"
)

// apiRoot is where the Backup Storage API lives below an origin.
const apiRoot = "/v1.0/solutions/backupRestore"

// A client calls the API as any application would: over HTTP, with a token.
type client struct {
	origin string // such as http://127.0.0.1:8365
	http   *http.Client
	token  string
}

// A callError is an answer other than the one that was hoped for.
type callError struct {
	Method, Path  string
	Status        int
	Code, Message string
}

func (e *callError) Error() string {
	return fmt.Sprintf("%s %s was answered %d %s: %s", e.Method, e.Path, e.Status, e.Code, e.Message)
}

// signIn gets c a token by client credentials.
func (c *client) signIn(ctx context.Context, tenant, app string, password drive.Secret) error {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {app}, "client_secret": {string(password)},
		"scope": {"https://graph.microsoft.com/.default"},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.origin+tokenPath(tenant), bytes.NewBufferString(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := c.send(req, &answer); err != nil {
		return err
	}
	c.token = answer.Token
	return nil
}

func tokenPath(tenant string) string { return "/" + tenant + "/oauth2/v2.0/token" }

// call sends body as JSON, if there is one, to path below the root of the API,
// and reads the answer into answer, unless that is nil.
func (c *client) call(ctx context.Context, method, path string, body, answer any) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.origin+apiRoot+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.send(req, answer)
}

func (c *client) send(req *http.Request, answer any) error {
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		e := &callError{Method: req.Method, Path: req.URL.Path, Status: res.StatusCode}
		var envelope struct {
			Error       json.RawMessage `json:"error"`
			Description string          `json:"error_description"` // of the token endpoint
		}
		var graph struct{ Code, Message string }
		if json.Unmarshal(data, &envelope) == nil {
			if json.Unmarshal(envelope.Error, &graph) == nil {
				e.Code, e.Message = graph.Code, graph.Message
			} else {
				json.Unmarshal(envelope.Error, &e.Code)
				e.Message = envelope.Description
			}
		}
		return e
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(data, answer)
}

// list reads every page of a collection.
func list[T any](ctx context.Context, c *client, path string) ([]T, error) {
	var all []T
	for path != "" {
		var page struct {
			Value []T    `json:"value"`
			Next  string `json:"@odata.nextLink"`
		}
		if err := c.call(ctx, http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Value...)
		path = ""
		if page.Next != "" {
			u, err := url.Parse(page.Next)
			if err != nil {
				return nil, err
			}
			path = u.EscapedPath()[len(apiRoot):] + "?" + u.RawQuery
		}
	}
	return all, nil
}

// poll calls ready until it says so, with a pause between.
func poll(ctx context.Context, pause time.Duration, ready func() (bool, error)) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		if done, err := ready(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// The answers of the API, as far as the demo reads them.
type (
	policyAnswer struct {
		ID, Status string
	}
	bulkJobAnswer struct {
		ID, Status string
		Error      *problemAnswer
	}
	unitAnswer struct {
		ID, DirectoryObjectID, PolicyID, Status string
		Error                                   *problemAnswer
	}
	pointAnswer struct {
		ID                 string
		ProtectionDateTime time.Time
		ProtectionUnit     unitAnswer
	}
	searchAnswer struct {
		SearchResults []struct{ RestorePoint pointAnswer }
	}
	sessionAnswer struct {
		ID, Status string
		Error      *problemAnswer
	}
	artifactAnswer struct {
		ID, Status, RestoredSiteName, RestoredSiteWebURL string
		RestorePoint                                     pointAnswer
		Error                                            *problemAnswer
	}
	problemAnswer struct {
		Code, Message string
		Details       []struct{ Code, Message, Target string }
	}
)

func (p *problemAnswer) Error() string { return p.Code + ": " + p.Message }
