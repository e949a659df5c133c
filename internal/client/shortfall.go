package client

import (
	"fmt"
	"strings"

	"holdfast/internal/backup"
)

// A Shortfall is what the API says of a restore session, or of an artifact of one, that
// failed and yet brought back the most. Microsoft's has nothing of it.
type Shortfall struct {
	InPartCount     int  `json:"@holdfast.inPartCount"`     // of a session, its artifacts that are so
	IsInPart        bool `json:"@holdfast.isInPart"`        // of an artifact
	FailedItemCount int  `json:"@holdfast.failedItemCount"` // 0: not known
	ItemCount       int  `json:"@holdfast.itemCount"`       // 0: not known
}

// Session says for people how a session with this shortfall ended, "" where its status says
// that: so many of its artifacts failed.
func (s Shortfall) Session(status string, artifacts, failed int) string {
	if !backup.SessionStatus(status).Final() || failed == 0 || failed == artifacts && s.InPartCount == 0 {
		return ""
	}
	if artifacts == 1 {
		return s.whole()
	}
	var said []string
	if vain := failed - s.InPartCount; vain > 0 {
		said = append(said, fmt.Sprintf("%s of %s failed", backup.Number(vain), backup.Number(artifacts)))
	}
	if s.InPartCount > 0 {
		text := fmt.Sprintf("%s of %s not whole", backup.Number(s.InPartCount), backup.Number(artifacts))
		if lacks := s.lacks(); lacks != "" {
			text += " (" + lacks + ")"
		}
		said = append(said, text)
	}
	return inPart + ": " + strings.Join(said, ", ")
}

// Artifact says the same of one artifact.
func (s Shortfall) Artifact() string {
	if !s.IsInPart {
		return ""
	}
	return s.whole()
}

const inPart = "in part"

func (s Shortfall) whole() string {
	if lacks := s.lacks(); lacks != "" {
		return inPart + ": " + lacks
	}
	return inPart
}

func (s Shortfall) lacks() string {
	switch {
	case s.FailedItemCount == 0:
		return ""
	case s.ItemCount == 0:
		return items(s.FailedItemCount) + " failed"
	}
	return backup.Number(s.FailedItemCount) + " of " + items(s.ItemCount) + " failed"
}

func items(n int) string {
	if n == 1 {
		return "1 item"
	}
	return backup.Number(n) + " items"
}
