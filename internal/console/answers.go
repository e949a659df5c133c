package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/client"
)

// The sets of the API.
const (
	pointSet    = "/restorePoints"
	anyBrowse   = "/browseSessions"
	anySession  = "/restoreSessions"
	anyPolicy   = "/protectionPolicies"
	anyUnit     = "/protectionUnits"
	serviceRoot = ""
	emailPath   = "/emailNotificationsSetting"
	activitySet = client.Beta + "/activityLogs"
)

// The answers of the API, as far as the pages read them.
type (
	serviceAnswer struct {
		ServiceStatus struct{ Status, DisableReason string }
		Source        string    `json:"@holdfast.sourceProblem"`
		Vault         string    `json:"@holdfast.vaultProblem"`
		Configuration string    `json:"@holdfast.configurationProblem"`
		Damage        int64     `json:"@holdfast.openDamageCount"`
		Verified      time.Time `json:"@holdfast.verifiedDateTime"`
		Retention     string    `json:"@holdfast.retentionDisagreement"`
	}
	policyAnswer struct {
		Type                                  string `json:"@odata.type"`
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
	unitAnswer struct {
		Type                                    string `json:"@odata.type"`
		SiteID, SiteName, SiteWebURL            string
		ID, DirectoryObjectID, PolicyID, Status string
		DisplayName, Email, ProtectionSources   string
		CreatedDateTime, LastModifiedDateTime   time.Time
		OffboardRequestedDateTime               time.Time
		Error                                   *problemAnswer
	}
	ruleAnswer struct {
		ID, Status                            string
		DriveExpression, SiteExpression       string
		MailboxExpression                     string
		IsAutoApplyEnabled                    bool
		CreatedDateTime, LastModifiedDateTime time.Time
		Error                                 *problemAnswer
	}
	bulkJobAnswer struct {
		ID, DisplayName, Status               string
		Type                                  string `json:"@odata.type"`
		Drives, DirectoryObjectIDs            []string
		SiteWebURLs, SiteIDs, Mailboxes       []string
		CreatedBy                             identitiesAnswer
		CreatedDateTime, LastModifiedDateTime time.Time
		Error                                 *problemAnswer
	}
	pointAnswer struct {
		ID                                     string
		ProtectionDateTime, ExpirationDateTime time.Time
		Tags                                   string
		ProtectionUnit                         unitAnswer

		Lacks    int       `json:"@holdfast.unreadItemCount"`
		Verified time.Time `json:"@holdfast.verifiedDateTime"`
		Lost     bool      `json:"@holdfast.isLost"`
	}
	searchAnswer struct {
		SearchResponseID string
		SearchResults    []struct {
			ArtifactHitCount int
			RestorePoint     pointAnswer
		}
		Note string `json:"@holdfast.note"`
	}
	explanationAnswer struct {
		ProtectionUnitID, Status, ProtectionSources string
		IsIncluded                                  bool
		Reasons                                     []struct{ Code, Message string }
	}
	sessionAnswer struct {
		Type                               string `json:"@odata.type"`
		ID, Status, RestoreJobType         string
		RestoreSessionArtifactCount        countsAnswer
		CreatedBy                          identitiesAnswer
		CreatedDateTime, CompletedDateTime time.Time
		Paused                             time.Time `json:"@holdfast.pausedDateTime"`
		Cancelled                          time.Time `json:"@holdfast.cancelledDateTime"`
		Error                              *problemAnswer
		Approval                           *approvalAnswer `json:"@holdfast.approval"`
		client.Shortfall
	}
	browseAnswer struct {
		ID, Status, RestorePointID               string
		DirectoryObjectID, SiteID                string
		BackupSizeInBytes                        string
		RestorePointDateTime, ExpirationDateTime time.Time
		Error                                    *problemAnswer
	}
	itemAnswer struct {
		ItemKey, Name, WebURL, Type, SizeInBytes string
		ItemsCount                               int
		Created                                  time.Time `json:"@holdfast.createdDateTime"`
		Modified                                 time.Time `json:"@holdfast.lastModifiedDateTime"`
	}
	artifactAnswer struct {
		ID, Status, DestinationType          string
		RestoredSiteName, RestoredSiteWebURL string
		RestoredFolderName                   string
		RestoredItemCount, ArtifactCount     int
		StartDateTime, CompletionDateTime    time.Time
		RestorePoint                         pointAnswer
		Error                                *problemAnswer
		TargetDrive                          string `json:"@holdfast.targetDrive"`
		TargetMailbox                        string `json:"@holdfast.targetMailbox"`
		ItemNames                            string `json:"@holdfast.itemNames"`
		client.Shortfall
	}
	granularAnswer struct {
		ID, Status, WebURL, RestoredItemPath, RestoredItemWebURL string
		RestorePointDateTime                                     time.Time
		client.Shortfall
	}
	activityAnswer struct {
		ID, PerformedBy, ResultStatus string
		ServiceType                   string
		EventDateTime                 time.Time
		Error                         *problemAnswer
		PerformedByID                 string       `json:"@holdfast.performedById"`
		Operation                     string       `json:"@holdfast.operation"`
		ObjectID                      string       `json:"@holdfast.objectId"`
		Target                        string       `json:"@holdfast.target"`
		Request                       string       `json:"@holdfast.requestId"`
		Units                         []loggedUnit `json:"@holdfast.units"`
	}
	loggedUnit  struct{ ProtectionUnitID, SubjectID, Address string }
	emailAnswer struct {
		IsEnabled  bool
		Recipients struct {
			Role             string
			CustomRecipients []struct{ ID, DisplayName, Email string }
		}
	}
	problemAnswer struct {
		Code, Message string
		Details       []struct{ Code, Message, Target string }
	}
)

// Name is what a unit is called: its owner's name or its site's, where that is known.
func (u unitAnswer) Name() string {
	return cmp.Or(u.DisplayName, u.SiteName, u.Email, u.SiteWebURL, u.DirectoryObjectID, u.SiteID)
}

// Address is that of a unit's owner, or of its site.
func (u unitAnswer) Address() string { return cmp.Or(u.Email, u.SiteWebURL) }

// Subject is the id of what a unit is of.
func (u unitAnswer) Subject() string { return cmp.Or(u.DirectoryObjectID, u.SiteID) }

// Called is what a unit is called in a sentence: the drive of somebody, the site.
func (u unitAnswer) Called() string { return "the " + u.named() }

// Live is the same of what it is now.
func (u unitAnswer) Live() string { return "live " + u.named() }

func (u unitAnswer) named() string {
	if u.Of() == client.Sites {
		return "site " + u.Name()
	}
	return u.Of().Noun + " of " + u.Name()
}

// These say of which workload an answer is.
func (u unitAnswer) Of() *client.Workload    { return client.WorkloadOf(u.Type) }
func (p policyAnswer) Of() *client.Workload  { return client.WorkloadOf(p.Type) }
func (s sessionAnswer) Of() *client.Workload { return client.WorkloadOf(s.Type) }

// InPart is what is said of one that brought back some, "" of any other.
func (s sessionAnswer) InPart() string {
	n := s.RestoreSessionArtifactCount
	return capital(s.Shortfall.Session(s.Status, n.Total, n.Failed))
}

// InPart is the same of an artifact.
func (a artifactAnswer) InPart() string { return capital(a.Shortfall.Artifact()) }

// InPart is the same of a file or folder.
func (a granularAnswer) InPart() string { return capital(a.Shortfall.Artifact()) }

// Parts is what a session of single things restores.
func (s sessionAnswer) Parts() string {
	switch s.Of() {
	case client.Mailboxes:
		return "messages"
	case client.Sites:
		return "files, folders and items"
	}
	return "files and folders"
}

// Expression is what a rule matches.
func (r ruleAnswer) Expression() string {
	return cmp.Or(r.DriveExpression, r.SiteExpression, r.MailboxExpression)
}

// Target is to whom, or into which site, an artifact goes that does not go back.
func (a artifactAnswer) Target() string {
	if a.TargetDrive != "" && strings.HasPrefix(a.RestoredSiteWebURL, strings.TrimSuffix(a.TargetDrive, "/")+"/") {
		return "" // the place itself says it
	}
	return cmp.Or(a.TargetDrive, a.TargetMailbox)
}

// Restored is how many messages an artifact restored.
func (a artifactAnswer) Restored() int { return max(a.RestoredItemCount, a.ArtifactCount) }

// Entries is how many a job was given.
func (j bulkJobAnswer) Entries() int {
	return len(j.Drives) + len(j.DirectoryObjectIDs) + len(j.SiteWebURLs) + len(j.SiteIDs) + len(j.Mailboxes)
}

// counted has policies say how many units they hold.
const counted = "$select=id,displayName,status,retentionSettings,createdBy,createdDateTime,protectionPolicyArtifactCount"

// notServed reports whether an error says that the server does not have a set: it
// may serve one workload only.
func notServed(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && (e.Status == http.StatusNotFound || e.Status == http.StatusBadRequest)
}

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

// text is a text as filters quote it.
func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// A list is one page of a collection, and where the others are.
type list[T any] struct {
	Items []T
	Total int
	First string // address of the first page; "" on that itself
	Next  string // of the next; "" on the last
}

const pageSize = 25

// read reads the page of a collection that the visit's address asks for, and how many there
// are. The address goes on to the other pages with whatever else it says.
//
// To count, the server may have to read all that a person's role reaches. So it is asked to
// on the first page only, if that is not the last as well; the address of the others says
// what it said.
func read[T any](v *visit, path string, options ...string) (l list[T], err error) {
	if l, err = uncounted[T](v, path, options...); err != nil {
		return l, err
	}
	here := v.r.URL.Query()
	total, err := strconv.Atoi(here.Get("total"))
	switch {
	case l.First == "" && l.Next == "":
		l.Total = len(l.Items)
		return l, nil
	case l.First != "" && err == nil && total != 0:
		l.Total = total
	default:
		var counted struct {
			Count int `json:"@odata.count"`
		}
		if err := v.api.Get(v.ctx(), path+"?"+strings.Join(append(options[:len(options):len(options)], "$top=1", "$count=true"), "&"), &counted); tooMany(err) {
			counted.Count = uncountable
		} else if err != nil {
			return l, err
		}
		l.Total = counted.Count
	}
	if l.Next != "" {
		l.Next += "&" + query("total", strconv.Itoa(l.Total))
	}
	return l, nil
}

// uncountable is in the place of a number of things that are too many to be counted.
const uncountable = -1

// tooMany reports whether the API would not count: what was asked for is well formed, since
// its first page has come.
func tooMany(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && e.Status == http.StatusBadRequest
}

// uncounted is read, but for how many there are.
func uncounted[T any](v *visit, path string, options ...string) (l list[T], err error) {
	options = append(options[:len(options):len(options)], query("$top", strconv.Itoa(pageSize)))
	here := v.r.URL.Query()
	after := here.Get("after")
	here.Del("total")
	if after != "" {
		options = append(options, query("$skiptoken", after))
		here.Del("after")
		l.First = v.r.URL.Path + "?" + here.Encode()
	}
	var page struct {
		Value []T
		Next  string `json:"@odata.nextLink"`
	}
	if err := v.api.Get(v.ctx(), path+"?"+strings.Join(options, "&"), &page); err != nil {
		return l, err
	}
	l.Items = page.Value
	if page.Next != "" {
		next, err := url.Parse(page.Next)
		if err != nil {
			return l, err
		}
		here.Set("after", next.Query().Get("$skiptoken"))
		l.Next = v.r.URL.Path + "?" + here.Encode()
	}
	return l, nil
}

// rows is read for a page whose rows are renewed by themselves, without what is below them:
// then nothing is counted.
func rows[T any](v *visit, path string, options ...string) (list[T], error) {
	if v.r.Header.Get("X-Live") != "" {
		return uncounted[T](v, path, options...)
	}
	return read[T](v, path, options...)
}

// forbidden reports whether an error is that the person may not see something,
// which leaves a hole in a page and is no reason to show none.
func forbidden(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && e.Status == http.StatusForbidden
}
