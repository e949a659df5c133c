package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"time"

	"holdfast/internal/client"
)

// The sets of the API.
const (
	policySet    = "/oneDriveForBusinessProtectionPolicies"
	unitSet      = "/driveProtectionUnits"
	bulkJobSet   = "/driveProtectionUnitsBulkAdditionJobs"
	ruleSet      = "/driveInclusionRules"
	pointSet     = "/restorePoints"
	sessionSet   = "/oneDriveForBusinessRestoreSessions"
	artifactSet  = "/driveRestoreArtifacts"
	granularSet  = "/granularDriveRestoreArtifacts"
	browseSet    = "/oneDriveForBusinessBrowseSessions"
	anySession   = "/restoreSessions"
	anyPolicy    = "/protectionPolicies"
	anyUnit      = "/protectionUnits"
	serviceRoot  = ""
	activityRoot = "/beta/solutions/backupRestore/activityLogs"
)

// The answers of the API, as far as the pages read them.
type (
	serviceAnswer struct {
		ServiceStatus struct{ Status, DisableReason string }
		Vault         string    `json:"@holdfast.vaultProblem"`
		Damage        int64     `json:"@holdfast.openDamageCount"`
		Verified      time.Time `json:"@holdfast.verifiedDateTime"`
		Retention     string    `json:"@holdfast.retentionDisagreement"`
	}
	policyAnswer struct {
		ID, DisplayName, Status               string
		RetentionSettings                     []struct{ Interval, Period string }
		ProtectionPolicyArtifactCount         countsAnswer
		CreatedBy, LastModifiedBy             identitiesAnswer
		CreatedDateTime, LastModifiedDateTime time.Time
	}
	countsAnswer     struct{ Total, Completed, Failed, InProgress int }
	identitiesAnswer struct {
		Application, User struct{ ID, DisplayName, Email string }
	}
	sessionAnswer struct {
		ID, Status, RestoreJobType         string
		RestoreSessionArtifactCount        countsAnswer
		CreatedBy                          identitiesAnswer
		CreatedDateTime, CompletedDateTime time.Time
		Error                              *problemAnswer
	}
	problemAnswer struct {
		Code, Message string
		Details       []struct{ Code, Message, Target string }
	}
)

// Name is who did something.
func (i identitiesAnswer) Name() string {
	return cmp.Or(i.User.DisplayName, i.User.Email, i.User.ID, i.Application.DisplayName, i.Application.ID, "Holdfast")
}

// query is an option of an address, with its value escaped.
func query(name, value string) string { return name + "=" + url.QueryEscape(value) }

// get reads what is at path.
func get[T any](ctx context.Context, api *client.Client, path string) (answer T, err error) {
	return answer, api.Get(ctx, path, &answer)
}

// take reads the first members of a collection, and reports whether there are
// more.
func take[T any](all iter.Seq2[json.RawMessage, error], limit int) (list []T, more bool, err error) {
	for value, err := range all {
		if err != nil {
			return list, false, err
		}
		if len(list) == limit {
			return list, true, nil
		}
		var one T
		if err := json.Unmarshal(value, &one); err != nil {
			return list, false, err
		}
		list = append(list, one)
	}
	return list, false, nil
}

// count reads how many a collection has that match a filter; "" for all.
func count(ctx context.Context, api *client.Client, path, filter string) (n int, err error) {
	path += "/$count"
	if filter != "" {
		path += "?" + query("$filter", filter)
	}
	return n, api.Get(ctx, path, &n)
}

// forbidden reports whether an error is that the person may not see something,
// which leaves a hole in a page and is no reason to show none.
func forbidden(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && e.Status == http.StatusForbidden
}
