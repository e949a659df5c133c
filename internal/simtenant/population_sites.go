package simtenant

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"strings"
	"time"
)

// madeList is the list that each made site has.
const madeList = "Tracker"

// madePages are the pages that each made site has.
var madePages = []string{"home", "about", "how-to"}

// siteName is what the i-th made site is called.
func (p Population) siteName(i int) string {
	d := p.dice("site", fmt.Sprint(i))
	return strings.ToLower(fmt.Sprintf("%s-%s-%d", firstWords[d.IntN(len(firstWords))], lastWords[d.IntN(len(lastWords))], i+1))
}

// madeListFile is what a made list is.
var madeListFile = listFile{Description: "What is to be done", Columns: []object{
	{"name": "Status", "choice": object{"choices": []string{"Open", "Done"}}}, {"name": "Amount", "number": object{}, "indexed": true},
	{"name": "Due", "dateTime": object{}}, {"name": "Notes", "text": object{"allowMultipleLines": true}}, {"name": "AssignedTo", "personOrGroup": object{}},
}}

// makeMadeSites makes the folders of the made sites that are missing, and takes down
// which of them each is.
func (s *Service) makeMadeSites() error {
	p := s.cfg.Population
	if p == nil {
		return nil
	}
	s.madeSites = make(map[[16]byte]int, 3*p.Sites)
	t := s.byOrder[0]
	for i := range p.Sites {
		name := p.siteName(i)
		parts := []string{path.Join(name, librariesPart, documents), path.Join(name, listsPart, madeList), path.Join(name, pagesPart)}
		for _, part := range parts {
			s.madeSites[derive("team", string(t.ID), part, "0")] = i
		}
		if _, err := s.teams.root.Lstat(name); err == nil {
			continue
		}
		for _, part := range parts {
			if err := s.teams.root.MkdirAll(part, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make a site's folder: %w", err)
			}
		}
		list := place{site: site{tenant: t, team: team{path: name, names: name}}, library: madeList, in: listsPart}
		if err := s.writeSchema(list, madeListFile); err != nil {
			return err
		}
	}
	return nil
}

// fillTexts makes what a list, or the pages, hold at first.
func (p Population) fillTexts(place place, n int, name func(n int) string, add func(*item)) {
	d := p.dice("drive", place.id())
	began := time.Date(2016, 1, 1, 8, 0, 0, 0, time.UTC)
	id := p.ids(place)
	for n := range n {
		n++
		at := moment{began.Unix() + d.Int64N(10*365*24*3600), 0}
		it := &item{
			id: id(n), from: id(0), name: name(n), kind: isFile, num: int32(n), etag: 1, ctag: 1, made: 1, native: true, pristine: true,
			stale: place.in == pagesPart, // of a list's items, nobody is told the hash
			mtime: at, created: moment{at.sec - d.Int64N(90*24*3600), 0}, noticed: at.sec * 1e9,
		}
		it.strong = it.madeStrong()
		if place.in == pagesPart { // whose library tells how long it is
			it.size = int64(len(p.text(place, it)))
		}
		add(it)
	}
}

// madeText is what a made item of a list holds, a made page, or an item of a
// mailbox; of anything else it is nil.
func (d *drive) madeText(it *item) []byte {
	if d.place.isMailbox() {
		return d.svc.cfg.Population.mail(d.place, it)
	}
	if d.place.in != listsPart && d.place.in != pagesPart {
		return nil
	}
	return d.svc.cfg.Population.text(d.place, it)
}

func (p Population) text(place place, it *item) []byte {
	d := p.dice("text", it.id, fmt.Sprint(it.made))
	title := firstWords[d.IntN(len(firstWords))] + " " + lastWords[d.IntN(len(lastWords))]
	words := make([]string, 5+d.IntN(40))
	for i := range words {
		words[i] = lastWords[d.IntN(len(lastWords))]
	}
	var v object
	if place.in == listsPart {
		v = object{
			"Title": fmt.Sprintf("%s %d", title, it.num), "Status": []string{"Open", "Done"}[d.IntN(2)], "Amount": d.IntN(100_000),
			"Due": time.Date(2026, 1, 1+d.IntN(365), 9, 0, 0, 0, time.UTC).Format(time.RFC3339), "Notes": strings.Join(words, " "),
		}
		if users := place.tenant.Users; len(users) > 0 {
			v["AssignedToLookupId"], _ = lookupID(siteUserID(&users[d.IntN(len(users))]))
		}
	} else {
		v = object{"title": title, "canvasLayout": object{"horizontalSections": []any{object{"layout": "oneColumn", "id": "1", "columns": []any{
			object{"id": "1", "width": 12, "webparts": []any{object{"@odata.type": "#microsoft.graph.textWebPart", "innerHtml": "<p>" + strings.Join(words, " ") + "</p>"}}},
		}}}}}
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // of texts and numbers, it does not fail
	}
	return data
}

// somewhere chooses a made drive, list, pages, or mailbox.
func (s *Service) somewhere(p Population, dice *rand.Rand) (place, error) {
	t := s.byOrder[0]
	boxes := 0
	if p.Messages > 0 {
		boxes = len(t.Users)
	}
	n := dice.IntN(len(t.Users) + 3*p.Sites + boxes)
	if n < len(t.Users) {
		return place{site: s.folders[t.Users[n].UserPrincipalName], library: documents}, nil
	}
	n -= len(t.Users)
	if n >= 3*p.Sites {
		return mailboxOf(s.folders[t.Users[n-3*p.Sites].UserPrincipalName]), nil
	}
	name := p.siteName(n / 3)
	here, ok, err := s.teamSite(t, derive("team", string(t.ID), name, "0"))
	if err != nil {
		return place{}, err
	}
	if !ok {
		if here, ok, err = s.siteByNames(t, name); err != nil || !ok {
			return place{}, errors.Join(err, noSite())
		}
	}
	part := []string{path.Join(name, librariesPart, documents), path.Join(name, listsPart, madeList), path.Join(name, pagesPart)}[n%3]
	at, ok, err := s.teamPlace(here, derive("team", string(t.ID), part, "0"))
	if err == nil && !ok {
		err = noList()
	}
	return at, err
}

// churnTexts changes an item of a made list, or a made page: it is written anew, or,
// of a list, made or deleted.
func (d *drive) churnTexts(p Population, dice *rand.Rand, count int64, it *item, now moment) {
	what := dice.IntN(100)
	if d.place.in == pagesPart {
		what = 50
	}
	switch {
	case what < 20 || it == nil && d.place.in == listsPart:
		it = &item{id: p.itemID(d.place, -int(count)), kind: isFile, made: 1, etag: 1, ctag: 1, mtime: now, created: now}
		it.strong = it.madeStrong()
		name := fmt.Sprintf("c%d.json", count)
		if d.items[it.id] != nil || d.root.children[name] != nil {
			return
		}
		d.items[it.id] = it
		d.attach(it, d.root, name)
		d.touch(it)
	case it == nil:
	case what < 90:
		it.made++
		it.etag++
		it.ctag++
		it.mtime, it.stale, it.hash, it.strong = now, d.place.in == pagesPart, "", it.madeStrong()
		if d.place.in == pagesPart {
			size := int64(len(p.text(d.place, it)))
			grow(it, size-it.size)
		}
		d.touch(it)
	default:
		d.drop(it)
	}
}
