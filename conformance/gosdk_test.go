package conformance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	abstractions "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoft/kiota-abstractions-go/serialization"
	jsonserialization "github.com/microsoft/kiota-serialization-json-go"
	core "github.com/microsoftgraph/msgraph-sdk-go-core"
	"github.com/microsoftgraph/msgraph-sdk-go-core/authentication"
	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/models/odataerrors"
	"github.com/microsoftgraph/msgraph-sdk-go/solutions"
)

// backupRestore returns the SDK's builder of the Backup Storage API, and the
// adapter below it. It takes the package `solutions` alone, because the whole
// client compiles for minutes longer.
func backupRestore(t *testing.T) (*solutions.BackupRestoreRequestBuilder, abstractions.RequestAdapter) {
	t.Helper()
	credential, err := azidentity.NewClientSecretCredential(dev.tenant, dev.app, dev.secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions:            azcore.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: dev.https}},
		DisableInstanceDiscovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
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
	adapter, err := core.NewGraphRequestAdapterBase(auth, core.GraphClientOptions{GraphServiceLibraryVersion: "1.89.0"})
	if err != nil {
		t.Fatal(err)
	}
	adapter.SetBaseUrl(dev.https + "/v1.0")
	return solutions.NewBackupRestoreRequestBuilderInternal(map[string]string{"baseurl": dev.https + "/v1.0"}, adapter), adapter
}

// An administrator's first day: a policy, a bulk job, a patch, protection, a
// loss, and the restore.
func TestGoSDKTellsAnAdministratorsStory(t *testing.T) {
	ctx := t.Context()
	root, adapter := backupRestore(t)
	file := filepath.Join(dev.drives, "amala@contoso.com", "Ångström #1 100%.txt")
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
	sets := dev.https + "/v1.0/solutions/backupRestore/oneDriveForBusinessProtectionPolicies/" + id
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

	// A refusal arrives as the SDK's own typed error.
	_, err = root.ProtectionPolicies().ByProtectionPolicyBaseId("00000000-0000-4000-8000-000000000000").Get(ctx, nil)
	if refusal, ok := errors.AsType[*odataerrors.ODataError](err); !ok || *refusal.GetErrorEscaped().GetCode() != "PolicyNotFound" {
		t.Errorf("an unknown policy answered %v", explain(err))
	}
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
