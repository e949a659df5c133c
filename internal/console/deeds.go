package console

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"holdfast/internal/client"
)

// A saying says for people what an operation does. Where each has a %, it is done to a thing of
// the log's objectId, which is said there; @ stands for the drives, sites or mailboxes of it.
type saying struct {
	did   string // "activated %", of what was done
	tries string // "activate %", of what failed; "" where that is told of in the same words
	to    thing
}

// A thing is what the log's objectId is the id of.
type thing int

const (
	ofNothing thing = iota // that has a name
	ofPolicy
	ofUnit
	ofRestore
	ofApproval
)

// sayings are those of all that can be in the log.
var sayings = map[string]saying{
	"CreateSession":     {"created %", "create a restore session", ofRestore},
	"UpdateSession":     {"changed %", "change %", ofRestore},
	"ActivateSession":   {"activated %", "activate %", ofRestore},
	"PauseSession":      {"paused %", "pause %", ofRestore},
	"ResumeSession":     {"resumed %", "resume %", ofRestore},
	"CancelSession":     {"cancelled %", "cancel %", ofRestore},
	"DeleteSession":     {"deleted %", "delete %", ofRestore},
	"CreateBulkRestore": {"added @ in bulk to %", "add @ in bulk to %", ofRestore},
	"DeleteBulkRestore": {"deleted a bulk addition of %", "delete a bulk addition of %", ofRestore},
	"RestoreFinished":   {"finished %", "", ofRestore},

	"CreateBrowseSession": {"opened a backup to look into it", "open a backup to look into it", ofNothing},
	"DeleteBrowseSession": {"ended a look into a backup", "end a look into a backup", ofNothing},
	"ReadContent":         {"read what is in a backup", "read what is in a backup", ofNothing},
	"Find":                {"looked for a name in backups", "look for a name in backups", ofNothing},
	"SearchPoints":        {"searched the mail in backups", "search the mail in backups", ofNothing},
	"Browse":              {"looked into a backup", "look into a backup", ofNothing},
	"BackupExported":      {"exported what is in a backup", "export what is in a backup", ofNothing},

	"CreatePolicy":       {"created %", "create a policy", ofPolicy},
	"UpdatePolicy":       {"changed %", "change %", ofPolicy},
	"ActivatePolicy":     {"activated %", "activate %", ofPolicy},
	"DeactivatePolicy":   {"deactivated %", "deactivate %", ofPolicy},
	"DeletePolicy":       {"deleted %", "delete %", ofPolicy},
	"CreateBulkJob":      {"added @ in bulk to %", "add @ in bulk to %", ofPolicy},
	"CreateExclusionJob": {"excluded @ from %", "exclude @ from %", ofPolicy},
	"AllProtected":       {"had % follow the tenant", "", ofPolicy},

	"CreateRule":  {"created an inclusion rule of %", "create an inclusion rule of %", ofPolicy},
	"UpdateRule":  {"changed an inclusion rule of %", "change an inclusion rule of %", ofPolicy},
	"RunRule":     {"ran an inclusion rule of %", "run an inclusion rule of %", ofPolicy},
	"DeleteRule":  {"deleted an inclusion rule of %", "delete an inclusion rule of %", ofPolicy},
	"ReleaseRule": {"deleted an inclusion rule of %, and no longer protects what it had added", "delete an inclusion rule of %, and no longer protect what it had added", ofPolicy},
	"RuleApplied": {"applied an inclusion rule of %", "", ofPolicy},

	"OffboardUnit":       {"asked to destroy the backups of %", "ask to destroy the backups of %", ofUnit},
	"CancelOffboardUnit": {"called off that the backups of % be destroyed", "call off that the backups of % be destroyed", ofUnit},
	"UnitOffboarded":     {"destroyed the backups of %", "", ofUnit},

	"ApprovalAsked":       {"asked for %", "ask for %", ofApproval},
	"Approve":             {"gave %", "give %", ofApproval},
	"Deny":                {"denied %", "deny %", ofApproval},
	"ApprovalExpired":     {"let the request for % expire", "", ofApproval},
	"ApprovalWithdrawn":   {"withdrew the request for %", "", ofApproval},
	"ApprovalVoided":      {"ended the request for %, since what was to be approved had changed", "", ofApproval},
	"ApprovalRuleChanged": {"changed what another person has to approve", "", ofNothing},

	"EnableService":        {"enabled the service", "enable the service", ofNothing},
	"CreateServiceApp":     {"registered a service app", "register a service app", ofNothing},
	"ActivateServiceApp":   {"activated a service app", "activate a service app", ofNothing},
	"DeactivateServiceApp": {"deactivated a service app", "deactivate a service app", ofNothing},
	"DeleteServiceApp":     {"deleted a service app", "delete a service app", ofNothing},
	"UpdateEmailSetting":   {"changed who is told by mail", "change who is told by mail", ofNothing},
	"RetentionChanged":     {"changed how long the restore points of % are kept", "change how long the restore points of % are kept", ofPolicy},
	"PutTenant":            {"added or changed a tenant", "add or change a tenant", ofNothing},
	"RemoveTenant":         {"took a tenant out", "take a tenant out", ofNothing},

	"VaultKnown":           {"noted which vault this is", "", ofNothing},
	"VaultAccepted":        {"accepted another vault in the place of the one before", "accept another vault", ofNothing},
	"VaultRepaired":        {"repaired the vault", "repair the vault", ofNothing},
	"VaultDamageFound":     {"found damage in the backups of %", "", ofUnit},
	"VaultDamageHealed":    {"stored anew what was damaged in the vault", "", ofNothing},
	"RestorePointsLost":    {"found that the vault no longer holds restore points of % whole", "", ofUnit},
	"RestorePointsFound":   {"found restore points of % again", "", ofUnit},
	"RestorePointsTakenUp": {"took up restore points of % that the vault holds", "", ofUnit},
	"CatalogRebuilt":       {"brought the catalog up to what the vaults hold", "bring the catalog up to what the vaults hold", ofNothing},
	"CatalogBackedUp":      {"backed up the catalog", "back up the catalog", ofNothing},
	"CatalogRestored":      {"restored the catalog from a backup", "restore the catalog from a backup", ofNothing},
	"TenantImported":       {"took up policies and units from the vault", "", ofNothing},
}

// An entry is an activity as the page says it: a sentence around the thing that it was done
// to, on what, and whose backups it concerned.
type entry struct {
	activityAnswer
	Before, After string
	Thing         link
	On            string // what of a backup, or what has been asked for, as it was logged
	Of            []link // the first of whose backups it concerned
	More          int    // how many others
	MoreAtLeast   bool   // than More, since the log names no more
}

const (
	maxOf     = 3  // how many of an entry's units are named
	maxLogged = 50 // how many the log has
)

// names are what things of a page are called, by their ids; what was not found has none.
type names struct {
	policies map[string]policyAnswer
	units    map[string]unitAnswer
	restores map[string]sessionAnswer
}

// inLog reads what things are called on a page of the log: of each kind what all entries are
// of, at once. What a person may not see stays without a name.
func (v *visit) inLog(page []activityAnswer) (n names, err error) {
	ids := map[thing][]string{}
	for _, a := range page {
		s := sayings[a.Operation]
		ids[s.to] = append(ids[s.to], a.ObjectID)
		for _, u := range a.Units[:min(maxOf, len(a.Units))] {
			ids[ofUnit] = append(ids[ofUnit], u.ProtectionUnitID)
		}
	}
	n.policies, err = byID(v, anyPolicy, ids[ofPolicy], func(p policyAnswer) string { return p.ID })
	if err == nil {
		n.units, err = byID(v, anyUnit, ids[ofUnit], func(u unitAnswer) string { return u.ID })
	}
	if err == nil {
		n.restores, err = byID(v, anySession, ids[ofRestore], func(s sessionAnswer) string { return s.ID })
	}
	return n, err
}

// byID reads the members of a set that have one of some ids, and that the person may see.
func byID[T any](v *visit, set string, ids []string, of func(T) string) (map[string]T, error) {
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return id == "" })
	if len(ids) == 0 {
		return nil, nil
	}
	quoted := make([]string, len(ids))
	for i, id := range ids {
		quoted[i] = text(id)
	}
	found, _, err := take[T](v.api.All(v.ctx(), set+"?"+query("$filter", "id in ("+strings.Join(quoted, ",")+")")+"&"+query("$top", "100")), len(ids))
	if forbidden(err) || notServed(err) {
		return nil, nil
	}
	all := make(map[string]T, len(found))
	for _, one := range found {
		all[of(one)] = one
	}
	return all, err
}

// say puts an entry of the log into words.
func (n names) say(a activityAnswer) entry {
	e := entry{activityAnswer: a, On: a.on()}
	s, known := sayings[a.Operation]
	words := s.did
	switch {
	case !known:
		words = inWords(a.Operation)
	case a.ResultStatus == "failed" && s.tries != "":
		words = "tried to " + s.tries
	}
	things := "drives, sites or mailboxes"
	for _, w := range client.Workloads {
		if strings.EqualFold(a.ServiceType, string(w.Kind)) {
			things = w.Nouns
		}
	}
	words = capital(strings.ReplaceAll(words, "@", things))
	before, after, has := strings.Cut(words, "%")
	e.Before, e.After = before, after
	if has {
		e.Thing = n.thing(a, s.to)
	}
	others := a.Units
	if s.to == ofUnit {
		others = slices.DeleteFunc(slices.Clone(others), func(u loggedUnit) bool { return u.ProtectionUnitID == a.ObjectID })
	}
	for i, u := range others {
		if i == maxOf {
			e.More, e.MoreAtLeast = len(others)-maxOf, len(a.Units) == maxLogged
			break
		}
		e.Of = append(e.Of, n.unit(u.ProtectionUnitID, cmp.Or(u.Address, u.SubjectID)))
	}
	return e
}

func (n names) thing(a activityAnswer, of thing) link {
	id := a.ObjectID
	switch of {
	case ofPolicy:
		if p, ok := n.policies[id]; ok {
			return link{Name: "the policy " + p.DisplayName, To: "/console/policies/" + url.PathEscape(id)}
		}
		if id == "" {
			return link{Name: "the tenant"}
		}
		return link{Name: "a policy"}
	case ofUnit:
		return n.unit(id, "")
	case ofRestore:
		if s, ok := n.restores[id]; ok {
			return link{Name: "the restore session of " + s.Of().Nouns, To: "/console/restores/" + url.PathEscape(id)}
		}
		return link{Name: "a restore session"}
	}
	return link{Name: "an approval", To: "/console/approvals"}
}

// unit is a unit by its id, or what the log called it where there is no other name.
func (n names) unit(id, called string) link {
	if u, ok := n.units[id]; ok {
		return link{Name: u.Called(), To: "/console/units/" + url.PathEscape(id)}
	}
	return link{Name: cmp.Or(called, "a unit")}
}

// on is what the log has of an entry beside its route and ids: the names of what was restored
// or read, a text that was looked for, what waits for approval, how many.
func (a activityAnswer) on() string {
	target := a.Target
	if !strings.HasPrefix(target, "/") {
		if strings.HasPrefix(target, "rule ") { // by its id
			return ""
		}
		return target
	}
	route, rest, _ := strings.Cut(target, " (")
	if _, name, ok := strings.Cut(route, "/holdfast.find/"); ok && rest == "" {
		if plain, err := url.PathUnescape(name); err == nil {
			return plain
		}
	}
	return strings.ReplaceAll(strings.TrimSuffix(rest, ")"), ") (", ", ")
}
