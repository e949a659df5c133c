package graphapi

import (
	"slices"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// Views show the domain in Microsoft's shapes: one function for each. They
// decide what is null and what is absent.

// An entityType is what query options may name of a resource.
type entityType struct {
	name       string           // in the schema
	properties []string         // for $select
	listed     []odata.Property // for $filter and $orderby; nil where a listing reads them itself, or has neither
	expands    []string         // for $expand; nil where a handler reads it itself, or there is none

	beta, betaExpands []string // what of these only the beta version has
	of                []string // the types derived from it that what is shown is of, where no route shows these alone
}

// inBeta is t as the beta version has it.
func (t *entityType) inBeta() *entityType {
	if t == nil || t.beta == nil {
		return t
	}
	more := *t
	more.properties = slices.Concat(t.properties, t.beta)
	more.expands = slices.Concat(t.expands, t.betaExpands)
	return &more
}

var (
	pointType      = &entityType{name: restorePoint, properties: []string{"id", "protectionDateTime", "expirationDateTime", "tags", "protectionUnit"}}
	serviceType    = &entityType{name: "backupRestoreRoot", properties: []string{"id", "serviceStatus"}}
	serviceAppType = &entityType{name: serviceApp, properties: []string{"id", "application", "status", "registrationDateTime", "effectiveDateTime", "lastModifiedBy", "lastModifiedDateTime"},
		listed: catalog.ServiceAppProperties}
	activityType = &entityType{name: "activityLogBase", properties: []string{"id", "activityType", "error", "eventDateTime", "performedBy", "resultStatus", "serviceType", "severity",
		"policyId", "restoreSessionId"}, listed: catalog.ActivityProperties,
		of: []string{"backupPolicyActivityLog", "dynamicRuleActivityLog", "offboardingActivityLog", "restoreTaskActivityLog"}}
	reportType = &entityType{name: "backupReport"}
)

// readOnly are members of every resource that a request may carry, as when a
// client sends back what it got. They change nothing.
var readOnly = []string{"id", "status", "error", "createdBy", "createdDateTime", "lastModifiedBy", "lastModifiedDateTime"}

// identities is an identitySet.
func identities(by backup.IdentitySet) any { return by }

// bareIdentities is an identitySet of ids alone, as bulk addition jobs have it.
func bareIdentities(by backup.IdentitySet) any {
	by.Application = backup.Identity{ID: by.Application.ID}
	by.User = backup.Identity{ID: by.User.ID}
	return identities(by)
}

func addStamps(e *odata.Entity, created, modified backup.Stamp, show func(backup.IdentitySet) any) {
	e.Add("createdBy", show(created.By))
	e.Add("createdDateTime", odata.FormatTime(created.At))
	e.Add("lastModifiedBy", show(modified.By))
	e.Add("lastModifiedDateTime", odata.FormatTime(modified.At))
}

// addTime adds a time that may not be set yet; then it is absent.
func addTime(e *odata.Entity, name string, t time.Time) {
	if !t.IsZero() {
		e.Add(name, odata.FormatTime(t))
	}
}

// addText adds a text that may not be known; then it is absent.
func addText(e *odata.Entity, name, text string) {
	if text != "" {
		e.Add(name, text)
	}
}

// evolved is value, or unknownFutureValue where the caller may not know it: it
// is among those that were added to its enumeration later, and the caller did
// not ask for them.
func evolved[T ~string](s *Server, x *exchange, value T, later ...T) string {
	if !x.prefer.UnknownEnums && !s.cfg.RealEnums {
		for _, l := range later {
			if value == l {
				return "unknownFutureValue"
			}
		}
	}
	return string(value)
}

// A failure is a part of a delta that was not done: the annotation
// @Core.DataModificationException.
type failure struct {
	Info            failureInfo `json:"info"`
	FailedOperation string      `json:"failedOperation"` // add or remove
	ResponseCode    int         `json:"responseCode"`
}

type failureInfo struct {
	Code    backup.Code     `json:"code"`
	Message string          `json:"message"`
	Target  string          `json:"target,omitempty"`
	Details []backup.Detail `json:"details,omitempty"`
}

// addContentID answers a part of a delta by the name its client gave it.
func addContentID(e *odata.Entity, id string) {
	if id != "" {
		e.Add("@contentId", id)
	}
}

// failed is the answer to a part of a delta that was not done.
func failed(c odata.Change, err *backup.Error) odata.Entity {
	var e odata.Entity
	id := c.ContentID
	if id == "" {
		id = backup.NewID[string]()
	}
	addContentID(&e, id)
	operation := "add"
	if c.Removed {
		operation = "remove"
	}
	e.Add("@Core.DataModificationException", failure{
		Info:            failureInfo{err.Code, err.Message, err.Target, err.Details},
		FailedOperation: operation, ResponseCode: 409,
	})
	return e
}
