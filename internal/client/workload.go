package client

import (
	"strings"

	"holdfast/internal/backup"
)

// A Workload is how the API speaks of one of the services that are protected.
type Workload struct {
	Kind           backup.Workload
	Noun, Nouns    string // what is protected
	Subject        string // the member that says of what a unit is
	Addresses, IDs string // the lists of a job that name subjects

	// The sets of the API, each with a slash before it.
	Policies, Units, Jobs, Rules           string
	Sessions, Artifacts, Granular, Browses string // Browses is "" where points are searched
}

// The workloads that the API has.
var (
	Drives = &Workload{Kind: backup.OneDrive, Noun: "drive", Nouns: "drives",
		Subject: "directoryObjectId", Addresses: "drives", IDs: "directoryObjectIds",
		Policies: "/oneDriveForBusinessProtectionPolicies", Units: "/driveProtectionUnits", Jobs: "/driveProtectionUnitsBulkAdditionJobs", Rules: "/driveInclusionRules",
		Sessions: "/oneDriveForBusinessRestoreSessions", Artifacts: "/driveRestoreArtifacts", Granular: "/granularDriveRestoreArtifacts", Browses: "/oneDriveForBusinessBrowseSessions"}
	Sites = &Workload{Kind: backup.SharePoint, Noun: "site", Nouns: "sites",
		Subject: "siteId", Addresses: "siteWebUrls", IDs: "siteIds",
		Policies: "/sharePointProtectionPolicies", Units: "/siteProtectionUnits", Jobs: "/siteProtectionUnitsBulkAdditionJobs", Rules: "/siteInclusionRules",
		Sessions: "/sharePointRestoreSessions", Artifacts: "/siteRestoreArtifacts", Granular: "/granularSiteRestoreArtifacts", Browses: "/sharePointBrowseSessions"}
	Mailboxes = &Workload{Kind: backup.Exchange, Noun: "mailbox", Nouns: "mailboxes",
		Subject: "directoryObjectId", Addresses: "mailboxes", IDs: "directoryObjectIds",
		Policies: "/exchangeProtectionPolicies", Units: "/mailboxProtectionUnits", Jobs: "/mailboxProtectionUnitsBulkAdditionJobs", Rules: "/mailboxInclusionRules",
		Sessions: "/exchangeRestoreSessions", Artifacts: "/mailboxRestoreArtifacts", Granular: "/granularMailboxRestoreArtifacts"}
	Workloads = []*Workload{Drives, Sites, Mailboxes}
)

// WorkloadOf says by the @odata.type of an answer of which workload it is. A
// server that does not say it has drives only.
func WorkloadOf(odataType string) *Workload {
	typ := strings.TrimPrefix(odataType, "#microsoft.graph.")
	for _, w := range Workloads {
		if strings.HasPrefix(typ, w.Noun) || strings.HasPrefix(typ, string(w.Kind)) {
			return w
		}
	}
	return Drives
}

// IsID reports whether a text names what a unit is of by its id: a GUID, or, of a
// site, its host and two of them.
func (w *Workload) IsID(text string) bool {
	_, ok := backup.ParseGUID(text)
	return ok || w == Sites && strings.Contains(text, ",")
}
