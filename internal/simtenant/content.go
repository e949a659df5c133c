package simtenant

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// urlLife is how long a pre-authenticated URL is good for.
const urlLife = time.Hour

// tempauth makes the token of a pre-authenticated URL for what.
func (s *Service) tempauth(what string, expires time.Time) string {
	when := strconv.FormatInt(expires.Unix(), 36)
	return "v1." + when + "." + s.sign(what, when)
}

func (s *Service) sign(what, when string) string {
	mac := hmac.New(sha256.New, s.seal)
	fmt.Fprintf(mac, "%s\n%s", when, what)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:18])
}

// preauthorized reports, as a refusal, why a URL's token does not open what.
func (s *Service) preauthorized(r *http.Request, what string) error {
	return s.unsealed(r.URL.Query().Get("tempauth"), what)
}

// unsealed reports, as a refusal, why a token of tempauth does not open what.
func (s *Service) unsealed(token, what string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[0] != "v1" || !hmac.Equal([]byte(parts[2]), []byte(s.sign(what, parts[1]))) {
		return fail(http.StatusUnauthorized, "unauthenticated", "The URL's token is not valid.")
	}
	when, err := strconv.ParseInt(parts[1], 36, 64)
	if err != nil || s.clock().After(time.Unix(when, 0)) {
		return fail(http.StatusUnauthorized, "unauthenticated", "The URL has expired. Ask for the item again.").because("expiredToken")
	}
	return nil
}

// downloadURL is the address of a file's bytes, for a request to base.
func (s *Service) downloadURL(r *http.Request, base string, p place, it *item) string {
	if s.faults.options().retired() {
		return base + "/drives/" + p.id() + "/items/" + it.id + "/contentStream"
	}
	return s.address(r, p, downloadPrefix, "download", p.id()+"/"+it.id, urlLife)
}

// address makes an address on the host of files, which opens by itself what it is
// about unless that was retired.
func (s *Service) address(r *http.Request, p place, prefix, purpose, what string, life time.Duration) string {
	u := s.fileOrigin(r, p) + prefix + what
	if s.faults.options().retired() {
		return u
	}
	return u + "?tempauth=" + url.QueryEscape(s.tempauth(purpose+" "+what, s.clock().Add(life)))
}

// fileOrigin is where files are: at SharePoint's host, if Graph was reached by its
// own name. On a machine of its own, files are where Graph is; but if their
// addresses want a token of their host, that is the other name of the machine.
func (s *Service) fileOrigin(r *http.Request, p place) string {
	if slices.Contains(graphNames, "https://"+strings.ToLower(r.Host)) {
		return "https://" + p.host()
	}
	if other := otherName(r.Host); other != "" && !onSharePoint(r) && s.faults.options().retired() {
		scheme, _, _ := strings.Cut(originOf(r), "://")
		return scheme + "://" + other
	}
	return originOf(r)
}

// opened reports, as a refusal, why a request may not open what its address is
// about. The address may speak for itself; otherwise there has to be a token of
// its host. of is the tenant that the caller is of, and nil where nobody called.
func (s *Service) opened(r *http.Request, what string, need permission) (of *tenant, err error) {
	if r.URL.Query().Has("tempauth") {
		return nil, s.preauthorized(r, what)
	}
	who, audience, err := s.bearer(r)
	if err != nil {
		return nil, err
	}
	switch {
	case audience == originOf(r), slices.Contains(who.tenant.sharePoint(), audience):
	case audience == graphAudience && !onSharePoint(r) && otherName(r.Host) == "": // Graph has no other name here
	default:
		return nil, wrongAudience(audience)
	}
	if err := s.certified(who); err != nil {
		return nil, err
	}
	return who.tenant, who.need(need)
}

// certified refuses an application that SharePoint does not listen to.
func (s *Service) certified(who caller) error {
	if s.faults.options().NoSecrets && who.user == nil && who.by != "2" {
		return fail(http.StatusUnauthorized, "unauthenticated", "Unsupported app only token: an application has to prove who it is by a certificate.")
	}
	return nil
}

// content is a file's bytes.
type content interface {
	io.ReadSeeker
	io.Closer
}

// openContent opens a file for reading.
func (d *drive) openContent(it *item) (content, error) {
	if it.made > 0 {
		return d.madeContent(it), nil
	}
	f, err := d.top.OpenFile(it.path(), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err := statOf(f); err != nil || st.kind != isFile { // something else is in its place by now
		f.Close()
		return nil, fs.ErrNotExist
	}
	return f, nil
}

// contentOf opens a file for reading, together with what is known of it.
func (d *drive) contentOf(ctx context.Context, t target) (f content, it item, err error) {
	found, err := d.find(ctx, t)
	if err != nil {
		return nil, it, err
	}
	if found.kind != isFile {
		return nil, it, badRequest("A folder has no content: the item is not a file.")
	}
	f, err = d.openContent(found)
	switch {
	case vanished(err):
		return nil, it, noItem()
	case errors.Is(err, fs.ErrPermission):
		return nil, it, fail(http.StatusForbidden, "accessDenied", "The file cannot be read: its permissions do not allow it.")
	case err != nil:
		return nil, it, onDisk(fmt.Errorf("open file: %w", err))
	}
	return f, *found, nil
}

func (s *Service) getContent(r *request, p place, t target) error {
	opts := s.faults.options()
	return s.serveContent(r, p, t, opts.StreamContent || opts.retired())
}

// streamContent is the endpoint that answers with the bytes always.
func (s *Service) streamContent(r *request, p place, t target) error {
	return s.serveContent(r, p, t, true)
}

func (s *Service) serveContent(r *request, p place, t target, stream bool) error {
	var f content
	var it item
	err := s.with(p, func(d *drive) (err error) {
		f, it, err = d.contentOf(r.Context(), t)
		return err
	})
	if err != nil {
		return err
	}
	defer f.Close()
	if match := r.Header.Get("If-None-Match"); match != "" && it.matches(match) {
		r.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if !stream {
		r.w.Header().Set("Location", s.downloadURL(r.Request, r.base, p, &it))
		r.w.WriteHeader(http.StatusFound)
		return nil
	}
	s.send(r.w, r.Request, f, &it)
	return nil
}

// send writes a file's bytes, or the range that was asked for.
func (s *Service) send(w http.ResponseWriter, r *http.Request, f io.ReadSeeker, it *item) {
	w.Header().Set("Content-Type", mimeType(it.name))
	w.Header().Set("ETag", it.eTag())
	w.Header().Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape(it.name))
	if s.faults.options().IgnoreRange {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, it.name, it.mtime.time(), f)
}

// download serves a pre-authenticated URL.
func (s *Service) download(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return wrongMethod("GET")
	}
	what := strings.TrimPrefix(r.URL.Path, downloadPrefix)
	of, err := s.opened(r, "download "+what, readFiles)
	if err != nil {
		return err
	}
	driveID, itemID, ok := strings.Cut(what, "/")
	itemID, old, _ := strings.Cut(itemID, "/")
	if !ok {
		return noRoute()
	}
	if of == nil {
		if of = s.tenantOfDrive(driveID); of == nil {
			return noRoute()
		}
	}
	if err := s.limits.enter(w, s, of.ID, 1); err != nil {
		return err
	}
	p, err := s.placeByID(caller{tenant: of}, driveID)
	if err != nil {
		return err
	}
	var f content
	var it item
	err = s.with(p, func(d *drive) (err error) {
		if old == "" {
			f, it, err = d.contentOf(r.Context(), target{id: itemID})
			return err
		}
		found, err := d.find(r.Context(), target{id: itemID})
		if err != nil {
			return err
		}
		at, err := found.versionAt(old)
		if err != nil {
			return err
		}
		it = *found
		if at < 0 { // restored since
			f, it, err = d.contentOf(r.Context(), target{id: itemID})
			return err
		}
		f, err = d.openVersion(found, at)
		return err
	})
	if err != nil {
		return err
	}
	defer f.Close()
	s.limits.handed(s, of.ID, it.size)
	s.send(w, r, f, &it)
	return nil
}

// matches reports whether a list of tags names it as it is.
func (it *item) matches(tags string) bool {
	for tag := range strings.SplitSeq(tags, ", ") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || tag == it.eTag() || tag == it.cTag() && tag != "" {
			return true
		}
	}
	return false
}

// expected refuses a write that was meant for another state of it.
func (it *item) expected(ifMatch string) error {
	if ifMatch != "" && !it.matches(ifMatch) {
		return fail(http.StatusPreconditionFailed, "resourceModified", "The item has changed since it was read.").because("entityTagDoesNotMatch")
	}
	return nil
}
