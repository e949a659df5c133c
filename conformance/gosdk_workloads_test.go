package conformance

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/solutions"
)

// pointsSeen are restore points that stories found: no list shows them without a
// unit.
var pointsSeen []string

// A teller tells a story with one client.
type teller struct {
	*testing.T
	root *solutions.BackupRestoreRequestBuilder
}

// must ends the story if a step went wrong.
func (t *teller) must(what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, explain(err))
	}
}

// at is the address of what is below the API's root.
func at(path string) string { return dev.HTTPS + "/v1.0/solutions/backupRestore/" + path }

// write makes a file, as a person or a mail server does.
func (t *teller) write(path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// holds reports what is wrong if no file of a folder holds text. What is restored
// into a mailbox is in a file of another name.
func (t *teller) holds(dir, text string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if got, err := os.ReadFile(filepath.Join(dir, f.Name())); err == nil && string(got) == text {
			return
		}
	}
	t.Errorf("of the %d files of %s none holds %q", len(files), dir, text)
}

// protected waits until a unit is protected.
func (t *teller) protected(unit string) {
	t.Helper()
	eventually(t.T, "the unit is protected", func(ctx context.Context) bool {
		u, err := t.root.ProtectionUnits().ByProtectionUnitBaseId(unit).Get(ctx, nil)
		t.must("read the unit", err)
		return *u.GetStatus() == models.PROTECTED_PROTECTIONUNITSTATUS
	})
}

// latest finds the newest point of a unit, which holds what a query of mail looks
// for if there is one, and returns it with the id of the search.
func (t *teller) latest(unit, query string) (point models.RestorePointable, search string) {
	t.Helper()
	body := solutions.NewBackupRestoreRestorePointsSearchPostRequestBody()
	body.SetProtectionUnitIds([]string{unit})
	body.SetProtectionTimePeriod(models.NewTimePeriod())
	body.GetProtectionTimePeriod().SetStartDateTime(new(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)))
	body.SetRestorePointPreference(new(models.LATEST_RESTOREPOINTPREFERENCE))
	if query != "" {
		artifact := models.NewArtifactQuery()
		artifact.SetArtifactType(new(models.MESSAGE_RESTORABLEARTIFACT))
		artifact.SetQueryExpression(&query)
		body.SetArtifactQuery(artifact)
	}
	found, err := t.root.RestorePoints().Search().Post(t.Context(), body, nil)
	t.must("search restore points", err)
	if len(found.GetSearchResults()) != 1 {
		t.Fatalf("found %d restore points of one unit", len(found.GetSearchResults()))
	}
	if query != "" {
		if hits := found.GetSearchResults()[0].GetArtifactHitCount(); hits == nil || *hits != 1 {
			t.Errorf("the search found %v messages, want 1", hits)
		}
	}
	point = found.GetSearchResults()[0].GetRestorePoint()
	pointsSeen = append(pointsSeen, *point.GetId())
	only := models.NewRestorePoint()
	only.SetId(point.GetId())
	return only, *found.GetSearchResponseId()
}

// restored activates a session, and waits until it is completed.
func (t *teller) restored(session models.RestoreSessionBaseable, err error) {
	t.Helper()
	t.must("create a restore session", err)
	one := t.root.RestoreSessions().ByRestoreSessionBaseId(*session.GetId())
	_, err = one.Activate().Post(t.Context(), nil)
	t.must("activate the session", err)
	eventually(t.T, "the session is completed", func(ctx context.Context) bool {
		s, err := one.Get(ctx, nil)
		t.must("read the session", err)
		return *s.GetStatus() == models.COMPLETED_RESTORESESSIONSTATUS
	})
}

// A site's files and lists are protected by its address, and come back.
func sitesStory(test *testing.T) {
	root, _ := backupRestore(test, asApplication(test))
	t, ctx := &teller{test, root}, test.Context()
	plan := filepath.Join(dev.Sites, "gosdk", "libraries", "Documents", "plans", "50% of Ω.txt")
	offer := filepath.Join(dev.Sites, "gosdk", "lists", "Offers", "big.json")
	t.write(plan, "the plan")
	t.write(offer, `{"Title": "A big one"}`)
	policies := root.SharePointProtectionPolicies()

	create := models.NewSharePointProtectionPolicy()
	create.SetDisplayName(new("Every site"))
	policy, err := policies.Post(ctx, create, nil)
	t.must("create a policy", err)
	mine := policies.BySharePointProtectionPolicyId(*policy.GetId())
	job := models.NewSiteProtectionUnitsBulkAdditionJob()
	job.SetDisplayName(new("sites-I"))
	job.SetSiteWebUrls([]string{"https://contoso.sharepoint.com/sites/gosdk"})
	jobs := root.SiteProtectionUnitsBulkAdditionJobs()
	posted, err := jobs.WithUrl(at("sharePointProtectionPolicies/"+*policy.GetId()+"/siteProtectionUnitsBulkAdditionJobs")).Post(ctx, job, nil)
	t.must("add a site", err)
	eventually(test, "the job is completed", func(ctx context.Context) bool {
		j, err := jobs.BySiteProtectionUnitsBulkAdditionJobId(*posted.GetId()).Get(ctx, nil)
		t.must("read the job", err)
		return *j.GetStatus() == models.COMPLETED_PROTECTIONUNITSBULKJOBSTATUS
	})

	rule := models.NewSiteProtectionRule()
	rule.SetSiteExpression(new("((displayName -contains 'nobody') -or (webUrl -contains 'nowhere'))"))
	ofPolicy := at("sharePointProtectionPolicies/" + *policy.GetId() + "/siteInclusionRules")
	_, err = root.SiteInclusionRules().WithUrl(ofPolicy).Post(ctx, rule, nil)
	t.must("create a rule", err)
	other, err := root.SiteInclusionRules().WithUrl(ofPolicy).Post(ctx, rule, nil)
	t.must("create another rule", err)
	// The SDK's builder of an address is good for one call.
	byID := func() *solutions.BackupRestoreSiteInclusionRulesSiteProtectionRuleItemRequestBuilder {
		return root.SiteInclusionRules().BySiteProtectionRuleId(*other.GetId()).WithUrl(ofPolicy + "/" + *other.GetId())
	}
	rule.SetSiteExpression(new("(webUrl -contains 'elsewhere')"))
	if _, err := byID().Patch(ctx, rule, nil); code(err) != "PatchNotAllowedForStaticRule" {
		t.Errorf("change a rule of sites = %v", explain(err))
	}
	eventually(test, "the rule is evaluated", func(ctx context.Context) bool {
		r, err := byID().Get(ctx, nil)
		t.must("read the rule", err)
		return *r.GetStatus() == models.COMPLETED_PROTECTIONRULESTATUS
	})
	t.must("delete the rule", byID().Delete(ctx, nil))

	_, err = root.ProtectionPolicies().ByProtectionPolicyBaseId(*policy.GetId()).Activate().Post(ctx, nil)
	t.must("activate the policy", err)
	units, err := mine.SiteProtectionUnits().Get(ctx, nil)
	t.must("list the policy's units", err)
	if len(units.GetValue()) != 1 {
		t.Fatalf("the policy holds %d sites, want 1", len(units.GetValue()))
	}
	unit := units.GetValue()[0]
	t.protected(*unit.GetId())

	// In place, as a whole.
	point, _ := t.latest(*unit.GetId(), "")
	if err := os.Remove(plan); err != nil {
		t.Fatal(err)
	}
	sessions := root.SharePointRestoreSessions()
	artifact := models.NewSiteRestoreArtifact()
	artifact.SetRestorePoint(point)
	artifact.SetDestinationType(new(models.INPLACE_DESTINATIONTYPE))
	session := models.NewSharePointRestoreSession()
	session.SetSiteRestoreArtifacts([]models.SiteRestoreArtifactable{artifact})
	restoring, err := sessions.Post(ctx, session, nil)
	t.restored(restoring, err)
	t.holds(filepath.Dir(plan), "the plan")
	artifacts, err := sessions.BySharePointRestoreSessionId(*restoring.GetId()).SiteRestoreArtifacts().Get(ctx, nil)
	t.must("list the artifacts", err)
	if a := artifacts.GetValue(); len(a) != 1 || *a[0].GetStatus() != models.SUCCEEDED_ARTIFACTRESTORESTATUS {
		t.Errorf("the artifacts are %v", a)
	}

	// A draft is filled by an update, and thrown away.
	draft, err := sessions.Post(ctx, models.NewSharePointRestoreSession(), nil)
	t.must("create a draft", err)
	change := models.NewSharePointRestoreSession()
	change.SetAdditionalData(map[string]any{"siteRestoreArtifacts@delta": []any{
		map[string]any{"restorePoint": map[string]any{"id": *point.GetId()}, "destinationType": "new"}}})
	_, err = sessions.BySharePointRestoreSessionId(*draft.GetId()).Patch(ctx, change, nil)
	t.must("add to the draft", err)
	t.must("delete the draft", sessions.BySharePointRestoreSessionId(*draft.GetId()).Delete(ctx, nil))

	// By address, in bulk.
	bulk, err := sessions.Post(ctx, models.NewSharePointRestoreSession(), nil)
	t.must("create a session", err)
	request := models.NewSiteRestoreArtifactsBulkAdditionRequest()
	request.SetDisplayName(new("by address"))
	request.SetSiteWebUrls([]string{"https://contoso.sharepoint.com/sites/gosdk", "https://contoso.sharepoint.com/sites/nowhere"})
	request.SetProtectionTimePeriod(models.NewTimePeriod())
	request.GetProtectionTimePeriod().SetStartDateTime(new(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)))
	request.SetDestinationType(new(models.INPLACE_DESTINATIONTYPE))
	request.SetRestorePointPreference(new(models.LATEST_RESTOREPOINTPREFERENCE))
	requests := sessions.BySharePointRestoreSessionId(*bulk.GetId()).SiteRestoreArtifactsBulkAdditionRequests()
	asked, err := requests.Post(ctx, request, nil)
	t.must("restore in bulk", err)
	_, err = root.RestoreSessions().ByRestoreSessionBaseId(*bulk.GetId()).Activate().Post(ctx, nil)
	t.must("activate the session", err)
	eventually(test, "the one address is not found", func(ctx context.Context) bool {
		r, err := requests.BySiteRestoreArtifactsBulkAdditionRequestId(*asked.GetId()).Get(ctx, nil)
		t.must("read the request", err)
		return *r.GetStatus() == models.COMPLETEDWITHERRORS_RESTOREARTIFACTSBULKREQUESTSTATUS
	})
	t.must("delete the request", requests.BySiteRestoreArtifactsBulkAdditionRequestId(*asked.GetId()).Delete(ctx, nil))

	// The site leaves, and another policy goes.
	leave := models.NewSharePointProtectionPolicy()
	leave.SetAdditionalData(map[string]any{"siteProtectionUnits@delta": []any{
		map[string]any{"@removed": map[string]any{"reason": "changed"}, "id": *unit.GetId()},
		map[string]any{"siteId": *unit.GetSiteId()}}})
	if _, err := mine.Patch(ctx, leave, nil); code(err) != "DuplicateProtectionUnitInList" {
		t.must("rename the policy", err)
	}
	create.SetDisplayName(new("No site"))
	empty, err := policies.Post(ctx, create, nil)
	t.must("create another policy", err)
	t.must("delete it", policies.BySharePointProtectionPolicyId(*empty.GetId()).Delete(ctx, nil))
}

// A mailbox is protected by its owner's address, searched, and comes back, message
// by message and as a whole.
func mailboxesStory(test *testing.T) {
	root, _ := backupRestore(test, asApplication(test))
	t, ctx := &teller{test, root}, test.Context()
	inbox := filepath.Join(dev.Mail, "mira@contoso.com", "Inbox")
	const invoice = "From: Conrad <conrad@contoso.com>\r\nTo: mira@contoso.com\r\nSubject: Invoice 5/2026\r\nMessage-ID: <gosdk-1@contoso.com>\r\n\r\nPlease pay.\r\n"
	t.write(filepath.Join(inbox, "invoice.eml"), invoice)
	t.write(filepath.Join(inbox, "lunch.eml"), "From: Lothar <lothar@contoso.com>\r\nTo: mira@contoso.com\r\nSubject: Lunch\r\n\r\nAt noon?\r\n")
	policies := root.ExchangeProtectionPolicies()

	create := models.NewExchangeProtectionPolicy()
	create.SetDisplayName(new("Every mailbox"))
	policy, err := policies.Post(ctx, create, nil)
	t.must("create a policy", err)
	mine := policies.ByExchangeProtectionPolicyId(*policy.GetId())
	job := models.NewMailboxProtectionUnitsBulkAdditionJob()
	job.SetDisplayName(new("mailboxes-I"))
	job.SetMailboxes([]string{"MIRA@contoso.com"})
	jobs := root.MailboxProtectionUnitsBulkAdditionJobs()
	posted, err := jobs.WithUrl(at("exchangeProtectionPolicies/"+*policy.GetId()+"/mailboxProtectionUnitsBulkAdditionJobs")).Post(ctx, job, nil)
	t.must("add a mailbox", err)
	eventually(test, "the job is completed", func(ctx context.Context) bool {
		j, err := jobs.ByMailboxProtectionUnitsBulkAdditionJobId(*posted.GetId()).Get(ctx, nil)
		t.must("read the job", err)
		return *j.GetStatus() == models.COMPLETED_PROTECTIONUNITSBULKJOBSTATUS
	})

	rule := models.NewMailboxProtectionRule()
	rule.SetMailboxExpression(new("(memberOf -any (group.id -in ['6a0de200-4f6b-4c55-8f0e-c0a7050a0100']))"))
	rule.SetIsAutoApplyEnabled(new(true))
	ofPolicy := at("exchangeProtectionPolicies/" + *policy.GetId() + "/mailboxInclusionRules")
	_, err = root.MailboxInclusionRules().WithUrl(ofPolicy).Post(ctx, rule, nil)
	t.must("create a rule", err)

	_, err = root.ProtectionPolicies().ByProtectionPolicyBaseId(*policy.GetId()).Activate().Post(ctx, nil)
	t.must("activate the policy", err)
	var unit string
	eventually(test, "the mailbox and those of the group are in the policy", func(ctx context.Context) bool {
		units, err := mine.MailboxProtectionUnits().Get(ctx, nil)
		t.must("list the policy's units", err)
		for _, u := range units.GetValue() {
			if *u.GetDirectoryObjectId() == "1b014d8c-71fe-4d00-a01a-31850bc5b32c" {
				unit = *u.GetId()
			}
		}
		return len(units.GetValue()) == 4 && unit != ""
	})
	t.protected(unit)

	// One message, by a search.
	if err := os.Remove(filepath.Join(inbox, "invoice.eml")); err != nil {
		t.Fatal(err)
	}
	point, search := t.latest(unit, "(Subject -like 'invoice 5*') -and (Sender -like 'conrad@contoso.com')")
	sessions := root.ExchangeRestoreSessions()
	message := models.NewGranularMailboxRestoreArtifact()
	message.SetRestorePoint(point)
	message.SetDestinationType(new(models.INPLACE_DESTINATIONTYPE))
	message.SetSearchResponseId(&search)
	session := models.NewExchangeRestoreSession()
	session.SetGranularMailboxRestoreArtifacts([]models.GranularMailboxRestoreArtifactable{message})
	restoring, err := sessions.Post(ctx, session, nil)
	t.restored(restoring, err)
	t.holds(inbox, invoice)
	artifacts, err := sessions.ByExchangeRestoreSessionId(*restoring.GetId()).GranularMailboxRestoreArtifacts().Get(ctx, nil)
	t.must("list the artifacts", err)
	if a := artifacts.GetValue(); len(a) != 1 || *a[0].GetArtifactCount() != 1 {
		t.Errorf("the artifacts are %v", a)
	}

	// All of it, into a new folder.
	whole := models.NewMailboxRestoreArtifact()
	whole.SetRestorePoint(point)
	whole.SetDestinationType(new(models.NEW_DESTINATIONTYPE))
	session = models.NewExchangeRestoreSession()
	session.SetMailboxRestoreArtifacts([]models.MailboxRestoreArtifactable{whole})
	restoring, err = sessions.Post(ctx, session, nil)
	t.restored(restoring, err)
	boxes, err := sessions.ByExchangeRestoreSessionId(*restoring.GetId()).MailboxRestoreArtifacts().Get(ctx, nil)
	t.must("list the artifacts", err)
	if a := boxes.GetValue(); len(a) != 1 || a[0].GetRestoredFolderName() == nil || *a[0].GetRestoredItemCount() < 2 {
		t.Errorf("the artifacts are %v", a)
	}

	// A draft is filled by an update, and thrown away.
	draft, err := sessions.Post(ctx, models.NewExchangeRestoreSession(), nil)
	t.must("create a draft", err)
	change := models.NewExchangeRestoreSession()
	change.SetAdditionalData(map[string]any{"mailboxRestoreArtifacts@delta": []any{
		map[string]any{"restorePoint": map[string]any{"id": *point.GetId()}, "destinationType": "inPlace"}}})
	_, err = sessions.ByExchangeRestoreSessionId(*draft.GetId()).Patch(ctx, change, nil)
	t.must("add to the draft", err)
	t.must("delete the draft", sessions.ByExchangeRestoreSessionId(*draft.GetId()).Delete(ctx, nil))

	// By address, in bulk.
	bulk, err := sessions.Post(ctx, models.NewExchangeRestoreSession(), nil)
	t.must("create a session", err)
	request := models.NewMailboxRestoreArtifactsBulkAdditionRequest()
	request.SetDisplayName(new("by address"))
	request.SetMailboxes([]string{"mira@contoso.com", "nobody@contoso.com"})
	request.SetProtectionTimePeriod(models.NewTimePeriod())
	request.GetProtectionTimePeriod().SetStartDateTime(new(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)))
	request.SetDestinationType(new(models.INPLACE_DESTINATIONTYPE))
	request.SetRestorePointPreference(new(models.LATEST_RESTOREPOINTPREFERENCE))
	requests := sessions.ByExchangeRestoreSessionId(*bulk.GetId()).MailboxRestoreArtifactsBulkAdditionRequests()
	asked, err := requests.Post(ctx, request, nil)
	t.must("restore in bulk", err)
	_, err = root.RestoreSessions().ByRestoreSessionBaseId(*bulk.GetId()).Activate().Post(ctx, nil)
	t.must("activate the session", err)
	eventually(test, "the one address is not found", func(ctx context.Context) bool {
		r, err := requests.ByMailboxRestoreArtifactsBulkAdditionRequestId(*asked.GetId()).Get(ctx, nil)
		t.must("read the request", err)
		return *r.GetStatus() == models.COMPLETEDWITHERRORS_RESTOREARTIFACTSBULKREQUESTSTATUS
	})
	t.must("delete the request", requests.ByMailboxRestoreArtifactsBulkAdditionRequestId(*asked.GetId()).Delete(ctx, nil))

	// The mailbox leaves, and another policy goes.
	leave := models.NewExchangeProtectionPolicy()
	leave.SetAdditionalData(map[string]any{"mailboxProtectionUnits@delta": []any{
		map[string]any{"@removed": map[string]any{"reason": "changed"}, "id": unit}}})
	_, err = mine.Patch(ctx, leave, nil)
	t.must("take the mailbox out", err)
	create.SetDisplayName(new("No mailbox"))
	empty, err := policies.Post(ctx, create, nil)
	t.must("create another policy", err)
	t.must("delete it", policies.ByExchangeProtectionPolicyId(*empty.GetId()).Delete(ctx, nil))
}
