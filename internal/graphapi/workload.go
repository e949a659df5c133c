package graphapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
)

// A workload is how the API speaks of one of the services that are protected.
// The three differ in words, and these nearly all follow from two: the name of
// the service and the name of what a unit is of. Routes, views, readers of
// bodies and $metadata take their words from here.
type workload struct {
	kind backup.Workload

	subject    string    // the member that names what a unit is of
	formerly   string    // its former name, which is still read; "" if it had none
	called     [2]string // the members that say what that is called: its name, and its address
	expression string    // the member that holds what a rule matches
	addresses  string    // the list that names subjects by their addresses
	ids        string    // the list that names them by their ids

	// For messages: what a unit is of, in one word and as the subject says it, and
	// what is protected, one and many.
	owner, meaning, thing, things string
	address                       string      // what an entry of addresses is
	badAddress                    backup.Code // of an entry that is none
	ruleForm                      string      // of a rule's expression

	policies, units, rules, bulkJobs           collection
	exclusions, exclusionJobs                  collection // of beta
	sessions, artifacts, granular, bulkRestore collection
	browses                                    collection // none if points are searched
	restored                                   []string   // the members that say where an artifact was restored to: id, name and address
	counted                                    string     // the member that says how many items were; "" if there is none
	searched                                   bool       // parts of a point are found by a search, and are not looked into
	libraries                                  bool       // a point holds several, as folders
	longNames                                  bool       // the source's names of subjects are longer than their ids, and shown
}

// A collection is a set of the API and the type of what is in it.
type collection struct {
	set string
	*entityType
}

// delta is the member that changes a collection in an update.
func (c collection) delta() string { return c.set + "@delta" }

// of is the collection as it is found below an entity of the set above.
func (c collection) of(above collection, id string) string {
	return above.set + "('" + id + "')/" + c.set
}

// oneDrive is users' drives.
var oneDrive = describe(backup.OneDrive, "drive", workload{
	subject: "directoryObjectId", formerly: "userId", called: [2]string{"displayName", "email"},
	addresses: "drives", ids: "directoryObjectIds",
	meaning: "the GUID of the drive's owner", things: "drives",
	address: "an e-mail address", badAddress: backup.BulkRestoreInvalidEmail,
	ruleForm: groupRule,
	restored: []string{"restoredSiteId", "restoredSiteName", "restoredSiteWebUrl"},
})

// sharePoint is sites.
var sharePoint = describe(backup.SharePoint, "site", workload{
	subject: "siteId", called: [2]string{"siteName", "siteWebUrl"},
	addresses: "siteWebUrls", ids: "siteIds",
	meaning: "the host, collection and web of the site, or its collection's GUID alone", things: "sites",
	address: "the address of a site", badAddress: backup.BulkRestoreInvalidSiteURL,
	ruleForm:  "((displayName -contains 'word') -or (webUrl -contains 'word'))",
	restored:  []string{"restoredSiteId", "restoredSiteName", "restoredSiteWebUrl"},
	libraries: true, longNames: true,
})

// exchangeOnline is users' mailboxes.
var exchangeOnline = describe(backup.Exchange, "mailbox", workload{
	subject: "directoryObjectId", called: [2]string{"displayName", "email"},
	addresses: "mailboxes", ids: "directoryObjectIds",
	meaning: "the GUID of the mailbox's owner", things: "mailboxes",
	address: "an e-mail address", badAddress: backup.BulkRestoreInvalidEmail,
	ruleForm: groupRule,
	restored: []string{"restoredFolderId", "restoredFolderName"}, counted: "restoredItemCount",
	searched: true,
})

// groupRule is the form of a rule that is of groups.
const groupRule = "(memberOf -any (group.id -in ['GUID']))"

// described are all workloads that the API has words for. Which of them a server
// serves its configuration says.
var described = []*workload{oneDrive, sharePoint, exchangeOnline}

// wordsOf returns how the API speaks of a workload.
func wordsOf(kind backup.Workload) *workload {
	for _, w := range described {
		if w.kind == kind {
			return w
		}
	}
	return oneDrive // the catalog holds nothing that nobody could make
}

// served returns the descriptions of workloads, of each once.
func served(kinds []backup.Workload) ([]*workload, error) {
	var all []*workload
	for _, kind := range kinds {
		w := wordsOf(kind)
		if w.kind != kind {
			return nil, fmt.Errorf("the API has no words for the workload %q", kind)
		}
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	return all, nil
}

// names reports whether a segment of an address names a set of the workload.
func (w *workload) names(segment string) bool {
	return slices.ContainsFunc([]collection{w.policies, w.units, w.rules, w.bulkJobs, w.exclusions, w.exclusionJobs, w.sessions, w.browses, w.bulkRestore},
		func(c collection) bool { return c.entityType != nil && strings.EqualFold(c.set, segment) })
}

// These pick the collection of a workload that corresponds to a set of all.
func policiesOf(w *workload) collection   { return w.policies }
func unitsOf(w *workload) collection      { return w.units }
func exclusionsOf(w *workload) collection { return w.exclusions }
func sessionsOf(w *workload) collection   { return w.sessions }
func browsesOf(w *workload) collection    { return w.browses }

// posted returns the workload of an entity that is posted. One that is posted to
// a set of several types must say which of them it is; code is the answer to
// one that does not.
func (s *Server) posted(x *exchange, in func(*workload) collection, code backup.Code) (*workload, error) {
	if x.route.of != nil {
		return x.route.of, nil
	}
	typ, given, err := x.body.Type()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, w := range s.workloads {
		if given && in(w).name == typ {
			catalog.AuditedOf(x.ctx(), w.kind)
			return w, nil
		}
		names = append(names, "'#microsoft.graph."+in(w).name+"'")
	}
	if given {
		return nil, backup.Fail(backup.InvalidRequest, "The @odata.type is none of those of this set, "+strings.Join(names, ", ")+".").On("@odata.type")
	}
	return nil, backup.Fail(code, "This set holds several types: say which with '@odata.type': "+strings.Join(names, " or ")+".").On("@odata.type")
}

// wordsOfPolicy returns the workload of a policy that is to be changed.
func (s *Server) wordsOfPolicy(x *exchange, id policyID) (*workload, error) {
	if x.route.of != nil {
		return x.route.of, nil
	}
	p, err := s.catalog.Policy(x.ctx(), x.tenant(), id)
	return wordsOf(p.Workload), err
}

// wordsOfSession returns the workload of a restore session that is to be changed.
func (s *Server) wordsOfSession(x *exchange, id sessionID) (*workload, error) {
	if x.route.of != nil {
		return x.route.of, nil
	}
	v, err := s.catalog.Session(x.ctx(), x.tenant(), id)
	return wordsOf(v.Workload), err
}

// thingOf says by its set what an address of one workload is of.
func (w *workload) thingOf(set string) (catalog.Thing, backup.Code) {
	switch set {
	case policySet, w.policies.set:
		return catalog.APolicy, backup.PolicyNotFound
	case unitSet, w.units.set:
		return catalog.AUnit, backup.ProtectionUnitNotFound
	case w.rules.set:
		return catalog.ARule, backup.ProtectionRuleNotFound
	case w.exclusions.set:
		return catalog.AnExclusion, backup.ItemNotFound
	case w.bulkJobs.set, w.exclusionJobs.set:
		return catalog.ABulkJob, backup.ItemNotFound
	case sessionSet, w.sessions.set:
		return catalog.ASession, backup.RestoreSessionNotFound
	}
	return catalog.ABrowseSession, backup.ItemNotFound
}

// ofItsWorkload refuses an address of one workload that names what is of another:
// there it is as good as unknown. What nobody knows it lets pass, to be answered in
// its turn.
func (s *Server) ofItsWorkload(x *exchange) error {
	w := x.route.of
	set, below, keyed := strings.Cut(x.route.path, "/{")
	if w == nil || !keyed {
		return nil
	}
	name, _, _ := strings.Cut(below, "}")
	id, ok := backup.ParseGUID(x.r.PathValue(name))
	if !ok {
		return nil
	}
	thing, unknown := w.thingOf(set)
	kind, err := s.catalog.WorkloadOf(x.ctx(), x.tenant(), thing, id)
	if err == nil && kind != "" && kind != w.kind {
		err = backup.Fail(unknown, "There is none of this id among what is of "+w.things+". It is of another workload.").On(name)
	}
	return err
}

// inWords has an error speak of a unit's subject, and of a rule's expression, by
// the members that hold them.
func (w *workload) inWords(err error) error {
	e, ok := errors.AsType[*backup.Error](err)
	if !ok {
		return err
	}
	switch e.Target {
	case "subject":
		return e.On(w.subject)
	case "expression":
		return e.On(w.expression)
	}
	return err
}

// either is what query options may name of a collection of w or, without w, of
// the set of all that are served.
func either(w *workload, served []*workload, base string, in func(*workload) collection) *entityType {
	if w == nil {
		return all(served, base, in)
	}
	return in(w).entityType
}

// all is what the entities of every workload have in common in a set of all, as
// query options may name it: base is the type that theirs are derived from.
func all(served []*workload, base string, in func(*workload) collection) *entityType {
	t := &entityType{name: base}
	for _, w := range served {
		if in(w).entityType == nil {
			continue
		}
		t.listed = in(w).listed
		for _, p := range in(w).properties {
			if !slices.Contains(t.properties, p) {
				t.properties = append(t.properties, p)
			}
		}
		for _, e := range in(w).expands {
			if !slices.Contains(t.expands, e) {
				t.expands = append(t.expands, e)
			}
		}
		t.beta = append(t.beta, in(w).beta...)
		t.betaExpands = append(t.betaExpands, in(w).betaExpands...)
	}
	return t
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// describe completes w, whose service is named by kind, and whose units are
// called by noun.
func describe(kind backup.Workload, noun string, w workload) *workload {
	service, title := string(kind), upperFirst(noun)
	stamps := []string{"createdBy", "createdDateTime", "lastModifiedBy", "lastModifiedDateTime"}
	with := func(lists ...[]string) []string { return slices.Concat(lists...) }

	w.kind, w.expression = kind, noun+"Expression"
	w.owner, w.thing = kind.Subject(), kind.Thing()
	w.units = collection{noun + "ProtectionUnits", &entityType{name: noun + "ProtectionUnit", listed: catalog.UnitProperties,
		properties: with([]string{"id", "policyId", w.subject, w.called[0], w.called[1], "status", "protectionSources"}, stamps, []string{"error", "offboardRequestedDateTime"})}}
	w.rules = collection{noun + "InclusionRules", &entityType{name: noun + "ProtectionRule", listed: catalog.RuleProperties,
		properties: with([]string{"id", w.expression, "isAutoApplyEnabled", "status"}, stamps, []string{"error"})}}
	w.bulkJobs = collection{noun + "ProtectionUnitsBulkAdditionJobs", &entityType{name: noun + "ProtectionUnitsBulkAdditionJob", listed: catalog.BulkJobProperties,
		properties: with([]string{"id", "displayName", "status", w.addresses, w.ids}, stamps, []string{"error"})}}
	w.exclusions = collection{noun + "ExclusionUnits", &entityType{name: noun + "ExclusionUnit", listed: catalog.ExclusionProperties,
		properties: with([]string{"id", "policyId", w.subject, w.called[0], w.called[1]}, stamps)}}
	w.exclusionJobs = collection{noun + "ExclusionUnitsBulkAdditionJobs", &entityType{name: noun + "ExclusionUnitsBulkAdditionJob", listed: catalog.BulkJobProperties,
		properties: with([]string{"id", "displayName", "status", w.addresses}, stamps, []string{"error"})}}
	w.policies = collection{service + "ProtectionPolicies", &entityType{name: service + "ProtectionPolicy", listed: catalog.PolicyProperties,
		expands: []string{w.units.set, w.rules.set, w.bulkJobs.set},
		beta:    []string{"protectionMode"}, betaExpands: []string{w.exclusions.set, w.exclusionJobs.set},
		properties: with([]string{"id", "displayName", "status", "isEnabled", "retentionSettings", "protectionPolicyArtifactCount"}, stamps)}}
	w.sessions = collection{service + "RestoreSessions", &entityType{name: service + "RestoreSession", listed: catalog.SessionProperties,
		properties: with([]string{"id", "status", "restoreJobType", "restoreSessionArtifactCount", "error", "completedDateTime"}, stamps)}}
	artifact := with([]string{"id", "restorePoint", "destinationType", "status", "error", "startDateTime", "completionDateTime"}, w.restored)
	if w.counted != "" {
		artifact = append(artifact, w.counted)
	}
	w.artifacts = collection{noun + "RestoreArtifacts", &entityType{name: noun + "RestoreArtifact", listed: catalog.ArtifactProperties, expands: []string{restorePoint},
		properties: artifact}}
	w.granular = collection{"granular" + title + "RestoreArtifacts", &entityType{name: "granular" + title + "RestoreArtifact"}}
	if w.searched { // those are artifacts like the others
		w.granular.entityType = &entityType{name: w.granular.name, listed: catalog.ArtifactProperties, expands: []string{restorePoint},
			properties: with(artifact, []string{searchResponse, "artifactCount"})}
	}
	w.bulkRestore = collection{noun + "RestoreArtifactsBulkAdditionRequests", &entityType{name: noun + "RestoreArtifactsBulkAdditionRequest"}}
	if w.searched {
		return &w
	}
	w.browses = collection{service + "BrowseSessions", &entityType{name: service + "BrowseSession", listed: catalog.BrowseProperties,
		properties: []string{"id", "restorePointId", "restorePointDateTime", "status", "createdDateTime", "expirationDateTime", "backupSizeInBytes", "error", w.subject}}}
	return &w
}
