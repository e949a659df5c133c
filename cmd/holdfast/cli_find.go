package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A foundAnswer is what the API says of what was found by its name.
type foundAnswer struct {
	Type, Name, Path, Sender, SizeInBytes, ItemKey         string
	FirstSeenDateTime, LastSeenDateTime, BrowsableDateTime time.Time
	ItemDateTime                                           time.Time
	RestorePointID, BrowsableRestorePointID                string
	IsInNewest                                             bool
}

func (c *cli) findCommand() *cobra.Command {
	var mail, lost bool
	var limit int
	find := &cobra.Command{Use: "find DRIVE|SITE NAME", Short: "Find by name what any restore point of a drive, a site or a mailbox holds", Args: args(2, 2),
		Long: `Finds files and folders by their name in all restore points there are, and says which
have them and how to get them back: what was deleted or renamed long ago is found under
the name that it had. A NAME is a part of it, or with * (any text) and ? (any sign)
all of it; case does not count. With --mailbox, whole words of a subject are looked
for; a * at the end lets the last of them go on.

It is answered from an index that each backup brings up to date. The contents of
libraries and drives are found, not the items of lists.`,
		RunE: c.run(func(ctx context.Context, args []string) error {
			w := drives
			if mail {
				w = mailboxes
			}
			return c.find(ctx, w, args[0], args[1], lost, limit)
		})}
	f := find.Flags()
	f.BoolVar(&mail, "mailbox", false, "in the owner's mailbox, and not in the drive")
	f.BoolVar(&lost, "gone", false, "only what the newest restore point does not hold by that name")
	f.IntVar(&limit, "limit", 100, "how many at most; 0 for all")
	return find
}

func (c *cli) find(ctx context.Context, w *workload, of, name string, lost bool, limit int) error {
	if strings.TrimSpace(name) == "" {
		return usageError{errors.New("say what to find: a NAME, or a part of one")}
	}
	u, _, err := c.unitIn(ctx, w, of)
	if err != nil {
		return err
	}
	var found []foundAnswer
	var values []json.RawMessage
	var note string
	more, kept := false, false
	for value, err := range c.api.AllNoted(ctx, "/protectionUnits/"+segment(u.ID)+"/holdfast.find/"+segment(name), func(text string) { note = cmp.Or(note, text) }) {
		if err != nil {
			return err
		}
		var f foundAnswer
		if err := json.Unmarshal(value, &f); err != nil {
			return err
		}
		if lost && f.IsInNewest {
			kept = true
			continue
		}
		if more = limit > 0 && len(found) == limit; more {
			break
		}
		found, values = append(found, f), append(values, value)
	}
	isMail := workloadOf(u.Type) == mailboxes
	head := []string{"TYPE", "PATH", "SIZE", "FIRST SEEN", "LAST SEEN", "NOW"}
	if isMail {
		head = []string{"TYPE", "FOLDER", "SUBJECT", "FROM", "DATE", "FIRST SEEN", "LAST SEEN", "NOW"}
	}
	err = printList(c, values, found, func(f foundAnswer) string { return cmp.Or(f.ItemKey, f.RestorePointID) }, head, func(f foundAnswer) []string {
		now := map[bool]string{true: "there", false: "gone"}[f.IsInNewest]
		if isMail {
			return []string{f.Type, f.Path, f.Name, f.Sender, clock(f.ItemDateTime), clock(f.FirstSeenDateTime), clock(f.LastSeenDateTime), now}
		}
		return []string{f.Type, cmp.Or(f.Path, f.Name), size(f.SizeInBytes), clock(f.FirstSeenDateTime), clock(f.LastSeenDateTime), now}
	}, "")
	if err != nil {
		return err
	}
	if note != "" {
		fmt.Fprintln(c.errs, oneLine(note))
	}
	if more {
		fmt.Fprintf(c.errs, "There is more; --limit shows it, and a longer NAME finds less.\n")
	}
	if len(found) == 0 {
		if kept {
			fmt.Fprintln(c.errs, "Nothing of that name is gone: the newest restore point holds all of it.")
			return nil
		}
		return fail(exitNotFound, "no restore point holds anything of that name")
	}
	if !c.script() {
		if isMail {
			fmt.Fprintf(c.errs, "To read one, such as the first:\n  holdfast mail show --point %s %s\n", found[0].RestorePointID, found[0].ItemKey)
		}
		fmt.Fprintf(c.errs, "To get one back, such as the first:\n  %s\n", wayBack(u, of, found[0]))
	}
	return nil
}

// wayBack is the command that restores what was found.
func wayBack(u unitAnswer, of string, f foundAnswer) string {
	words := []string{"holdfast", "restore", "run", "--" + workloadOf(u.Type).noun, of, "--at", clock(f.LastSeenDateTime), "--to", "new"}
	switch w := workloadOf(u.Type); {
	case w == mailboxes:
		words = []string{"holdfast", "restore", "run", "--point", f.RestorePointID, "--item", f.ItemKey, "--to", "new"}
	case f.BrowsableRestorePointID != "" && f.Path != "":
		words = []string{"holdfast", "browse", "get", of, f.Path, "--at", clock(f.BrowsableDateTime)}
	}
	for i := range words {
		words[i] = shellQuote(oneLine(words[i]))
	}
	return strings.Join(words, " ")
}
