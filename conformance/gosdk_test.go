package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	abstractions "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoft/kiota-abstractions-go/serialization"
	jsonserialization "github.com/microsoft/kiota-serialization-json-go"
	textserialization "github.com/microsoft/kiota-serialization-text-go"
	core "github.com/microsoftgraph/msgraph-sdk-go-core"
	"github.com/microsoftgraph/msgraph-sdk-go-core/authentication"
	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/models/odataerrors"
	"github.com/microsoftgraph/msgraph-sdk-go/solutions"
)

// asApplication signs in with the application's secret, by azidentity.
func asApplication(t *testing.T) azcore.TokenCredential {
	t.Helper()
	credential, err := azidentity.NewClientSecretCredential(dev.Tenant, dev.App, dev.Secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions:            azcore.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: dev.HTTPS}},
		DisableInstanceDiscovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return credential
}

// asUser is a person who uses the application. The simulated tenant gives out
// such tokens for a password, which azidentity asks more of an authority for
// than a tenant without people has.
type asUser string

func (u asUser) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	form := url.Values{
		"grant_type": {"password"}, "client_id": {dev.App}, "client_secret": {dev.Secret},
		"username": {string(u)}, "password": {"any"}, "scope": {"https://graph.microsoft.com/.default"},
	}
	answer, err := http.PostForm(dev.HTTPS+"/"+dev.Tenant+"/oauth2/v2.0/token", form)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	defer answer.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&token); err != nil || token.AccessToken == "" {
		return azcore.AccessToken{}, fmt.Errorf("token for %s: %s, %v", u, answer.Status, err)
	}
	return azcore.AccessToken{Token: token.AccessToken, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// backupRestore returns the SDK's builder of the Backup Storage API, and the
// adapter below it. It takes the package `solutions` alone, because the whole
// client compiles for minutes longer.
func backupRestore(t *testing.T, credential azcore.TokenCredential) (*solutions.BackupRestoreRequestBuilder, abstractions.RequestAdapter) {
	t.Helper()
	auth, err := authentication.NewAzureIdentityAuthenticationProviderWithScopesAndValidHosts(
		credential, []string{"https://graph.microsoft.com/.default"}, []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	abstractions.RegisterDefaultSerializer(func() serialization.SerializationWriterFactory {
		return jsonserialization.NewJsonSerializationWriterFactory()
	})
	abstractions.RegisterDefaultDeserializer(func() serialization.ParseNodeFactory {
		return jsonserialization.NewJsonParseNodeFactory()
	})
	abstractions.RegisterDefaultDeserializer(func() serialization.ParseNodeFactory {
		return textserialization.NewTextParseNodeFactory()
	})
	adapter, err := core.NewGraphRequestAdapterBase(auth, core.GraphClientOptions{GraphServiceLibraryVersion: "1.89.0"})
	if err != nil {
		t.Fatal(err)
	}
	adapter.SetBaseUrl(dev.HTTPS + "/v1.0")
	recorded := &recorder{RequestAdapter: adapter}
	return solutions.NewBackupRestoreRequestBuilderInternal(map[string]string{"baseurl": dev.HTTPS + "/v1.0"}, recorded), recorded
}

// An administrator's first day: a policy, a bulk job, a patch, protection, a
// loss, and the restore.
func administratorsStory(t *testing.T) {
	ctx := t.Context()
	root, adapter := backupRestore(t, asApplication(t))
	file := filepath.Join(dev.Drives, "amala@contoso.com", "Ångström #1 100%.txt")
	if err := os.WriteFile(file, []byte("the only copy"), 0o644); err != nil {
		t.Fatal(err)
	}

	create := models.NewOneDriveForBusinessProtectionPolicy()
	create.SetDisplayName(new("Every drive"))
	policy, err := root.OneDriveForBusinessProtectionPolicies().Post(ctx, create, nil)
	if err != nil {
		t.Fatalf("create a policy: %v", explain(err))
	}
	id := *policy.GetId()
	if policy.GetStatus() == nil || *policy.GetStatus() != models.INACTIVE_PROTECTIONPOLICYSTATUS {
		t.Errorf("a new policy is %v, want inactive", policy.GetStatus())
	}
	if len(policy.GetRetentionSettings()) != 2 || policy.GetCreatedBy().GetApplication() == nil {
		t.Errorf("a new policy lacks its retention or its creator")
	}

	// The SDK has no builder for jobs below a policy; its own way is WithUrl.
	job := models.NewDriveProtectionUnitsBulkAdditionJob()
	job.SetDisplayName(new("drives-I"))
	job.SetDrives([]string{"amala@contoso.com", "CONRAD@contoso.com", "nobody@contoso.com"})
	job.SetDirectoryObjectIds([]string{"1fec4e78-bce4-4aaf-ab1b-5451cc387264"})
	jobs := root.DriveProtectionUnitsBulkAdditionJobs()
	sets := dev.HTTPS + "/v1.0/solutions/backupRestore/oneDriveForBusinessProtectionPolicies/" + id
	posted, err := jobs.WithUrl(sets+"/driveProtectionUnitsBulkAdditionJobs").Post(ctx, job, nil)
	if err != nil {
		t.Fatalf("create a bulk addition job: %v", explain(err))
	}
	if *posted.GetStatus() != models.ACTIVE_PROTECTIONUNITSBULKJOBSTATUS || !slices.Equal(posted.GetDrives(), job.GetDrives()) ||
		!slices.Equal(posted.GetDirectoryObjectIds(), job.GetDirectoryObjectIds()) {
		t.Errorf("the job came back as %v %v %v", *posted.GetStatus(), posted.GetDrives(), posted.GetDirectoryObjectIds())
	}
	eventually(t, "the job ends with the one unknown address", func(ctx context.Context) bool {
		posted, err = jobs.ByDriveProtectionUnitsBulkAdditionJobId(*posted.GetId()).Get(ctx, nil)
		if err != nil {
			t.Fatalf("read the job: %v", explain(err))
		}
		return *posted.GetStatus() == models.COMPLETEDWITHERRORS_PROTECTIONUNITSBULKJOBSTATUS
	})
	if details := posted.GetError().GetDetails(); len(details) != 1 || *details[0].GetTarget() != "nobody@contoso.com" {
		t.Errorf("the job's error names %v, want only nobody@contoso.com", details)
	}

	if _, err := root.ProtectionPolicies().ByProtectionPolicyBaseId(id).Activate().Post(ctx, nil); err != nil {
		t.Fatalf("activate the policy: %v", explain(err))
	}
	var units []models.DriveProtectionUnitable
	eventually(t, "three drives are protected", func(ctx context.Context) bool {
		first, err := root.ProtectionUnits().GraphDriveProtectionUnit().Get(ctx, nil)
		if err != nil {
			t.Fatalf("list units: %v", explain(err))
		}
		pages, err := core.NewPageIterator[models.DriveProtectionUnitable](first, adapter, models.CreateDriveProtectionUnitCollectionResponseFromDiscriminatorValue)
		if err != nil {
			t.Fatal(err)
		}
		units = units[:0]
		if err := pages.Iterate(ctx, func(u models.DriveProtectionUnitable) bool {
			if u.GetPolicyId() != nil && *u.GetPolicyId() == id && *u.GetStatus() == models.PROTECTED_PROTECTIONUNITSTATUS {
				units = append(units, u)
			}
			return true
		}); err != nil {
			t.Fatalf("page through units: %v", explain(err))
		}
		return len(units) == 3
	})

	// A patch: one more owner, one unit out, and one that was never there.
	patch := models.NewOneDriveForBusinessProtectionPolicy()
	patch.SetDisplayName(new("Every drive, revised"))
	var removed string
	for _, u := range units {
		if *u.GetDirectoryObjectId() == "1fec4e78-bce4-4aaf-ab1b-5451cc387264" {
			removed = *u.GetId()
		}
	}
	patch.SetAdditionalData(map[string]any{"driveProtectionUnits@delta": []any{
		map[string]any{"directoryObjectId": "1b014d8c-71fe-4d00-a01a-31850bc5b32c"},
		map[string]any{"@removed": map[string]any{"reason": "changed"}, "id": "4267e382-71a9-4c07-bef7-bda97e09c0d2"},
		map[string]any{"@removed": map[string]any{"reason": "changed"}, "id": removed},
	}})
	patched, err := root.OneDriveForBusinessProtectionPolicies().ByOneDriveForBusinessProtectionPolicyId(id).Patch(ctx, patch, nil)
	if err != nil {
		t.Fatalf("patch the policy: %v", explain(err))
	}
	if *patched.GetDisplayName() != "Every drive, revised" {
		t.Errorf("the patched policy is called %q", *patched.GetDisplayName())
	}
	if results, ok := patched.GetAdditionalData()["driveProtectionUnits@delta"].([]any); !ok || len(results) != 3 {
		t.Errorf("the patch answered %v, want one result for each of 3 items", patched.GetAdditionalData())
	}

	// Lose the file, and bring it back.
	var unit string
	for _, u := range units {
		full, err := root.ProtectionUnits().ByProtectionUnitBaseId(*u.GetId()).Get(ctx, nil)
		if err != nil {
			t.Fatalf("read a unit: %v", explain(err))
		}
		drive, ok := full.(models.DriveProtectionUnitable)
		if !ok {
			t.Fatalf("a unit came as %T", full)
		}
		if id := *drive.GetDirectoryObjectId(); id != "1fec4e78-bce4-4aaf-ab1b-5451cc387264" && unit == "" {
			// amala was named first, so hers is the older of the two others.
			unit = *drive.GetId()
		}
	}
	search := solutions.NewBackupRestoreRestorePointsSearchPostRequestBody()
	var ids []string
	for _, u := range units {
		ids = append(ids, *u.GetId())
	}
	search.SetProtectionUnitIds(ids)
	search.SetProtectionTimePeriod(models.NewTimePeriod())
	preference := models.LATEST_RESTOREPOINTPREFERENCE
	search.SetRestorePointPreference(&preference)
	search.GetProtectionTimePeriod().SetStartDateTime(policy.GetCreatedDateTime())
	found, err := root.RestorePoints().Search().Post(ctx, search, nil)
	if err != nil {
		t.Fatalf("search restore points: %v", explain(err))
	}
	if len(found.GetSearchResults()) != 3 {
		t.Fatalf("found %d restore points of 3 units", len(found.GetSearchResults()))
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	session := models.NewOneDriveForBusinessRestoreSession()
	var artifacts []models.DriveRestoreArtifactable
	inPlace := models.INPLACE_DESTINATIONTYPE
	for _, result := range found.GetSearchResults() {
		point := models.NewRestorePoint()
		point.SetId(result.GetRestorePoint().GetId())
		artifact := models.NewDriveRestoreArtifact()
		artifact.SetRestorePoint(point)
		artifact.SetDestinationType(&inPlace)
		artifacts = append(artifacts, artifact)
	}
	session.SetDriveRestoreArtifacts(artifacts)
	made, err := root.OneDriveForBusinessRestoreSessions().Post(ctx, session, nil)
	if err != nil {
		t.Fatalf("create a restore session: %v", explain(err))
	}
	if _, err := root.RestoreSessions().ByRestoreSessionBaseId(*made.GetId()).Activate().Post(ctx, nil); err != nil {
		t.Fatalf("activate the session: %v", explain(err))
	}
	eventually(t, "the session is completed", func(ctx context.Context) bool {
		s, err := root.RestoreSessions().ByRestoreSessionBaseId(*made.GetId()).Get(ctx, nil)
		if err != nil {
			t.Fatalf("read the session: %v", explain(err))
		}
		return s.GetStatus() != nil && *s.GetStatus() == models.COMPLETED_RESTORESESSIONSTATUS
	})
	if got, err := os.ReadFile(file); err != nil || string(got) != "the only copy" {
		t.Errorf("after the restore the file holds %q, %v", got, err)
	}

	// A draft is filled by an update, and thrown away; another session finds what
	// to restore by addresses.
	sessions := root.OneDriveForBusinessRestoreSessions()
	draft, err := sessions.Post(ctx, models.NewOneDriveForBusinessRestoreSession(), nil)
	if err != nil {
		t.Fatalf("create a draft: %v", explain(err))
	}
	change := models.NewOneDriveForBusinessRestoreSession()
	change.SetAdditionalData(map[string]any{"driveRestoreArtifacts@delta": []any{
		map[string]any{"restorePoint": map[string]any{"id": *found.GetSearchResults()[0].GetRestorePoint().GetId()}, "destinationType": "new"}}})
	if _, err := sessions.ByOneDriveForBusinessRestoreSessionId(*draft.GetId()).Patch(ctx, change, nil); err != nil {
		t.Errorf("add to the draft: %v", explain(err))
	}
	if err := sessions.ByOneDriveForBusinessRestoreSessionId(*draft.GetId()).Delete(ctx, nil); err != nil {
		t.Errorf("delete the draft: %v", explain(err))
	}
	bulk, err := sessions.Post(ctx, models.NewOneDriveForBusinessRestoreSession(), nil)
	if err != nil {
		t.Fatalf("create a session: %v", explain(err))
	}
	request := models.NewDriveRestoreArtifactsBulkAdditionRequest()
	request.SetDisplayName(new("by address"))
	request.SetDrives([]string{"amala@contoso.com", "nobody@contoso.com"})
	request.SetProtectionTimePeriod(search.GetProtectionTimePeriod())
	request.SetDestinationType(&inPlace)
	request.SetRestorePointPreference(&preference)
	requests := sessions.ByOneDriveForBusinessRestoreSessionId(*bulk.GetId()).DriveRestoreArtifactsBulkAdditionRequests()
	asked, err := requests.Post(ctx, request, nil)
	if err != nil {
		t.Fatalf("restore in bulk: %v", explain(err))
	}
	if err := requests.ByDriveRestoreArtifactsBulkAdditionRequestId(*asked.GetId()).Delete(ctx, nil); code(err) != "InvalidStateForBulkRequestDeletion" {
		t.Errorf("delete a request that is not finished = %v", explain(err))
	}

	by := root.ProtectionPolicies().ByProtectionPolicyBaseId(id)
	eventually(t, "the policy is active, and can be deactivated", func(ctx context.Context) bool {
		_, err := by.Deactivate().Post(ctx, nil)
		return err == nil
	})

	// A refusal arrives as the SDK's own typed error.
	_, err = root.ProtectionPolicies().ByProtectionPolicyBaseId("00000000-0000-4000-8000-000000000000").Get(ctx, nil)
	if refusal, ok := errors.AsType[*odataerrors.ODataError](err); !ok || *refusal.GetErrorEscaped().GetCode() != "PolicyNotFound" {
		t.Errorf("an unknown policy answered %v", explain(err))
	}
}

// Stories of each family, told in turn on one server; then every builder.
func TestGoSDK(t *testing.T) {
	t.Run("an administrator's story", administratorsStory)
	t.Run("what only a person may do", personsStory)
	t.Run("sites", sitesStory)
	t.Run("mailboxes", mailboxesStory)
	if !t.Failed() {
		t.Run("every builder", everyBuilder)
	}
}

// The part of the story that only a person may do, and what needs no data.
func personsStory(t *testing.T) {
	ctx := t.Context()
	root, _ := backupRestore(t, asUser("User1@contoso.com"))
	try := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, explain(err))
		}
	}

	service, err := root.Get(ctx, nil)
	try("service status", err)
	if service != nil && *service.GetServiceStatus().GetStatus() != models.ENABLED_BACKUPSERVICESTATUS {
		t.Errorf("the service is %v", service.GetServiceStatus().GetStatus())
	}
	enable := solutions.NewBackupRestoreEnablePostRequestBody()
	enable.SetAppOwnerTenantId(&dev.Tenant)
	_, err = root.Enable().Post(ctx, enable, nil)
	try("enable", err)

	// A policy whose rule brings in a group.
	create := models.NewOneDriveForBusinessProtectionPolicy()
	create.SetDisplayName(new("By rule"))
	unit := models.NewDriveProtectionUnit()
	unit.SetDirectoryObjectId(new("5767e382-71a9-4c07-bef7-bda97e09c0d2"))
	// The sample's second policy holds this owner: it must be refused.
	create.SetDriveProtectionUnits([]models.DriveProtectionUnitable{unit})
	if _, err := root.OneDriveForBusinessProtectionPolicies().Post(ctx, create, nil); code(err) != "ProtectionUnitAlreadyExists" {
		t.Errorf("create a policy with an owner of another one = %v", explain(err))
	}
	create.SetDriveProtectionUnits(nil)
	made, err := root.OneDriveForBusinessProtectionPolicies().Post(ctx, create, nil)
	if err != nil {
		t.Fatalf("create a policy: %v", explain(err))
	}
	id := *made.GetId()
	typed := root.OneDriveForBusinessProtectionPolicies().ByOneDriveForBusinessProtectionPolicyId(id)
	rule := models.NewDriveProtectionRule()
	rule.SetDriveExpression(new("(memberOf -any (group.id -in ['00000000-0000-4000-8000-00000000dead']))"))
	rules := root.DriveInclusionRules()
	posted, err := rules.WithUrl(dev.HTTPS+"/v1.0/solutions/backupRestore/oneDriveForBusinessProtectionPolicies/"+id+"/driveInclusionRules").Post(ctx, rule, nil)
	if err != nil {
		t.Fatalf("create a rule: %v", explain(err))
	}
	eventually(t, "the rule of an unknown group ends with errors", func(ctx context.Context) bool {
		got, err := rules.ByDriveProtectionRuleId(*posted.GetId()).Get(ctx, nil)
		try("read a rule", err)
		return err != nil || *got.GetStatus() == models.COMPLETEDWITHERRORS_PROTECTIONRULESTATUS && *got.GetError().GetCode() == "invalidGroupId"
	})
	_, err = typed.DriveInclusionRules().Get(ctx, nil)
	try("list a policy's rules", err)
	_, err = rules.Get(ctx, nil)
	try("list rules", err)
	_, err = rules.Count().Get(ctx, nil)
	try("count rules", err)

	// A unit that is removed may be offboarded, and that be called off.
	add := models.NewOneDriveForBusinessProtectionPolicy()
	owner := "845457dc-4bb2-4815-bef3-8628ebd1952e"
	add.SetAdditionalData(map[string]any{"driveProtectionUnits@delta": []any{map[string]any{"directoryObjectId": owner}}})
	_, err = typed.Patch(ctx, add, nil)
	try("add an owner", err)
	var joined string
	eventually(t, "the unit is there", func(ctx context.Context) bool {
		all, err := root.DriveProtectionUnits().Get(ctx, nil)
		try("list drive units", err)
		if err != nil {
			return true
		}
		for _, u := range all.GetValue() {
			if *u.GetDirectoryObjectId() == owner {
				joined = *u.GetId()
				if u.GetEmail() == nil {
					continue // the directory is not mirrored yet
				}
			}
		}
		return joined != ""
	})
	one := root.ProtectionUnits().ByProtectionUnitBaseId(joined)
	if _, err := one.Offboard().Post(ctx, nil); code(err) != "OperationNotAllowed" {
		t.Errorf("offboard a unit that is in a policy = %v", explain(err))
	}
	leave := models.NewOneDriveForBusinessProtectionPolicy()
	leave.SetAdditionalData(map[string]any{"driveProtectionUnits@delta": []any{
		map[string]any{"@removed": map[string]any{"reason": "changed"}, "id": joined}}})
	_, err = typed.Patch(ctx, leave, nil)
	try("remove the unit", err)
	eventually(t, "the unit has left", func(ctx context.Context) bool {
		u, err := one.Get(ctx, nil)
		try("read the unit", err)
		return err != nil || u.GetPolicyId() == nil
	})
	_, err = one.Offboard().Post(ctx, nil)
	try("offboard", err)
	_, err = one.CancelOffboard().Post(ctx, nil)
	try("cancel offboarding", err)
	_, err = one.GraphDriveProtectionUnit().Get(ctx, nil)
	try("read the unit by its type", err)

	// The calling application takes control, and leaves it.
	app, err := root.ServiceApps().Post(ctx, models.NewServiceApp(), nil)
	if err != nil {
		t.Fatalf("register the application: %v", explain(err))
	}
	controller := root.ServiceApps().ByServiceAppId(*app.GetId())
	when := solutions.NewBackupRestoreServiceAppsItemActivatePostRequestBody()
	when.SetEffectiveDateTime(new(time.Now().Add(10 * 24 * time.Hour)))
	_, err = controller.Activate().Post(ctx, when, nil)
	try("activate the application", err)
	if _, err := controller.Deactivate().Post(ctx, nil); code(err) != "OperationNotAllowed" {
		t.Errorf("deactivate the application in control = %v", explain(err))
	}
	try("delete the application", controller.Delete(ctx, nil))
	_, err = root.ServiceApps().Post(ctx, models.NewServiceApp(), nil)
	try("register the application again", err)

	_, err = root.RestorePoints().Get(ctx, &solutions.BackupRestoreRestorePointsRequestBuilderGetRequestConfiguration{
		QueryParameters: &solutions.BackupRestoreRestorePointsRequestBuilderGetQueryParameters{
			Expand: []string{"protectionUnit($filter=id eq '" + joined + "')"},
			Filter: new("protectionDateTime lt 2100-01-01T00:00:00Z"),
		}})
	try("list restore points", err)
	// The SDK cannot say whose points to count: it has no $expand there.
	if _, err := root.RestorePoints().Count().Get(ctx, nil); code(err) != "InvalidSearchRequest" {
		t.Errorf("count restore points of nobody = %v", explain(err))
	}

	// What is of all families takes each by its type.
	base := models.NewOneDriveForBusinessProtectionPolicy()
	base.SetDisplayName(new("By its type"))
	typeless, err := root.ProtectionPolicies().Post(ctx, base, nil)
	if err != nil {
		t.Fatalf("create a policy by its type: %v", explain(err))
	}
	base.SetDisplayName(new("By its type, revised"))
	_, err = root.ProtectionPolicies().ByProtectionPolicyBaseId(*typeless.GetId()).Patch(ctx, base, nil)
	try("rename the policy", err)
	try("delete the policy", root.ProtectionPolicies().ByProtectionPolicyBaseId(*typeless.GetId()).Delete(ctx, nil))
	draft, err := root.RestoreSessions().Post(ctx, models.NewOneDriveForBusinessRestoreSession(), nil)
	if err != nil {
		t.Fatalf("create a session by its type: %v", explain(err))
	}
	_, err = root.RestoreSessions().ByRestoreSessionBaseId(*draft.GetId()).Patch(ctx, without("driveRestoreArtifacts@delta", models.NewOneDriveForBusinessRestoreSession()), nil)
	try("change the session", err)
	try("delete the session", root.RestoreSessions().ByRestoreSessionBaseId(*draft.GetId()).Delete(ctx, nil))
	create.SetDisplayName(new("Of nobody"))
	empty, err := root.OneDriveForBusinessProtectionPolicies().Post(ctx, create, nil)
	if err != nil {
		t.Fatalf("create another policy: %v", explain(err))
	}
	try("delete the policy", root.OneDriveForBusinessProtectionPolicies().ByOneDriveForBusinessProtectionPolicyId(*empty.GetId()).Delete(ctx, nil))
}

// without is an update that changes nothing of the collection called delta.
func without[T serialization.AdditionalDataHolder](delta string, of T) T {
	of.SetAdditionalData(map[string]any{delta: []any{}})
	return of
}

// code returns the code of an SDK error.
func code(err error) string {
	if refusal, ok := errors.AsType[*odataerrors.ODataError](err); ok && refusal.GetErrorEscaped() != nil && refusal.GetErrorEscaped().GetCode() != nil {
		return *refusal.GetErrorEscaped().GetCode()
	}
	return ""
}

// explain gives an SDK error its code and message.
func explain(err error) error {
	if refusal, ok := errors.AsType[*odataerrors.ODataError](err); ok && refusal.GetErrorEscaped() != nil {
		e := refusal.GetErrorEscaped()
		if e.GetCode() != nil && e.GetMessage() != nil {
			return errors.New(*e.GetCode() + ": " + *e.GetMessage())
		}
	}
	return err
}
