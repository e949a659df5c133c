package main

import (
	"context"
	"time"

	"holdfast/internal/client"
)

func tokenPath(tenant string) string { return "/" + tenant + "/oauth2/v2.0/token" }

// list reads every page of a collection.
func list[T any](ctx context.Context, c *client.Client, path string) ([]T, error) {
	all, _, err := read[T](c.All(ctx, path))
	return all, err
}

// poll calls ready until it says so, with a pause between.
func poll(ctx context.Context, pause time.Duration, ready func() (bool, error)) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		if done, err := ready(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// The answers of the API, as far as the commands read them.
type (
	policyAnswer struct {
		Type                                  string `json:"@odata.type"`
		ID, DisplayName, Status               string
		ProtectionMode                        string // of beta
		RetentionSettings                     []struct{ Interval, Period string }
		ProtectionPolicyArtifactCount         *countsAnswer
		CreatedBy                             identitiesAnswer
		CreatedDateTime, LastModifiedDateTime time.Time
	}
	countsAnswer struct {
		Total, Completed, Failed, InProgress int
	}
	identitiesAnswer struct {
		Application, User struct{ ID, DisplayName, Email string }
	}
	bulkJobAnswer struct {
		ID, DisplayName, Status               string
		Drives, DirectoryObjectIDs            []string
		SiteWebURLs, SiteIDs, Mailboxes       []string
		Type                                  string `json:"@odata.type"`
		CreatedDateTime, LastModifiedDateTime time.Time
		Error                                 *problemAnswer
	}
	unitAnswer struct {
		Type                                    string `json:"@odata.type"`
		SiteID, SiteName, SiteWebURL            string
		ID, DirectoryObjectID, PolicyID, Status string
		DisplayName, Email, ProtectionSources   string
		CreatedDateTime, LastModifiedDateTime   time.Time
		OffboardRequestedDateTime               time.Time
		Approval                                *approvalAnswer `json:"@holdfast.approval"`
		Error                                   *problemAnswer
	}
	pointAnswer struct {
		ID                                     string
		ProtectionDateTime, ExpirationDateTime time.Time
		Tags                                   string
		ProtectionUnit                         unitAnswer

		Files    *int64    `json:"@holdfast.fileCount"`
		Bytes    *int64    `json:"@holdfast.size"`
		Tag      string    `json:"@holdfast.contentTag"`
		Lacks    int       `json:"@holdfast.unreadItemCount"`
		Verified time.Time `json:"@holdfast.verifiedDateTime"`
		Lost     bool      `json:"@holdfast.isLost"`
	}
	unreadAnswer struct {
		Path, Code, Message string
		SinceDateTime       time.Time
		IsHeld, IsNote      bool
	}
	searchAnswer struct {
		SearchResponseID string
		SearchResults    []struct {
			ArtifactHitCount int
			RestorePoint     pointAnswer
		}
		NoResultProtectionUnitIDs []string
		Note                      string `json:"@holdfast.note"`
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
	approvalAnswer struct {
		ID, Kind, State, What, ObjectID, Comment           string
		AskedBy, DecidedBy                                 identitiesAnswer
		AskedDateTime, ExpirationDateTime, DecidedDateTime time.Time
	}
	artifactAnswer struct {
		ID, Status, DestinationType          string
		RestoredSiteName, RestoredSiteWebURL string
		RestoredFolderName                   string
		RestoredItemCount                    int
		TargetMailbox                        string `json:"@holdfast.targetMailbox"`
		ItemNames                            string `json:"@holdfast.itemNames"`
		StartDateTime, CompletionDateTime    time.Time
		RestorePoint                         pointAnswer
		Error                                *problemAnswer
		client.Shortfall
	}
	problemAnswer struct {
		Code, Message string
		Details       []struct{ Code, Message, Target string }
	}
)

func (p *problemAnswer) Error() string { return p.Code + ": " + p.Message }
