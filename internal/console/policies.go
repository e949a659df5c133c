package console

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

type policiesPage struct {
	Policies list[policyAnswer]
	Text     string
	Status   string
	Sort     string
	Statuses []string
}

var policySorts = map[string]string{"name": "displayName", "-name": "displayName desc", "added": "createdDateTime desc"}

func listPolicies(v *visit) error {
	q := v.r.URL.Query()
	page := policiesPage{Text: strings.TrimSpace(q.Get("q")), Status: q.Get("status"), Sort: q.Get("sort"),
		Statuses: []string{string(backup.PolicyActive), string(backup.PolicyActiveWithErrors), string(backup.PolicyUpdating), string(backup.PolicyInactive)}}
	var terms, options []string
	if page.Text != "" {
		terms = append(terms, "contains(displayName,"+text(page.Text)+")")
	}
	if page.Status != "" {
		terms = append(terms, "status eq "+text(page.Status))
	}
	if len(terms) > 0 {
		options = append(options, query("$filter", strings.Join(terms, " and ")))
	}
	if by := policySorts[page.Sort]; by != "" {
		options = append(options, query("$orderby", by))
	}
	var err error
	if page.Policies, err = read[policyAnswer](v, anyPolicy, append(options, counted)...); err != nil {
		return err
	}
	return v.show("policies", "Policies", page)
}

type newPolicyPage struct {
	Name, Of, Wrong string
	All             bool // it is to protect all there is
}

// Workloads is what a policy may be of.
func (newPolicyPage) Workloads() []*client.Workload { return client.Workloads }

func newPolicy(v *visit) error {
	return v.show("policy-new", "New policy", newPolicyPage{Of: client.Drives.Nouns})
}

// workloadNamed is the workload of a form or an address; nil for none.
func workloadNamed(nouns string) *client.Workload {
	for _, w := range client.Workloads {
		if w.Nouns == nouns {
			return w
		}
	}
	return nil
}

func createPolicy(v *visit) error {
	name := strings.TrimSpace(v.r.PostFormValue("name"))
	of := cmp.Or(workloadNamed(v.r.PostFormValue("of")), client.Drives)
	body, set, all := map[string]any{"displayName": name}, of.Policies, v.r.PostFormValue("all") != ""
	if all {
		body["protectionMode"], set = fullService, client.Beta+set
	}
	var made policyAnswer
	err := v.api.Create(v.ctx(), set, body, &made)
	if err != nil {
		p := explain(err)
		if p.status != http.StatusBadRequest && p.status != http.StatusConflict {
			return err
		}
		return v.show("policy-new", "New policy", newPolicyPage{name, of.Nouns, p.text, all})
	}
	if all {
		v.say("good", "Made the policy "+quote(made.DisplayName)+". Exclude what it is to leave out, and activate it: it then protects all "+of.Nouns+" there are.")
		return v.redirect("/console/policies/" + made.ID)
	}
	v.say("good", "Made the policy "+quote(made.DisplayName)+". Add "+of.Nouns+" to it, and activate it.")
	return v.redirect("/console/policies/" + made.ID)
}

type policyPage struct {
	Policy policyAnswer
	All    bool // it protects all there is
	Units  unitsPage
	Rules  []ruleAnswer
	Jobs   []bulkJobAnswer
}

// policy reads the policy of the address, and says where it is among those of its
// workload.
func (v *visit) policy() (p policyAnswer, path string, err error) {
	id := url.PathEscape(v.r.PathValue("id"))
	p, err = get[policyAnswer](v.ctx(), v.api, anyPolicy+"/"+id+"?"+counted)
	return p, p.Of().Policies + "/" + id, err
}

func showPolicy(v *visit) error {
	p, path, err := v.policy()
	if err != nil {
		return err
	}
	of := p.Of()
	v.of = anyPolicy + "/" + p.ID
	page := policyPage{Policy: p}
	if page.All, err = v.protectsAll(p.ID); err != nil {
		return err
	}
	if page.Units, err = v.units(path+of.Units, of); err != nil {
		return err
	}
	if page.Rules, _, err = take[ruleAnswer](v.api.All(v.ctx(), path+of.Rules), 50); err != nil {
		return err
	}
	// Of a job the lists are long, and here only its end is wanted.
	page.Jobs, _, err = take[bulkJobAnswer](v.api.All(v.ctx(), path+of.Jobs+"?$select=id,displayName,status,createdDateTime&$top=5&"+query("$orderby", "createdDateTime desc")), 5)
	if err != nil {
		return err
	}
	return v.show("policy", p.DisplayName, page)
}

// changePolicy does what a button of a policy's page says.
func changePolicy(v *visit) error {
	id := url.PathEscape(v.r.PathValue("id"))
	back := "/console/policies/" + id
	one, done := anyPolicy+"/"+id, ""
	var err error
	switch v.r.PathValue("do") {
	case "activate":
		err, done = v.api.Act(v.ctx(), one+"/activate", nil, nil), "The policy is being activated: what it holds is backed up, one after another."
	case "deactivate":
		err, done = v.api.Act(v.ctx(), one+"/deactivate", nil, nil), "The policy is being deactivated. The backups that there are stay, and can be restored."
	case "rename":
		err, done = v.api.Patch(v.ctx(), one, map[string]string{"displayName": strings.TrimSpace(v.r.PostFormValue("name"))}, nil), "The policy has a new name."
	case "delete":
		err, done = v.api.Delete(v.ctx(), one), "The policy is deleted."
		if err == nil {
			back = "/console/policies"
		}
	case "remove":
		done, err = v.removeUnits()
	default:
		return errNoPage
	}
	if err != nil {
		if explain(err).status >= http.StatusInternalServerError {
			return err
		}
		v.say("bad", explain(err).text)
		return v.redirect(back)
	}
	v.say("good", done)
	return v.redirect(back)
}

// removeUnits takes the units of a form out of a policy.
func (v *visit) removeUnits() (done string, err error) {
	var delta []map[string]any
	for _, id := range v.r.PostForm["unit"] {
		delta = append(delta, map[string]any{"@removed": map[string]string{"reason": "changed"}, "id": id})
	}
	if len(delta) == 0 {
		return "", &problem{http.StatusBadRequest, "Nobody was chosen", "Choose what to remove first."}
	}
	p, path, err := v.policy()
	if err != nil {
		return "", err
	}
	of := p.Of()
	set := of.Units[1:] + "@delta"
	var answer map[string]json.RawMessage
	if err := v.api.Patch(v.ctx(), path, map[string]any{set: delta}, &answer); err != nil {
		return "", err
	}
	var units []struct {
		ID      string
		Failure *struct{ Info struct{ Message string } } `json:"@Core.DataModificationException"`
	}
	if err := json.Unmarshal(answer[set], &units); err != nil {
		return "", err
	}
	removed, why := 0, ""
	for _, u := range units {
		if u.Failure == nil {
			removed++
		} else {
			why = " " + u.Failure.Info.Message
		}
	}
	done = plural(removed, of.Noun+" leaves", of.Nouns+" leave") + " the policy. Their backups stay, and can be restored."
	if n := len(delta) - removed; n > 0 {
		return "", &problem{http.StatusConflict, "Not all could be removed", done + " " + plural(n, of.Noun+" was", of.Nouns+" were") + " not removed:" + why}
	}
	return done, nil
}

type explainPage struct {
	Policy policyAnswer
	Who    string
	Found  bool
	Why    explanationAnswer
}

// explainUnit says why a drive, a site or a mailbox is in a policy, or is not.
func explainUnit(v *visit) error {
	page := explainPage{Who: strings.TrimSpace(v.r.URL.Query().Get("who"))}
	var path string
	var err error
	if page.Policy, path, err = v.policy(); err != nil {
		return err
	}
	if page.Who != "" {
		subject, err := v.subjectOf(page.Policy.Of(), page.Who)
		if err != nil {
			return err
		}
		if page.Found = subject != ""; page.Found {
			if page.Why, err = get[explanationAnswer](v.ctx(), v.api, path+"/holdfast.explain/"+url.PathEscape(subject)); err != nil {
				return err
			}
		}
	}
	return v.show("explain", "Why is a "+page.Policy.Of().Noun+" in "+quote(page.Policy.DisplayName)+"?", page)
}
