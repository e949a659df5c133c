package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (c *cli) searchCommand() *cobra.Command {
	var from, to string
	var in []string
	var oldest bool
	mail := &cobra.Command{Use: "mail QUERY...", Short: "Find the newest restore point of mailboxes that holds certain mail", Args: args(1, -1),
		Long: `Finds, of each mailbox, the newest restore point that holds what is looked for, and
how many items those are. Without --mailbox all mailboxes are searched, one by one.

A query is one or more of

  from:amala@contoso.com  to:conrad  subject:'invoice 5'  has:attachment  no:attachment
  kind:email              (note, task, contact or calendar)

all of which must be met. A word without a name is looked for in the subject. Texts
are met by whole words in a row; a * at the end lets the last of them go on. to: is
all of To, Cc and Bcc. The expression that the API has is understood, too:

  "(Subject -like 'invoice*') -and (HasAttachment -eq 'true')"

'holdfast restore run --mailbox MAILBOX --mail QUERY' restores what was found.`,
		RunE: c.run(func(ctx context.Context, args []string) error {
			s, err := newSearch(from, to)
			if err != nil {
				return err
			}
			s.oldest = oldest
			return c.searchMail(ctx, s, in, args)
		})}
	f := mail.Flags()
	f.StringVar(&from, "from", "", "only points of this `TIME` or later")
	f.StringVar(&to, "to", "", "only points of this `TIME` or earlier")
	f.BoolVar(&oldest, "oldest", false, "find the oldest instead")
	f.StringArrayVar(&in, "mailbox", nil, "search this `MAILBOX` (again for more)")
	return group("search", "Search what is backed up", "Mail is found by who sent it and to whom, and by its subject, in an index that is made\nwhen it is backed up.", mail)
}

// A mailHit is what the search of one mailbox found.
type mailHit struct {
	unit   unitAnswer
	search string
	items  int
	point  pointAnswer
	note   string
}

// askMail searches a mailbox by an expression of the API. A hit without items found
// nothing.
func (c *cli) askMail(ctx context.Context, s search, expression string, unit unitAnswer) (mailHit, json.RawMessage, error) {
	body := map[string]any{"protectionUnitIds": []string{unit.ID}, "protectionTimePeriod": s.period(), "restorePointPreference": "latest",
		"artifactQuery": map[string]string{"artifactType": "message", "queryExpression": expression}}
	if s.oldest {
		body["restorePointPreference"] = "oldest"
	}
	var value json.RawMessage
	var a searchAnswer
	err := c.api.Ask(ctx, "/restorePoints/search", body, &value)
	if err == nil {
		err = json.Unmarshal(value, &a)
	}
	h := mailHit{unit: unit, search: a.SearchResponseID, note: a.Note}
	if len(a.SearchResults) > 0 {
		h.items, h.point = a.SearchResults[0].ArtifactHitCount, a.SearchResults[0].RestorePoint
	}
	return h, value, err
}

func (c *cli) searchMail(ctx context.Context, s search, in, words []string) error {
	expression, err := mailQuery(strings.Join(words, " "))
	if err != nil {
		return err
	}
	var units []unitAnswer
	for _, name := range in {
		u, _, err := c.unitOf(ctx, mailboxes, name)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(units, func(o unitAnswer) bool { return o.ID == u.ID }) {
			units = append(units, u)
		}
	}
	if len(in) == 0 {
		if units, _, err = read[unitAnswer](c.api.All(ctx, mailboxes.units+"?$top=999")); err != nil {
			return err
		}
	}
	var hits []mailHit
	var values []json.RawMessage
	notes := map[string][]string{}
	for _, u := range units {
		h, value, err := c.askMail(ctx, s, expression, u)
		if err != nil {
			return err
		}
		if h.note != "" {
			notes[h.note] = append(notes[h.note], c.ownerOf(ctx, u))
		}
		if h.items > 0 {
			hits, values = append(hits, h), append(values, value)
		}
	}
	err = printList(c, values, hits, func(h mailHit) string { return h.point.ID }, []string{"MAILBOX", "ITEMS", "TIME", "POINT"},
		func(h mailHit) []string {
			return []string{c.ownerOf(ctx, h.unit), fmt.Sprint(h.items), clock(h.point.ProtectionDateTime), h.point.ID}
		}, "", func(h mailHit) map[string]any { return map[string]any{"owner": c.ownerOf(ctx, h.unit)} })
	if err != nil {
		return err
	}
	for note, owners := range notes {
		fmt.Fprintf(c.errs, "%s: %s\n", strings.Join(owners, ", "), note)
	}
	if len(hits) == 0 {
		return fail(exitNotFound, "no restore point of %s holds such mail", number(len(units), "mailbox"))
	}
	return nil
}

// mailPoints finds the points of mailboxes that hold what is looked for, and notes the
// searches that found it.
func (c *cli) mailPoints(ctx context.Context, s search, text string, units []string) (map[string]pointAnswer, error) {
	expression, err := mailQuery(text)
	if err != nil {
		return nil, err
	}
	found := map[string]pointAnswer{}
	c.searches = map[string]string{}
	for _, unit := range units {
		h, _, err := c.askMail(ctx, s, expression, unitAnswer{ID: unit})
		if err != nil {
			return nil, err
		}
		if h.note != "" && !c.quiet {
			fmt.Fprintln(c.errs, h.note)
		}
		if h.items > 0 {
			found[unit], c.searches[h.point.ID] = h.point, h.search
		}
	}
	return found, nil
}

// mailQuery is a query as the API has it.
func mailQuery(query string) (string, error) {
	expression, err := client.MailExpression(query)
	if err != nil {
		return "", usageError{err}
	}
	return expression, nil
}
