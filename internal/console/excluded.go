package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"holdfast/internal/client"
)

// fullService is the mode of policies that protect all there is.
const fullService = "fullServiceBackup"

// maxExcluded is how many a form excludes at a time.
const maxExcluded = 1000

// exclusionsOf is the set of what is excluded of a workload, with its slash.
func exclusionsOf(of *client.Workload) string { return "/" + of.Noun + "ExclusionUnits" }

// protectsAll reports whether a policy protects all there is of its workload, but what is
// excluded. Only the beta version says it.
func (v *visit) protectsAll(id string) (bool, error) {
	p, err := get[struct{ ProtectionMode string }](v.ctx(), v.api, client.Beta+anyPolicy+"/"+url.PathEscape(id)+"?$select=protectionMode")
	if notServed(err) {
		return false, nil
	}
	return p.ProtectionMode == fullService, err
}

type exclusionAnswer struct {
	unitAnswer
	CreatedBy identitiesAnswer
}

type excludedPage struct {
	Policy   policyAnswer
	Excluded list[exclusionAnswer]
	Jobs     []bulkJobAnswer
	Text     string
	Wrong    string
}

// excluded shows what a policy of all there is leaves out.
func excluded(v *visit) error {
	var page excludedPage
	return v.showExcluded(page)
}

func (v *visit) showExcluded(page excludedPage) error {
	p, path, err := v.policy()
	if err != nil {
		return err
	}
	page.Policy, v.of = p, anyPolicy+"/"+p.ID
	of := p.Of()
	if page.Excluded, err = read[exclusionAnswer](v, client.Beta+path+exclusionsOf(of)); err != nil {
		return err
	}
	page.Jobs, _, err = take[bulkJobAnswer](v.api.All(v.ctx(), client.Beta+path+exclusionsOf(of)+"BulkAdditionJobs?$top=3&"+query("$orderby", "createdDateTime desc")), 3)
	if err != nil {
		return err
	}
	return v.show("excluded", "Excluded from "+p.DisplayName, page)
}

// changeExcluded excludes those of a form, or excludes those chosen no more.
func changeExcluded(v *visit) error {
	p, path, err := v.policy()
	if err != nil {
		return err
	}
	of, back := p.Of(), "/console/policies/"+url.PathEscape(p.ID)+"/excluded"
	var delta []any
	var addresses []string
	for _, id := range v.r.PostForm["exclusion"] {
		delta = append(delta, map[string]any{"@removed": map[string]string{"reason": "changed"}, "id": id})
	}
	removed := len(delta)
	for _, entry := range strings.Fields(strings.NewReplacer(",", " ", ";", " ").Replace(v.r.PostFormValue("text"))) {
		if of.IsID(entry) {
			delta = append(delta, map[string]string{of.Subject: entry})
		} else {
			addresses = append(addresses, entry)
		}
	}
	switch n := len(delta) + len(addresses); {
	case n == 0:
		return v.showExcluded(excludedPage{Wrong: "Name whom to exclude, or choose whom to exclude no more, first."})
	case n > maxExcluded:
		return v.showExcluded(excludedPage{Text: v.r.PostFormValue("text"), Wrong: "Those are more than 1,000. Exclude them in parts, or by ‘holdfast exclude add --from-csv’."})
	}
	for len(delta) > 0 {
		part := delta[:min(20, len(delta))]
		delta = delta[len(part):]
		if err := v.exclude(client.Beta+path, of, part); err != nil {
			if p := explain(err); p.status < http.StatusInternalServerError {
				return v.showExcluded(excludedPage{Text: v.r.PostFormValue("text"), Wrong: p.text})
			}
			return err
		}
	}
	if len(addresses) > 0 {
		body := map[string]any{"displayName": "Excluded in the console", of.Addresses: addresses}
		if err := v.api.Create(v.ctx(), client.Beta+path+exclusionsOf(of)+"BulkAdditionJobs", body, nil); err != nil {
			if p := explain(err); p.status < http.StatusInternalServerError {
				return v.showExcluded(excludedPage{Text: v.r.PostFormValue("text"), Wrong: p.text})
			}
			return err
		}
	}
	if removed > 0 {
		v.say("good", plural(removed, of.Noun+" is", of.Nouns+" are")+" excluded no more, and protected again.")
	} else {
		v.say("good", "They are being excluded. What was backed up of them stays.")
	}
	return v.redirect(back)
}

// exclude sends a part of a change of what a policy leaves out. It fails with what the
// first says that could not be done.
func (v *visit) exclude(path string, of *client.Workload, part []any) error {
	set := exclusionsOf(of)[1:] + "@delta"
	var answer map[string]json.RawMessage
	if err := v.api.Patch(v.ctx(), path, map[string]any{set: part}, &answer); err != nil {
		return err
	}
	var items []struct {
		Failure *struct{ Info struct{ Message string } } `json:"@Core.DataModificationException"`
	}
	if err := json.Unmarshal(answer[set], &items); err != nil {
		return err
	}
	for _, i := range items {
		if i.Failure != nil {
			return &problem{http.StatusConflict, "Not all could be done", "Not all could be done: " + i.Failure.Info.Message}
		}
	}
	return nil
}
