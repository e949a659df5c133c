package console

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

// maxPolicies is how many policies a page reads.
const maxPolicies = 500

// maxNeeds is how many of what waits for an approval the first page names.
const maxNeeds = 10

// A need is something that waits for a person.
type need struct {
	Level string // bad, warn or info
	What  string
	Do    string
	Link  string
	Label string // of the link
}

// levels are in the order of their urgency.
var levels = map[string]int{"bad": 0, "warn": 1, "info": 2}

// A tile is a number that one can go after.
type tile struct {
	Name, Link, Level string
	Count             int
	Hint              string
}

type overviewPage struct {
	standing
	Areas   []area
	Courses []course
}

// An area is how one workload stands.
type area struct {
	Of    *client.Workload
	Title string
	Tiles []tile
	Bar   bar
	busy  int // units that are protected, or are to be
}

// titles are what the services are called.
var titles = map[*client.Workload]string{client.Drives: "OneDrive drives", client.Sites: "SharePoint sites", client.Mailboxes: "Exchange mailboxes"}

// A standing is how a tenant is, and what in it needs a person.
type standing struct {
	Hidden   []string // what the person may not see
	Needs    []need   // the most urgent first
	Policies []policyAnswer
	Sessions []sessionAnswer
	RPO      rpoAnswer
}

// sort puts what is most urgent first.
func (s *standing) sort() {
	slices.SortStableFunc(s.Needs, func(a, b need) int { return cmp.Compare(levels[a.Level], levels[b.Level]) })
}

// standing asks how the tenant is.
func (v *visit) standing() (s standing, err error) {
	ctx, api := v.ctx(), v.api
	// hide passes over what the person may not see.
	hide := func(what string, err error) error {
		if forbidden(err) {
			s.Hidden = append(s.Hidden, what)
			return nil
		}
		return err
	}
	service, err := get[serviceAnswer](ctx, api, serviceRoot)
	if err == nil {
		s.Needs = append(s.Needs, serviceNeeds(service)...)
	} else if err := hide("the service's state", err); err != nil {
		return s, err
	}
	var more bool
	s.Policies, more, err = take[policyAnswer](api.All(ctx, anyPolicy+"?"+counted), maxPolicies)
	if err := hide("policies and units", err); err != nil {
		return s, err
	}
	for _, p := range s.Policies {
		s.Needs = append(s.Needs, policyNeeds(p)...)
	}
	if more {
		s.Needs = append(s.Needs, need{Level: "info", What: fmt.Sprintf("There are more than %d policies; this page sums up the first of them.", maxPolicies), Link: "/console/policies", Label: "All policies"})
	}
	if s.RPO, err = get[rpoAnswer](ctx, api, "/holdfast.rpo"); err != nil && !forbidden(err) {
		return s, err
	}
	s.Needs = append(s.Needs, v.lateNeeds(s.RPO)...)
	waiting, _, err := take[approvalAnswer](api.All(ctx, waitingApprovals), maxNeeds)
	if err != nil && !forbidden(err) && !notServed(err) {
		return s, err
	}
	s.Needs = append(s.Needs, approvalNeeds(waiting)...)
	s.Sessions, _, err = take[sessionAnswer](api.All(ctx, anySession+"?$top=8&"+query("$orderby", "createdDateTime desc")), 8)
	if err := hide("restores", err); err != nil {
		return s, err
	}
	for _, one := range s.Sessions {
		s.Needs = append(s.Needs, v.sessionNeeds(one)...)
	}
	s.sort()
	return s, nil
}

// unprotectedNeed is what a tenant wants in which nothing is protected.
var unprotectedNeed = need{Level: "warn", What: "Nothing is protected.", Do: "Add drives, sites or mailboxes to a policy, and activate it.", Link: "/console/policies", Label: "Policies"}

// overview is the first page: is everything protected, and what needs a person.
func overview(v *visit) error {
	var page overviewPage
	var err error
	if page.standing, err = v.standing(); err != nil {
		return err
	}
	if !slices.Contains(page.Hidden, "policies and units") {
		busy := 0
		for _, w := range client.Workloads {
			a, err := v.area(w, page.Policies)
			if notServed(err) {
				continue
			}
			if err != nil {
				return err
			}
			page.Areas = append(page.Areas, a)
			busy += a.busy
		}
		if busy == 0 {
			page.Needs = append(page.Needs, unprotectedNeed)
			page.sort()
		}
	}
	days, _, err := take[dayAnswer](v.api.All(v.ctx(), "/holdfast.days?$top="+strconv.Itoa(maxDays)), maxDays)
	if err != nil && !forbidden(err) {
		return err
	}
	page.Courses = courses(days, v.cfg.Clock())
	return v.show("overview", "Overview", page)
}

// area counts the units of a workload.
func (v *visit) area(w *client.Workload, policies []policyAnswer) (a area, err error) {
	counts := map[backup.UnitStatus]int{}
	for _, status := range []backup.UnitStatus{backup.UnitProtected, backup.UnitProtectRequested, backup.UnitUnprotected} {
		if counts[status], err = count(v.ctx(), v.api, w.Units, "status eq '"+string(status)+"'"); err != nil {
			return a, err
		}
	}
	total, err := count(v.ctx(), v.api, w.Units, "")
	if err != nil {
		return a, err
	}
	failing := 0
	for _, p := range policies {
		if p.Of() == w {
			failing += p.ProtectionPolicyArtifactCount.Failed
		}
	}
	protected, waiting, unprotected := counts[backup.UnitProtected], counts[backup.UnitProtectRequested], counts[backup.UnitUnprotected]
	at := "/console/units?of=" + w.Nouns
	return area{
		Of: w, Title: titles[w], busy: protected + waiting,
		Tiles: []tile{
			{"Protected", at + "&status=protected", "good", protected, "backed up, and kept so"},
			{"Failing", at + "&failing=1", ifSome(failing, "bad"), failing, "the last backup was not whole"},
			{"Waiting", at + "&status=protectRequested", ifSome(waiting, "info"), waiting, "for their first backup"},
			{"Unprotected", at + "&status=unprotected", ifSome(unprotected, "warn"), unprotected, "no longer backed up; what there is, is kept"},
		},
		Bar: newBar([]share{{"Protected", "good", max(0, protected-failing)}, {"Failing", "bad", failing}, {"Waiting", "info", waiting},
			{"Unprotected", "warn", unprotected}, {"Other", "none", max(0, total-protected-waiting-unprotected)}}),
	}, nil
}

func ifSome(n int, level string) string {
	if n > 0 {
		return level
	}
	return "none"
}

// serviceNeeds is what the service as a whole wants.
func serviceNeeds(s serviceAnswer) (needs []need) {
	if s.Source != "" {
		needs = append(needs, need{"bad", "Microsoft 365 cannot be read as it has to be: " + s.Source,
			"Until it can, points grow old and restores wait; what is backed up is safe. Do what it says here, in the tenant's Entra ID or in Holdfast's configuration. Holdfast looks again every ten minutes; on the server, ‘holdfast serve --check --online’ looks at once.", "/console/health", "Health"})
	}
	if s.Vault != "" {
		needs = append(needs, need{"bad", "The vault cannot be used: " + s.Vault, "Nothing can be backed up or restored until it can. Look at the vault's storage on the server.", "/console/health", "Health"})
	}
	if s.ServiceStatus.Status != string(backup.ServiceEnabled) {
		needs = append(needs, need{"bad", "The service is " + s.ServiceStatus.Status + ".", "Nothing can be configured until it is enabled.", "/console/health", "Health"})
	}
	if s.Damage > 0 {
		needs = append(needs, need{"bad", plural(s.Damage, "damaged object", "damaged objects") + " in the vault and not healed.", "What is concerned is backed up anew by itself. On the server, ‘holdfast vault damage’ names what is concerned.", "/console/health", "Health"})
	}
	if s.Configuration != "" {
		needs = append(needs, need{"warn", s.Configuration, "", "/console/health", "Health"})
	}
	if s.Retention != "" {
		needs = append(needs, need{"warn", "Nothing expires now: " + s.Retention, "On the server, ‘holdfast retention’ shows both plans and puts one in force.", "/console/health", "Health"})
	}
	return needs
}

// policyNeeds is what a policy wants.
func policyNeeds(p policyAnswer) (needs []need) {
	link, n := "/console/policies/"+p.ID, p.ProtectionPolicyArtifactCount
	if n.Failed > 0 {
		needs = append(needs, need{"bad", plural(n.Failed, p.Of().Noun, p.Of().Nouns) + " of " + quote(p.DisplayName) + " could not be backed up whole.",
			"What could be read is safe. Each " + p.Of().Noun + " says what is missing and why.", link + "?failing=1", "Show them"})
	}
	if p.Status == string(backup.PolicyInactive) && n.Total > 0 {
		needs = append(needs, need{"warn", quote(p.DisplayName) + " is inactive: " + plural(n.Total, p.Of().Noun+" is", p.Of().Nouns+" are") + " not backed up.",
			"Activate the policy, or remove it if it is not wanted.", link, "Open"})
	}
	return needs
}

// sessionNeeds is what a restore wants.
func (v *visit) sessionNeeds(s sessionAnswer) (needs []need) {
	link, n := "/console/restores/"+s.ID, s.RestoreSessionArtifactCount
	recent := v.cfg.Clock().Sub(s.CompletedDateTime) < backup.BrowseLife
	switch backup.SessionStatus(s.Status) {
	case backup.SessionCompletedWithError, backup.SessionFailed:
		if recent {
			what := "A restore failed: " + fmt.Sprintf("%d of %d", n.Failed, n.Total) + " could not be restored."
			if inPart := s.Shortfall.Session(s.Status, n.Total, n.Failed); inPart != "" {
				what = "A restore ended " + inPart + "."
			}
			needs = append(needs, need{"warn", what,
				"The restore says which items and why.", link, "Show it"})
		}
	case backup.SessionDraft:
		needs = append(needs, need{"info", "A restore by " + s.CreatedBy.Name() + " was prepared and not started.", "Start it or delete it.", link, "Open"})
	}
	return needs
}

func quote(name string) string { return "“" + strings.TrimSpace(name) + "”" }

// A bar shows how a whole is made up, as a picture beside the same in words.
type bar struct {
	Total  int
	Shares []share
	Parts  []part
}

type share struct {
	Name, Level string
	Count       int
}

// A part is a share as it is drawn, in thousandths of the width.
type part struct {
	X, Width int
	Level    string
}

func newBar(shares []share) (b bar) {
	for _, s := range shares {
		b.Total += s.Count
	}
	x, sum := 0, 0
	for _, s := range shares {
		if s.Count == 0 {
			continue
		}
		b.Shares = append(b.Shares, s)
		sum += s.Count
		end := 1000 * sum / b.Total
		b.Parts = append(b.Parts, part{x, max(4, end-x), s.Level}) // one of many is to be seen as well
		x = end
	}
	return b
}
