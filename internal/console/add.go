package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/client"
	"holdfast/internal/owners"
)

const (
	jobSize    = 50_000 // entries of one bulk addition job
	maxPreview = 500    // entries that a preview looks up
)

// addPage is the page that adds people to a policy: whom, what that would do,
// and then it is done.
type addPage struct {
	Policy  policyAnswer
	Who     string   // searched for in the directory
	Found   []person // of the directory
	Silent  bool     // the directory does not answer
	Chosen  []string // of those found
	Text    string   // what was typed
	Wrong   string
	Preview *preview
}

// Adds is how many may come of it.
func (p preview) Adds() int { return p.New + p.Unseen }

// People is whom or what a policy is given.
func (p addPage) People() string {
	if p.Policy.Of() == client.Sites {
		return "sites"
	}
	return "people"
}

// isEntry returns what tells whether a text can name something of a workload.
func isEntry(of *client.Workload) func(string) bool {
	if of == client.Sites {
		return func(cell string) bool {
			u, err := url.Parse(strings.TrimSpace(cell))
			return err == nil && u.Scheme == "https" && u.Host != "" || of.IsID(strings.TrimSpace(cell))
		}
	}
	return owners.Is
}

// PreviewSize is how many entries a preview looks up.
func (addPage) PreviewSize() int { return maxPreview }

// A preview is what adding would do.
type preview struct {
	Entries  string // one a line, as the form carries them
	Total    int
	Twice    int
	New      int // of those looked up
	Here     []unitAnswer
	Away     []unitAnswer // in another policy
	Policies map[string]string
	Nobody   []owners.Owner // that are no address and no id
	Unseen   int            // not looked up, because there are so many
}

func addPeople(v *visit) error {
	page := addPage{Text: v.r.PostFormValue("text"), Who: strings.TrimSpace(v.r.FormValue("who")), Chosen: v.r.PostForm["entry"]}
	var err error
	var path string
	if page.Policy, path, err = v.policy(); err != nil {
		return err
	}
	of, title := page.Policy.Of(), "Add "+page.People()+" to "+quote(page.Policy.DisplayName)
	step := v.r.PostFormValue("step")
	if step == "preview" || step == "add" {
		named, err := v.named(of, page.Chosen, page.Text)
		switch {
		case err != nil:
			page.Wrong = strings.ToUpper(err.Error()[:1]) + err.Error()[1:] + "."
		case step == "add":
			return v.add(of, path, page.Policy.ID, named)
		default:
			if page.Preview, err = v.preview(page.Policy, named); err != nil {
				return err
			}
			return v.show("add", title, page)
		}
	}
	switch {
	case of == client.Sites: // the directory is of people
	case page.Who != "":
		people, err := v.search(page.Who)
		page.Silent = err != nil
		for _, p := range people {
			page.Found = append(page.Found, person{ID: p.ID, Name: p.DisplayName, Username: p.UserPrincipalName})
		}
	case v.signIn().Graph == "":
		page.Silent = true
	}
	return v.show("add", title, page)
}

// named returns whom a form names: those chosen, those typed, and those of a
// file.
func (v *visit) named(of *client.Workload, chosen []string, typed string) (all []owners.Owner, err error) {
	for _, address := range chosen {
		all = append(all, owners.Owner{Text: address})
	}
	between := ",; \t\r\n"
	if of == client.Sites { // whose ids have commas
		between = "; \t\r\n"
	}
	for line := range strings.FieldsFuncSeq(typed, func(r rune) bool { return strings.ContainsRune(between, r) }) {
		all = append(all, owners.Owner{Text: line})
	}
	file, _, err := v.r.FormFile("csv")
	if err == nil {
		defer file.Close()
		ofFile, err := owners.Read(io.LimitReader(file, formLimit), strings.TrimSpace(v.r.PostFormValue("column")), isEntry(of))
		if err != nil {
			return nil, fmt.Errorf("the file cannot be used: %w", err)
		}
		all = append(all, ofFile...)
	}
	if len(all) == 0 {
		if of == client.Sites {
			return nil, errors.New("name a site: type addresses, or give a file")
		}
		return nil, errors.New("name somebody: choose people, type addresses, or give a file")
	}
	return all, nil
}

// preview finds out what adding would do, and changes nothing.
func (v *visit) preview(p policyAnswer, named []owners.Owner) (*preview, error) {
	out := &preview{}
	seen := map[string]bool{}
	var entries []string
	for _, o := range named {
		key := strings.ToLower(o.Text)
		switch {
		case !isEntry(p.Of())(o.Text):
			out.Nobody = append(out.Nobody, o)
		case seen[key]:
			out.Twice++
		default:
			seen[key] = true
			entries = append(entries, o.Text)
		}
	}
	out.Total, out.Entries = len(entries), strings.Join(entries, "\n")
	look := entries[:min(len(entries), maxPreview)]
	out.Unseen = len(entries) - len(look)
	known := 0
	for part := range slices.Chunk(look, 20) {
		var ids, addresses []string
		for _, e := range part {
			if id, ok := backup.ParseGUID(e); ok {
				e = id
			}
			if p.Of().IsID(e) {
				ids = append(ids, text(e))
			} else {
				addresses = append(addresses, text(e))
			}
		}
		var terms []string
		if len(ids) > 0 {
			terms = append(terms, p.Of().Subject+" in ("+strings.Join(ids, ",")+")")
		}
		if len(addresses) > 0 {
			terms = append(terms, "email in ("+strings.Join(addresses, ",")+")")
		}
		for value, err := range v.api.All(v.ctx(), p.Of().Units+"?"+query("$filter", strings.Join(terms, " or "))) {
			if err != nil {
				return nil, err
			}
			var u unitAnswer
			if err := json.Unmarshal(value, &u); err != nil {
				return nil, err
			}
			switch u.PolicyID {
			case p.ID:
				out.Here = append(out.Here, u)
			case "":
				continue // as if it were new; its old backups stay with it
			default:
				out.Away = append(out.Away, u)
			}
			known++
		}
	}
	out.New = max(0, len(look)-known)
	if len(out.Away) > 0 {
		var err error
		if out.Policies, err = v.policyNames(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// add gives the entries to the server, which adds them one after another.
func (v *visit) add(of *client.Workload, path, policy string, named []owners.Owner) error {
	jobs, first := 0, ""
	for part := range slices.Chunk(named, jobSize) {
		var ids, addresses []string
		for _, o := range part {
			if of.IsID(o.Text) {
				ids = append(ids, o.Text)
			} else {
				addresses = append(addresses, o.Text)
			}
		}
		body := map[string]any{"displayName": "Added in the console"}
		if len(ids) > 0 {
			body[of.IDs] = ids
		}
		if len(addresses) > 0 {
			body[of.Addresses] = addresses
		}
		var job bulkJobAnswer
		if err := v.api.Create(v.ctx(), path+of.Jobs, body, &job); err != nil {
			if _, refused := errors.AsType[*client.Error](err); refused && jobs > 0 {
				v.say("bad", "A part was added, and the rest was not: "+explain(err).text+" Adding all of them again does no harm.")
				return v.redirect("/console/policies/" + policy)
			}
			return err
		}
		if jobs++; jobs == 1 {
			first = job.ID
		}
	}
	if jobs == 0 {
		return &problem{http.StatusBadRequest, "Nobody was named", "Go back and name somebody."}
	}
	to := "/console/jobs/" + first + "?" + query("policy", policy)
	if jobs > 1 {
		to = "/console/jobs?of=" + of.Nouns
	}
	return v.redirect(to)
}
