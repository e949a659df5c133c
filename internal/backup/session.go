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

// Ended returns the status in which an artifact ends that has problem p, or
// none. Remarks are no failure: what was to be done is done.
func Ended(p *Problem) ArtifactStatus {
	if p == nil || p.Code == RestoredWithRemarks {
		return ArtifactSucceeded
	}
	return ArtifactFailed
}

// A Wish is what was asked of a session while it was at work.
type Wish string

const (
	WishNone   Wish = ""
	WishPause  Wish = "pause"  // nothing is changed until it is resumed
	WishCancel Wish = "cancel" // what is not at its end comes to it as it is
)

// MaxArtifactsPerRequest is how many artifacts one create or update of a
// session may name.
const MaxArtifactsPerRequest = 50

// MaxActiveSessions is how many sessions of a tenant may be at work at a time.
const MaxActiveSessions = 25

// ArtifactCounts is a session's artifacts by how they stand.
type ArtifactCounts struct {
	Total, Completed, InProgress, Failed int
	InPart                               int       // of those that failed
	Short                                Shortfall // in all of these
}

// A Shortfall says how many items a restore did not bring back that brought back the rest.
type Shortfall struct {
	Failed int // 0: not known
	Of     int // 0: not known
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
	Wish      Wish
	Wished    time.Time // zero with WishNone
	Approval  *Approval // that it waits for, or did; nil for none
	Created   Stamp
	Modified  Stamp
}

// Activate sets s to work. An empty session has nothing to do, which the
// caller is told; what a bulk restore request names is found out later.
func (s *Session) Activate(by Stamp) error {
	if err := s.mayChange("activated"); err != nil {
		return err
	}
	if s.Counts.Total == 0 && s.JobType != RestoreBulk {
		return Fail(RestoreSessionActionNotAllowed, "The session holds no artifacts. Add at least one restore point before activating it.")
	}
	s.Status, s.Modified = SessionActivating, by
	s.Counts.InProgress = s.Counts.Total
	return nil
}

// Waits reports whether s is activated, and waits for another person's approval.
func (s *Session) Waits() bool {
	return s.Status == SessionActivating && s.Approval != nil && s.Approval.State == ApprovalWaiting
}

// Pause has s, which is at work, wait. It may be repeated.
func (s *Session) Pause(by Stamp) error { return s.ask(WishPause, "paused", by) }

// Resume has s go on. On one that is not paused it does nothing.
func (s *Session) Resume(by Stamp) error { return s.ask(WishNone, "resumed", by) }

// Cancel ends s before its time. It may be repeated; nothing can be asked of s then.
func (s *Session) Cancel(by Stamp) error {
	if err := s.ask(WishCancel, "cancelled", by); err != nil {
		return err
	}
	s.Problem = &Problem{Code: RestoreCancelled, Message: "The restore was cancelled before its end. Each artifact that was not at its end says what was done of it, and what was not."}
	return nil
}

func (s *Session) ask(wish Wish, done string, by Stamp) error {
	switch {
	case s.Status == SessionDraft:
		return Fail(RestoreSessionActionNotAllowed, "A session can be "+done+" once it is activated; this one is a draft, which changes nothing and can be deleted.").On("status")
	case s.Status.Final():
		return Fail(RestoreSessionActionNotAllowed, "A session can be "+done+" only while it is at work; this one has ended: it is "+string(s.Status)+".").On("status")
	case s.Wish == WishCancel && wish != WishCancel:
		return Fail(RestoreSessionActionNotAllowed, "The session was cancelled and comes to its end; it can no longer be "+done+". Restore again in another session.").On("status")
	case s.Wish == wish:
		return nil
	}
	s.Wish, s.Wished, s.Modified = wish, by.At, by
	if wish == WishNone {
		s.Wished = time.Time{}
	}
	return nil
}

// Deletable reports, as an error, why s may not be deleted now.
func (s *Session) Deletable() error { return s.mayChange("deleted") }

// Editable reports, as an error, why artifacts may not be added to s or taken
// out of it now.
func (s *Session) Editable() error {
	if err := s.mayChange("changed"); err != nil {
		return err
	}
	if s.JobType == RestoreBulk {
		return Fail(RestoreSessionActionNotAllowed, "The session holds a bulk restore request, which says what it restores. Make another session for single artifacts.").On("restoreJobType")
	}
	return nil
}

// Take reports, as an error, why an editable s may not be given artifacts of
// kind t. An empty session becomes one of whatever kind it is given first.
func (s *Session) Take(t RestoreJobType) error {
	if s.JobType == t {
		return nil
	}
	if s.Counts.Total > 0 {
		return Fail(InvalidArtifactRequest, "The session restores "+map[RestoreJobType]string{
			RestoreStandard: "everything of a " + s.Workload.Thing(), RestoreGranular: "parts of a " + s.Workload.Thing()}[s.JobType]+", and cannot hold both. Make a session for each.")
	}
	s.JobType = t
	return nil
}

// TakeBulk gives s a bulk restore request, for which it must be empty.
func (s *Session) TakeBulk() error {
	if err := s.mayChange("given a bulk restore request"); err != nil {
		return err
	}
	switch {
	case s.JobType == RestoreBulk:
		return Fail(BulkRestoreInvalidCreate, "The session has a bulk restore request already, and can have one only. Make another session.")
	case s.Counts.Total > 0:
		return Fail(RestoreSessionActionNotAllowed, "The session holds artifacts, and a bulk restore request needs an empty one. Make another session.")
	}
	s.JobType = RestoreBulk
	return nil
}

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
	// Of a mailbox, which items of the point: the search that found them, as the
	// client named it, and what that asked for, for ParseMailQuery; or what those that
	// were picked are called, and which they are, as PickedMail writes it. "" for all.
	Search, Query string
	Hits          int64 // that the search counted, or that were picked; 0 if it was of another point, or a folder is among them
	// Of a mailbox, into whose it is restored: a user's object id or address. "" is the owner.
	Target string
	// Of a site, whether those who could read and write its files are let do so again.
	Permissions bool
	// Where it was restored to, known once it has been: of a mailbox, to which folder
	// of it, and how many items.
	RestoredSiteID, RestoredSiteName, RestoredSiteWebURL string
	RestoredItems                                        int64
	Short                                                *Shortfall // of one that failed in part; else nil
}

// A GranularArtifact is the restore of one file or folder of a browse session,
// into a new folder in the owner's drive.
type GranularArtifact struct {
	ID       ArtifactID // ours; clients know it by its key
	Session  SessionID
	Tenant   TenantID
	Browse   BrowseSessionID
	Key      ItemKey
	Item     ItemID
	Name     string // in the new folder
	Owner    SubjectID
	Point    Point // its ID, Tenant, Unit, Drive, At and Tree
	WebURL   string
	Status   ArtifactStatus
	Problem  *Problem
	Created  time.Time
	Started  time.Time // zero until inProgress
	Finished time.Time // zero until final
	// What it was restored as, known once it has been.
	RestoredKey                  ItemKey
	RestoredPath, RestoredWebURL string
	Short                        *Shortfall // of one that failed in part; else nil
}

// A BulkRequestStatus is where a bulk restore request stands.
type BulkRequestStatus string

const (
	BulkRequestActive              BulkRequestStatus = "active"
	BulkRequestCompleted           BulkRequestStatus = "completed"
	BulkRequestCompletedWithErrors BulkRequestStatus = "completedWithErrors"
)

// MaxBulkRestoreEntries is how many owners one bulk restore request may name.
const MaxBulkRestoreEntries = 10_000

// A BulkRequest names owners whose drives a session restores, each from the
// point that fits. Which those are is found out once the session is activated.
type BulkRequest struct {
	ID          BulkRequestID
	Tenant      TenantID
	Workload    Workload
	Session     SessionID
	DisplayName string
	Addresses   []string // as they were sent
	IDs         []string // as they were sent
	Destination Destination
	From, To    time.Time // of the points that fit, both inclusive; zero = open
	Tags        PointTags // "" = any
	Oldest      bool      // the oldest of those that fit, not the newest
	Status      BulkRequestStatus
	Problem     *Problem
	Created     Stamp
	Modified    Stamp
}

// Deletable reports, as an error, why r may not be deleted now.
func (r *BulkRequest) Deletable() error {
	if r.Status == BulkRequestActive {
		return Fail(InvalidBulkRequestDeletion, "A bulk restore request can be deleted once it is completed; this one is active.").On("status")
	}
	return nil
}
