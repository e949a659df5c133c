package backup

import "time"

// A SessionStatus is where a restore session stands.
type SessionStatus string

const (
	SessionDraft              SessionStatus = "draft"
	SessionActivating         SessionStatus = "activating"
	SessionActive             SessionStatus = "active"
	SessionCompleted          SessionStatus = "completed"
	SessionCompletedWithError SessionStatus = "completedWithError"
	SessionFailed             SessionStatus = "failed"
)

// Final reports whether nothing more will happen to a session in status s.
func (s SessionStatus) Final() bool {
	return s == SessionCompleted || s == SessionCompletedWithError || s == SessionFailed
}

// A RestoreJobType says how a session's artifacts came to it.
type RestoreJobType string

const (
	RestoreStandard RestoreJobType = "standard"
	RestoreBulk     RestoreJobType = "bulk"
	RestoreGranular RestoreJobType = "granular"
)

// A Destination is where an artifact is restored to.
type Destination string

const (
	DestinationNew     Destination = "new"     // beside the live drive, which stays as it is
	DestinationInPlace Destination = "inPlace" // the drive becomes again what it was
)

// An ArtifactStatus is where the restore of one artifact stands.
type ArtifactStatus string

const (
	ArtifactAdded      ArtifactStatus = "added"
	ArtifactScheduling ArtifactStatus = "scheduling"
	ArtifactScheduled  ArtifactStatus = "scheduled"
	ArtifactInProgress ArtifactStatus = "inProgress"
	ArtifactSucceeded  ArtifactStatus = "succeeded"
	ArtifactFailed     ArtifactStatus = "failed"
)

// Final reports whether nothing more will happen to an artifact in status s.
func (s ArtifactStatus) Final() bool { return s == ArtifactSucceeded || s == ArtifactFailed }

// MaxArtifactsPerRequest is how many artifacts one create or update of a
// session may name.
const MaxArtifactsPerRequest = 50

// MaxActiveSessions is how many sessions of a tenant may be at work at a time.
const MaxActiveSessions = 25

// ArtifactCounts is a session's artifacts by how they stand.
type ArtifactCounts struct {
	Total, Completed, InProgress, Failed int
}

// A Session restores its artifacts once it is activated.
type Session struct {
	ID        SessionID
	Tenant    TenantID
	Workload  Workload
	Status    SessionStatus
	JobType   RestoreJobType
	Counts    ArtifactCounts
	Problem   *Problem
	Completed time.Time // zero until the session is in a final status
	Created   Stamp
	Modified  Stamp
}

// Activate sets s to work. An empty session has nothing to do, which the
// caller is told.
func (s *Session) Activate(by Stamp) error {
	if err := s.mayChange("activated"); err != nil {
		return err
	}
	if s.Counts.Total == 0 {
		return Fail(RestoreSessionActionNotAllowed, "The session holds no artifacts. Add at least one restore point before activating it.")
	}
	s.Status, s.Modified = SessionActivating, by
	s.Counts.InProgress = s.Counts.Total
	return nil
}

// Deletable reports, as an error, why s may not be deleted now.
func (s *Session) Deletable() error { return s.mayChange("deleted") }

// Editable reports, as an error, why s may not be changed now.
func (s *Session) Editable() error { return s.mayChange("changed") }

func (s *Session) mayChange(action string) error {
	if s.Status != SessionDraft {
		return Fail(RestoreSessionActionNotAllowed, "A session can be "+action+" only while it is a draft; this one is "+
			string(s.Status)+".").On("status")
	}
	return nil
}

// Settle returns the status of an active session whose artifacts stand as c
// says.
func (c ArtifactCounts) Settle() SessionStatus {
	switch {
	case c.Completed+c.Failed < c.Total:
		return SessionActive
	case c.Failed == 0:
		return SessionCompleted
	case c.Completed == 0:
		return SessionFailed
	}
	return SessionCompletedWithError
}

// An Artifact is the restore of one point to one destination.
type Artifact struct {
	ID          ArtifactID
	Session     SessionID
	Tenant      TenantID
	Point       Point
	Destination Destination
	Status      ArtifactStatus
	Problem     *Problem
	Created     time.Time
	Started     time.Time // zero until inProgress
	Completed   time.Time // zero until final
	// Where it was restored to, known once it has been.
	RestoredSiteID, RestoredSiteName, RestoredSiteWebURL string
}
