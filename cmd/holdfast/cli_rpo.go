package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
)

// An isoSpan is a length of time as the wire has it.
type isoSpan time.Duration

func (s *isoSpan) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil || text == "PT0S" {
		return err
	}
	span, err := backup.ParseSpan(text)
	*s = isoSpan(span.Time)
	return err
}

func (s isoSpan) String() string { return time.Duration(s).String() }

type rpoAnswer struct {
	ProtectedUnitCount, MissedUnitCount int64
	Worst                               []lateAnswer
}

type lateAnswer struct {
	ProtectionUnitID, DirectoryObjectID string
	NewestDateTime                      time.Time
	Age, Promised, Every, Longest       isoSpan
	IsMissed                            bool
	PointCount, LatePointCount          int64
}

func (c *cli) rpoCommand() *cobra.Command {
	return &cobra.Command{Use: "rpo", Short: "Show how old the newest restore points are, against what is promised", Args: args(0, 0),
		Long: "Show how many of the protected drives have a newest restore point that is as new as\npromised, and those that are the longest overdue, or will be next. A drive whose\nfirst point is awaited is not counted. EVERY is how often a drive is visited: one in\nwhich nothing has changed for long as seldom as what is promised allows.",
		RunE: c.run(func(ctx context.Context, _ []string) error {
			r, value, err := get[rpoAnswer](ctx, c, "/holdfast.rpo")
			if err != nil {
				return err
			}
			achieved := "100"
			if r.MissedUnitCount > 0 {
				achieved = fmt.Sprintf("%.2f", percent(r.ProtectedUnitCount-r.MissedUnitCount, r.ProtectedUnitCount))
			}
			if c.script() {
				var members map[string]json.RawMessage
				var worst []json.RawMessage
				err := json.Unmarshal(value, &members)
				if err == nil && len(r.Worst) > 0 {
					err = json.Unmarshal(members["worst"], &worst)
				}
				for i := range worst {
					worst[i] = withMembers(worst[i], map[string]any{"owner": c.ownerOf(ctx, unitAnswer{DirectoryObjectID: r.Worst[i].DirectoryObjectID})})
				}
				if err == nil && worst != nil {
					members["worst"], err = json.Marshal(worst)
				}
				if err == nil {
					value, err = json.Marshal(members)
				}
				if err != nil {
					return err
				}
				return c.printOne(value, achieved)
			}
			worst := "no drive has a restore point yet"
			if len(r.Worst) > 0 {
				w := r.Worst[0]
				worst = fmt.Sprintf("%s of %s promised, %s", w.Age, w.Promised, c.ownerOf(ctx, unitAnswer{DirectoryObjectID: w.DirectoryObjectID}))
			}
			err = c.fields("Drives", fmt.Sprint(r.ProtectedUnitCount), "Missed", fmt.Sprint(r.MissedUnitCount), "Achieved", achieved+" %", "Worst", worst)
			if err != nil || len(r.Worst) == 0 {
				return err
			}
			fmt.Fprintln(c.out)
			return printList(c, nil, r.Worst, func(w lateAnswer) string { return w.ProtectionUnitID }, []string{"UNIT", "OWNER", "NEWEST", "AGE", "PROMISED", "EVERY", "MISSED", "LATE", "LONGEST"},
				func(w lateAnswer) []string {
					return []string{w.ProtectionUnitID, c.ownerOf(ctx, unitAnswer{DirectoryObjectID: w.DirectoryObjectID}), clock(w.NewestDateTime), w.Age.String(), w.Promised.String(), w.Every.String(),
						map[bool]string{true: "yes", false: "no"}[w.IsMissed], fmt.Sprintf("%d of %d", w.LatePointCount, w.PointCount), w.Longest.String()}
				}, "")
		})}
}
