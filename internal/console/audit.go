package console

import (
	"strings"
	"time"

	"holdfast/internal/backup"
)

type auditPage struct {
	Entries    list[activityAnswer]
	Said       []entry // of Entries, in words
	Result     string
	Who        string       // the beginning of a name or an address, or an id
	What       string       // the path of one of deeds, or an operation
	Object     string       // the id of what was done to
	Unit       string       // whose backups: the id of a unit, or what its owner or site is called
	Units      []unitAnswer // that one, or those to choose from
	From, Till string       // days, as forms have them
	Wrong      string
}

// Results is what an entry may say of what was done.
func (auditPage) Results() []string { return []string{"succeeded", "failed", "partiallySucceeded"} }

// A deed is a kind of what is in the log, with its operations: no more than an index finds at once.
type deed struct {
	Path, Name string
	Operations []string
}

// deeds are all that people and applications do, and what the service does by itself.
var deeds = []deed{
	{"restores", "Restores", []string{"CreateSession", "UpdateSession", "ActivateSession", "PauseSession", "ResumeSession", "CancelSession", "DeleteSession", "CreateBulkRestore", "DeleteBulkRestore", "RestoreFinished"}},
	{"looks", "Looks into backups", []string{"CreateBrowseSession", "DeleteBrowseSession", "ReadContent", "Find", "SearchPoints", "Browse", "BackupExported"}},
	{"policies", "Policies", []string{"CreatePolicy", "UpdatePolicy", "ActivatePolicy", "DeactivatePolicy", "DeletePolicy", "CreateBulkJob", "CreateExclusionJob", "AllProtected"}},
	{"rules", "Inclusion rules", []string{"CreateRule", "UpdateRule", "RunRule", "DeleteRule", "ReleaseRule", "RuleApplied"}},
	{"offboarding", "Offboarding", []string{"OffboardUnit", "CancelOffboardUnit", "UnitOffboarded"}},
	{"approvals", "Approvals", []string{"ApprovalAsked", "Approve", "Deny", "ApprovalExpired", "ApprovalWithdrawn", "ApprovalVoided", "ApprovalRuleChanged"}},
	{"service", "Service and settings", []string{"EnableService", "CreateServiceApp", "ActivateServiceApp", "DeactivateServiceApp", "DeleteServiceApp", "UpdateEmailSetting", "RetentionChanged"}},
	{"vault", "Vault and catalog", []string{"VaultKnown", "VaultAccepted", "VaultRepaired", "VaultDamageFound", "VaultDamageHealed", "RestorePointsLost", "RestorePointsFound", "RestorePointsTakenUp",
		"CatalogRebuilt", "CatalogBackedUp", "CatalogRestored", "TenantImported"}},
}

// Deeds are the kinds to choose from.
func (auditPage) Deeds() []deed { return deeds }

// Filtered reports whether something is looked for.
func (p auditPage) Filtered() bool {
	return p.Result+p.Who+p.What+p.Object+p.Unit+p.From+p.Till != ""
}

// operations are those that a form's value stands for.
func operations(what string) []string {
	for _, d := range deeds {
		if d.Path == what {
			return d.Operations
		}
	}
	return []string{what}
}

// inWords is the name of an operation taken apart.
func inWords(operation string) string {
	var b strings.Builder
	for i, r := range operation {
		upper := r >= 'A' && r <= 'Z'
		if upper && i > 0 {
			b.WriteByte(' ')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Route is what was called, as the API has it, below what all have in common.
func (a activityAnswer) Route() string {
	return strings.TrimPrefix(a.Target, "/solutions/backupRestore/")
}

// Actor is who it was as the page's filter finds them for certain.
func (a activityAnswer) Actor() string { return firstLine(a.PerformedByID, a.PerformedBy) }

// listAudit shows who has done what, or was refused it, the newest first.
func listAudit(v *visit) error {
	q := v.r.URL.Query()
	trimmed := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	page := auditPage{Result: q.Get("result"), Who: trimmed("who"), What: trimmed("what"), Object: trimmed("object"), Unit: trimmed("unit"), From: q.Get("from"), Till: q.Get("till")}
	var terms, options []string
	if page.Who != "" {
		if _, ok := backup.ParseGUID(page.Who); ok {
			terms = append(terms, "@holdfast.performedById eq "+text(page.Who))
		} else { // their entries come one after another, if nobody says that the newest are first
			terms, options = append(terms, "startswith(performedBy,"+text(page.Who)+")"), append(options, query("$orderby", "eventDateTime desc"))
		}
	}
	if page.What != "" {
		var all []string
		for _, op := range operations(page.What) {
			all = append(all, text(op))
		}
		terms = append(terms, "@holdfast.operation in ("+strings.Join(all, ",")+")")
	}
	if page.Object != "" {
		terms = append(terms, "@holdfast.objectId eq "+text(page.Object))
	}
	unit, err := v.unitCalled(&page)
	if err != nil {
		return err
	}
	if page.Unit != "" && unit == "" {
		return v.show("audit", "Audit", page)
	}
	if unit != "" {
		terms = append(terms, "@holdfast.protectionUnitId eq "+text(unit))
	}
	if page.Result != "" {
		terms = append(terms, "resultStatus eq "+text(page.Result))
	}
	for _, day := range []struct {
		text, op string
		add      int
	}{{page.From, "ge", 0}, {page.Till, "lt", 1}} {
		if day.text == "" {
			continue
		}
		at, err := time.Parse(time.DateOnly, day.text)
		if err != nil {
			page.Wrong = "A day is written as 2026-03-14."
			continue
		}
		terms = append(terms, "eventDateTime "+day.op+" "+iso(at.AddDate(0, 0, day.add)))
	}
	if len(terms) > 0 {
		options = append(options, query("$filter", strings.Join(terms, " and ")))
	}
	if page.Entries, err = rows[activityAnswer](v, activitySet, options...); err != nil {
		return err
	}
	called, err := v.inLog(page.Entries.Items)
	if err != nil {
		return err
	}
	for _, a := range page.Entries.Items {
		page.Said = append(page.Said, called.say(a))
	}
	return v.show("audit", "Audit", page)
}

// unitCalled returns the id of the unit that the page is to be of, and says on the page what
// it is called, or what it lacks to be one.
func (v *visit) unitCalled(page *auditPage) (string, error) {
	if page.Unit == "" {
		return "", nil
	}
	if id, ok := backup.ParseGUID(page.Unit); ok {
		u, err := get[unitAnswer](v.ctx(), v.api, anyUnit+"/"+id)
		if err == nil {
			page.Units = []unitAnswer{u}
		}
		return id, nil // there may be no more of it than the log
	}
	called := text(page.Unit)
	var err error
	if page.Units, _, err = take[unitAnswer](v.api.All(v.ctx(), anyUnit+"?"+query("$filter", "email eq "+called+" or displayName eq "+called)), pageSize); err != nil {
		return "", err
	}
	switch len(page.Units) {
	case 0:
		page.Wrong = "No unit is called that. Give the whole address or name, or the id that is in the address of the unit's page."
	case 1:
		return page.Units[0].ID, nil
	}
	return "", nil
}
