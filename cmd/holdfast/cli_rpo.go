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
	Workload, ProtectionUnitID    string
	DirectoryObjectID, Email      string
	SiteID, SiteWebURL            string
	NewestDateTime                time.Time
	Age, Promised, Every, Longest isoSpan
	IsMissed                      bool
	PointCount, LatePointCount    int64
}

// lateOf is whose unit w is, or of which site, for people.
func (c *cli) lateOf(ctx context.Context, w lateAnswer) string {
	return c.ownerOf(ctx, unitAnswer{DirectoryObjectID: w.DirectoryObjectID, Email: w.Email, SiteID: w.SiteID, SiteWebURL: w.SiteWebURL})
}

// withOwners is the server's answer with whose each unit is.
func (c *cli) withOwners(ctx context.Context, r rpoAnswer, value json.RawMessage) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(value, &members); err != nil || len(r.Worst) == 0 {
		return value, err
	}
	var worst []json.RawMessage
	if err := json.Unmarshal(members["worst"], &worst); err != nil {
		return nil, err
	}
	for i := range worst {
		worst[i] = withMembers(worst[i], map[string]any{"owner": c.lateOf(ctx, r.Worst[i])})
	}
	var err error
	if members["worst"], err = json.Marshal(worst); err != nil {
		return nil, err
	}
	return json.Marshal(members)
}

func (c *cli) rpoCommand() *cobra.Command {
	return &cobra.Command{Use: "rpo", Short: "Show how old the newest restore points are, against what is promised", Args: args(0, 0),
		Long: "Show how many of the protected drives, sites and mailboxes have a newest restore point\nthat is as new as promised, and those that are the longest overdue, or will be next. One\nwhose first point is awaited is not counted. EVERY is how often one is visited: where\nnothing has changed for long as seldom as what is promised allows. LATE is how many of\nits points came later than promised, LONGEST the longest time between two of them.",
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
				value, err := c.withOwners(ctx, r, value)
				if err != nil {
					return err
				}
				value = withMembers(value, map[string]any{"achievedPercent": json.Number(achieved)})
				return c.printOne(value, achieved)
			}
			worst := "nothing has a restore point yet"
			if len(r.Worst) > 0 {
				w := r.Worst[0]
				worst = fmt.Sprintf("%s of %s promised, %s", w.Age, w.Promised, c.lateOf(ctx, w))
			}
			err = c.fields("Protected", fmt.Sprint(r.ProtectedUnitCount), "Missed", fmt.Sprint(r.MissedUnitCount), "Achieved", achieved+" %", "Worst", worst)
			if err != nil || len(r.Worst) == 0 {
				return err
			}
			fmt.Fprintln(c.out)
			return printList(c, nil, r.Worst, func(w lateAnswer) string { return w.ProtectionUnitID }, []string{"UNIT", "WHAT", "OWNER", "NEWEST", "AGE", "PROMISED", "EVERY", "MISSED", "LATE", "LONGEST"},
				func(w lateAnswer) []string {
					return []string{w.ProtectionUnitID, nounOf(w.Workload), c.lateOf(ctx, w), clock(w.NewestDateTime), w.Age.String(), w.Promised.String(), w.Every.String(),
						map[bool]string{true: "yes", false: "no"}[w.IsMissed], fmt.Sprintf("%d of %d", w.LatePointCount, w.PointCount), w.Longest.String()}
				}, "")
		})}
}
