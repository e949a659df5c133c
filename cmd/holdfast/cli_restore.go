package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

const (
	allSessions = "/restoreSessions"
	sessionSet  = "/oneDriveForBusinessRestoreSessions"
	artifactSet = "/driveRestoreArtifacts"
)

// A restoration is what 'restore create' and 'restore run' are asked for.
type restoration struct {
	drives, sites, points []string
	mailboxes             []string
	mail                  string   // of mailboxes, what to look for; "" for all
	items                 []string // of one mailbox, the keys of what alone is restored
	toMailbox             string   // whose mailbox they go into; "" for their own
	toDrive, toSite       string   // of drives, beside whose drive they go, or into which site; "" for their own
	permissions           bool     // of sites, who may do what with files
	csv, column, policy   string
	of                    string // the workload of what the CSV names
	at, to                string
	noWait                bool
	dry, yes              bool
}

const (
	toInPlace = "inPlace"
	toNew     = "new"
)

// other is the drive or site that drives go to, where that is not their own.
func (r restoration) other() string { return cmp.Or(r.toDrive, r.toSite) }

// destined has what goes into another mailbox, drive or site go to a new place.
func (r restoration) destined() restoration {
	if r.toMailbox+r.other() != "" && r.to == "" {
		r.to = toNew
	}
	return r
}

// search is which points r wants.
func (r restoration) search() (search, error) {
	switch {
	case r.toMailbox != "" && r.to == toInPlace:
		return search{}, usageError{errors.New("what goes into another mailbox is new there: give --to-mailbox with --to new, or alone")}
	case r.other() != "" && r.to == toInPlace:
		return search{}, usageError{errors.New("what goes to another drive or site is new there: give --to-drive or --to-site with --to new, or alone")}
	case r.toDrive != "" && r.toSite != "":
		return search{}, usageError{errors.New("give --to-drive or --to-site, not both")}
	case r.other() != "" && len(r.mailboxes)+len(r.sites) > 0:
		return search{}, usageError{errors.New("--to-drive and --to-site are for drives: name them by --drive")}
	case r.toMailbox != "" && len(r.drives)+len(r.sites) > 0:
		return search{}, usageError{errors.New("--to-mailbox is for mailboxes: name them by --mailbox")}
	}
	if r.permissions && len(r.drives)+len(r.mailboxes) > 0 {
		return search{}, usageError{errors.New("--permissions is for sites: name them by --site")}
	}
	if r.to != toInPlace && r.to != toNew {
		return search{}, usageError{errors.New("say where to: --to inPlace restores over the live drive, --to new beside it")}
	}
	if strings.EqualFold(r.at, "latest") {
		return newSearch("", "")
	}
	return newSearch("", r.at)
}

func (c *cli) restoreCommand() *cobra.Command {
	var r restoration
	what := func(cmd *cobra.Command) *cobra.Command {
		f := cmd.Flags()
		f.StringArrayVar(&r.drives, "drive", nil, "restore this `DRIVE` (again for more)")
		f.StringArrayVar(&r.sites, "site", nil, "restore this `SITE` (again for more)")
		f.StringArrayVar(&r.mailboxes, "mailbox", nil, "restore this `MAILBOX` (again for more)")
		f.StringVar(&r.mail, "mail", "", "of the mailboxes, only what this `QUERY` finds, as in 'holdfast search mail'")
		f.StringArrayVar(&r.items, "item", nil, "of the mailbox, only the message or the folder of this `KEY`, as in 'holdfast mail ls' (again for more)")
		f.StringVar(&r.toMailbox, "to-mailbox", "", "restore what is of mailboxes into this user's `MAILBOX`, in a new folder")
		f.StringVar(&r.toDrive, "to-drive", "", "restore drives beside this user's `DRIVE`, into a new library named for the owner")
		f.StringVar(&r.toSite, "to-site", "", "restore drives into a new library of this `SITE`, named for the owner")
		f.BoolVar(&r.permissions, "permissions", false, "of sites, also let those read and write the files who could then")
		f.StringVar(&r.at, "at", "latest", "as it was at this `TIME`: the newest restore point up to then")
		f.StringArrayVar(&r.points, "point", nil, "restore this very restore `POINT` (again for more)")
		f.Var((*destination)(&r.to), "to", "inPlace, over what is live, or new, beside it")
		if err := cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"inPlace", "new"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag was added a line above
		}
		return cmd
	}
	run := what(&cobra.Command{Use: "run (--drive DRIVE... | --site SITE... | --mailbox MAILBOX... [--mail QUERY | --item KEY...] | --point POINT... | --from-csv FILE | --policy POLICY) [--at TIME] --to inPlace|new", Short: "Restore drives, sites or mailboxes, from the search to the result", Args: args(0, 0),
		Long: `Finds the restore points, makes a session, activates it, waits for it, and
prints where each drive, site or mailbox is restored to, or why it is not. A
session is of drives, of sites or of mailboxes.

In place, it is again as it was at the point; what changed since is taken
into a backup first, and files that are newer go to the recycle bin. 'new' puts
it beside the live one, which stays as it is; of a mailbox, into a new folder.

With --mail only what a query finds in the mailboxes is restored, with --item the
messages and folders of a mailbox that keys name. With --to-mailbox
it goes into the mailbox of somebody else, such as a colleague of who has left, in a
folder named for the owner. With --to-drive or --to-site a drive comes beside that of
somebody else, or into a site, in a library named for the owner, who may be gone.

Who may do what with the files of sites stays as it is, and what is new is as its
folder. With --permissions those who could read or write a file at the point, and
cannot now, are let do so again, without a mail; nothing is taken from anybody. No
link is made. What was not given again is named. It takes a point that has permissions.

Any number is restored by --from-csv, which reads a file as 'drive add' does, of
drives or of what --workload says, or by --policy, which is all that a policy holds.

A restore in place asks before it begins; where nobody can be asked it wants
--yes. --dry-run shows what would be done.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(func(ctx context.Context, _ []string) error { return c.restoreRun(ctx, r, cmd.InOrStdin()) })(cmd, args)
		}})
	run.Flags().StringVar(&r.csv, "from-csv", "", "restore the drives, sites or mailboxes that this `FILE` names; - is standard input")
	run.Flags().StringVar(&r.of, "workload", string(backup.OneDrive), "what the CSV names: this `WORKLOAD`, oneDriveForBusiness, sharePoint or exchange")
	run.Flags().StringVar(&r.column, "column", "", "the `COLUMN` of the CSV that holds them, by name or number")
	c.policyFlag(run, &r.policy, "restore all that this policy holds")
	run.Flags().BoolVarP(&r.yes, "yes", "y", false, "do not ask before live drives are changed")
	run.Flags().BoolVar(&r.dry, "dry-run", false, "show which drive would be restored to when, how much differs, and change nothing")
	run.Flags().BoolVar(&r.noWait, "no-wait", false, "do not wait for the restore")
	create := what(&cobra.Command{Use: "create (--drive DRIVE | --site SITE | --mailbox MAILBOX | --point POINT)... [--at TIME] --to inPlace|new", Short: "Make a session without starting it", Args: args(0, 0),
		RunE: c.run(func(ctx context.Context, _ []string) error {
			s, value, err := c.restoreCreate(ctx, r)
			if err != nil {
				return err
			}
			return c.printSession(s, value)
		})})
	var wait bool
	activate := &cobra.Command{Use: "activate SESSION", Short: "Start a session", Args: args(1, 1), RunE: c.run(func(ctx context.Context, args []string) error {
		return c.restoreActivate(ctx, args[0], wait)
	})}
	activate.Flags().BoolVar(&wait, "wait", false, "wait until it is over")
	return group("restore", "Restore drives, sites and mailboxes", "A restore session brings one or more drives, sites or mailboxes back, each as it was\nat a restore point. 'restore run' does it in one go.", run, create, activate,
		&cobra.Command{Use: "list", Short: "List the sessions", Args: args(0, 0), RunE: c.run(c.restoreList)},
		&cobra.Command{Use: "show SESSION", Short: "Show a session and what it restores", Args: args(1, 1), RunE: c.run(c.restoreShow)},
		&cobra.Command{Use: "artifacts SESSION", Short: "List what a session restores, and where to", Args: args(1, 1), RunE: c.run(c.restoreArtifacts)},
		&cobra.Command{Use: "wait SESSION", Short: "Wait until a session is over", Args: args(1, 1), RunE: c.run(func(ctx context.Context, args []string) error {
			return c.restoreWait(ctx, args[0])
		})},
		&cobra.Command{Use: "pause SESSION", Short: "Have a session wait", Args: args(1, 1),
			Long: "What is being restored stops within moments, as far as it has come, and waits for\n'holdfast restore resume' or 'cancel'. What was moved aside has its name again.",
			RunE: c.run(func(ctx context.Context, args []string) error { return c.restoreAsk(ctx, args[0], "pause") })},
		&cobra.Command{Use: "resume SESSION", Short: "Have a paused session go on", Args: args(1, 1),
			RunE: c.run(func(ctx context.Context, args []string) error { return c.restoreAsk(ctx, args[0], "resume") })},
		&cobra.Command{Use: "cancel SESSION", Short: "End a session before its time", Args: args(1, 1),
			Long: `A session that has not been started is deleted. One at work stops where it is, and
'holdfast restore show' says of each drive what was restored by then, and what not.
What was moved aside has its name again; what was restored stays.`,
			RunE: c.run(func(ctx context.Context, args []string) error { return c.restoreCancel(ctx, args[0]) })})
}

// restoreAsk asks a session at work to pause, resume or cancel.
func (c *cli) restoreAsk(ctx context.Context, id, what string) error {
	s, value, err := get[sessionAnswer](ctx, c, "/restoreSessions/"+segment(id))
	if err != nil {
		return err
	}
	working := backup.SessionStatus(s.Status) != backup.SessionDraft && !backup.SessionStatus(s.Status).Final()
	switch {
	case what == "pause" && !s.Paused.IsZero():
		c.already("The session is paused already")
	case what == "resume" && working && s.Paused.IsZero() && s.Cancelled.IsZero():
		c.already("The session is not paused")
	case what == "cancel" && !s.Cancelled.IsZero():
		c.already("The session is cancelled already")
	default:
		if err = c.api.Act(ctx, "/restoreSessions/"+segment(id)+"/holdfast."+what, nil, &value); err == nil {
			s = sessionAnswer{} // what it no longer says of itself is over, as a pause is
			err = json.Unmarshal(value, &s)
		}
	}
	if err != nil {
		return err
	}
	return c.printSession(s, value)
}

func (c *cli) restoreCancel(ctx context.Context, id string) error {
	s, _, err := get[sessionAnswer](ctx, c, "/restoreSessions/"+segment(id))
	if err != nil {
		return err
	}
	if backup.SessionStatus(s.Status) != backup.SessionDraft {
		return c.restoreAsk(ctx, id, "cancel")
	}
	if err := c.api.Delete(ctx, "/restoreSessions/"+segment(id)); err != nil {
		return err
	}
	c.say("Deleted the session %s.", id)
	return nil
}

// state is a session's status, or how much it brought back, and what was asked of it.
func (s sessionAnswer) state() string {
	n := s.RestoreSessionArtifactCount
	state := cmp.Or(s.Shortfall.Session(s.Status, n.Total, n.Failed), s.Status)
	switch {
	case !s.Paused.IsZero():
		return state + ", paused"
	case !s.Cancelled.IsZero():
		return state + ", cancelled"
	case s.waits():
		return state + ", waits for approval"
	}
	return state
}

// waits reports whether another person has yet to approve it.
func (s sessionAnswer) waits() bool {
	return s.Approval != nil && s.Approval.State == string(backup.ApprovalWaiting)
}

// A destination is inPlace or new, however it is written.
type destination string

func (d *destination) String() string { return string(*d) }
func (d *destination) Type() string   { return "DESTINATION" }

func (d *destination) Set(text string) error {
	to, err := oneOf(text, toInPlace, toNew)
	*d = destination(to)
	return err
}

// restoreCreate makes the session that r asks for.
func (c *cli) restoreCreate(ctx context.Context, r restoration) (sessionAnswer, json.RawMessage, error) {
	r = r.destined()
	w, points, err := c.restorePoints(ctx, r)
	if err != nil {
		return sessionAnswer{}, nil, err
	}
	return c.restoreSession(ctx, w, r, points)
}

func (c *cli) restoreSession(ctx context.Context, w *workload, r restoration, points []string) (sessionAnswer, json.RawMessage, error) {
	member := w.artifacts[1:]
	if r.mail != "" || len(r.items) > 0 {
		member = w.granular[1:]
	}
	return c.makeSession(ctx, w, member, points, func(p string) any {
		a := map[string]any{"restorePoint": map[string]string{"id": p}, "destinationType": r.to}
		if r.mail != "" {
			a["searchResponseId"] = c.searches[p]
		}
		if len(r.items) > 0 {
			a["@holdfast.itemKeys"] = r.items
		}
		if r.toMailbox != "" {
			a["@holdfast.targetMailbox"] = r.toMailbox
		}
		if other := r.other(); other != "" {
			a["@holdfast.targetDrive"] = other
		}
		if r.permissions {
			a["@holdfast.restorePermissions"] = true
		}
		return a
	})
}

// restorePoints finds the points that r asks for, and of which workload they are.
func (c *cli) restorePoints(ctx context.Context, r restoration) (*workload, []string, error) {
	fault := func(err error) (*workload, []string, error) { return nil, nil, err }
	w, named := drives, r.drives
	switch {
	case len(r.drives)+len(r.sites)+len(r.mailboxes)+len(r.points) == 0:
		return fault(usageError{errors.New("say what to restore: --drive DRIVE, --site SITE, --mailbox MAILBOX or --point POINT")})
	case len(r.drives) > 0 && len(r.sites) > 0 || len(r.mailboxes) > 0 && len(r.drives)+len(r.sites) > 0:
		return fault(usageError{errors.New("a session is of drives, of sites or of mailboxes: give --drive, --site or --mailbox, not several of them")})
	case r.mail != "" && (len(r.mailboxes) == 0 || len(r.points) > 0):
		return fault(usageError{errors.New("--mail is looked for in mailboxes: name them by --mailbox, and nothing else")})
	case len(r.items) > 0 && (r.mail != "" || len(r.drives)+len(r.sites) > 0 || len(r.mailboxes)+len(r.points) != 1):
		return fault(usageError{errors.New("--item is of one restore point: name a mailbox by --mailbox, or its point by --point, and nothing else")})
	case len(r.mailboxes) > 0:
		w, named = mailboxes, r.mailboxes
	case len(r.sites) > 0:
		w, named = sites, r.sites
	case len(r.drives) == 0:
		p, _, err := get[pointAnswer](ctx, c, "/restorePoints/"+segment(r.points[0])+"?$expand=protectionUnit")
		if err != nil {
			return fault(err)
		}
		w = workloadOf(p.ProtectionUnit.Type)
	}
	wanted, err := r.search()
	if err != nil {
		return fault(err)
	}
	var units []string
	called := map[string]string{}
	for _, d := range named {
		u, _, err := c.unitOf(ctx, w, d)
		if err != nil {
			return fault(err)
		}
		if called[u.ID] == "" {
			units = append(units, u.ID)
		}
		called[u.ID] = d
	}
	var found map[string]pointAnswer
	if r.mail != "" {
		found, err = c.mailPoints(ctx, wanted, r.mail, units)
	} else {
		found, _, err = c.points(ctx, wanted, units)
	}
	if err != nil {
		return fault(err)
	}
	points := r.points
	c.drives = map[string]string{}
	for _, u := range units {
		p, ok := found[u]
		if !ok {
			if r.mail != "" {
				return fault(fail(exitNotFound, "no restore point of %s holds what --mail looks for; nothing was restored", called[u]))
			}
			return fault(fail(exitNotFound, "%s has no restore point%s. 'holdfast point list %s' shows those there are; nothing was restored", called[u], map[bool]string{true: " up to " + r.at, false: ""}[!wanted.to.IsZero()], called[u]))
		}
		points = append(points, p.ID)
		c.drives[p.ID] = called[u]
		if !c.quiet {
			fmt.Fprintf(c.errs, "%s as it was at %s\n", called[u], p.ProtectionDateTime.Local().Format("2006-01-02 15:04:05"))
		}
	}
	return w, points, nil
}

// makeSession makes a session of any number of artifacts: the first of them with
// it, the rest added to it.
func (c *cli) makeSession(ctx context.Context, w *workload, member string, items []string, artifact func(string) any) (s sessionAnswer, value json.RawMessage, err error) {
	for part := range slices.Chunk(items, maxDelta) {
		var list []any
		for _, item := range part {
			list = append(list, artifact(item))
		}
		if s.ID == "" {
			if err = c.api.Create(ctx, w.sessions, map[string]any{member: list}, &value); err == nil {
				err = json.Unmarshal(value, &s)
			}
		} else {
			var answer map[string]json.RawMessage
			var results []partResult
			if err = c.api.Patch(ctx, w.sessions+"/"+segment(s.ID), map[string]any{member + "@delta": list}, &answer); err == nil {
				err = json.Unmarshal(answer[member+"@delta"], &results)
			}
			for _, r := range results {
				if err == nil && r.Failure != nil {
					err = &r.Failure.Info
				}
			}
			if err != nil {
				// A session of a part of what was asked for helps nobody.
				err = errors.Join(err, c.api.Delete(context.WithoutCancel(ctx), "/restoreSessions/"+segment(s.ID)))
			}
		}
		if err != nil {
			return s, nil, err
		}
	}
	if len(items) > maxDelta {
		return get[sessionAnswer](ctx, c, w.sessions+"/"+segment(s.ID))
	}
	return s, value, nil
}

func (c *cli) restoreRun(ctx context.Context, r restoration, in io.Reader) error {
	if r.dry && r.yes {
		return usageError{errors.New("give --dry-run or --yes, not both")}
	}
	r = r.destined()
	if r.csv != "" || r.policy != "" {
		return c.restoreBulk(ctx, r, in)
	}
	w, ids, err := c.restorePoints(ctx, r)
	if err != nil {
		return err
	}
	if r.dry || r.to == toInPlace && !r.yes {
		var points []pointAnswer
		var values []json.RawMessage
		var files int64
		for _, id := range ids {
			p, value, err := get[pointAnswer](ctx, c, "/restorePoints/"+segment(id)+"?$expand=protectionUnit")
			if err != nil {
				return err
			}
			if p.Files != nil {
				files += *p.Files
			}
			points, values = append(points, p), append(values, value)
		}
		if r.dry {
			return c.printPlan(ctx, w, r, points, values)
		}
		what := number(int(files), "file") + " of the restore points"
		if len(r.items) > 0 {
			what = number(len(r.items), "item") + " that --item names"
		}
		if err := c.agree(in, fmt.Sprintf("This changes %s that people work in, to hold the %s.", number(len(ids), "live "+w.noun), what)); err != nil {
			return err
		}
	}
	s, _, err := c.restoreSession(ctx, w, r, ids)
	if err != nil {
		return err
	}
	return c.restoreBegin(ctx, s.ID, !r.noWait)
}

// printPlan shows what a restore would do.
func (c *cli) printPlan(ctx context.Context, w *workload, r restoration, points []pointAnswer, values []json.RawMessage) error {
	files := pointAnswer.files
	if len(r.items) > 0 {
		files = func(p pointAnswer) string { return fmt.Sprintf("%d picked of %s", len(r.items), p.files()) }
	}
	head := []string{strings.ToUpper(w.noun), "AS OF", "FILES", "SIZE", "STATE", "TO", "POINT"}
	differ, err := c.differ(ctx, r, points)
	if err != nil {
		return err
	}
	if differ != nil {
		head = append(head, "DIFFERS")
	}
	err = printList(c, values, points, func(p pointAnswer) string { return p.ID }, head,
		func(p pointAnswer) []string {
			row := []string{cmp.Or(c.drives[p.ID], c.ownerOf(ctx, p.ProtectionUnit), p.ProtectionUnit.ID), clock(p.ProtectionDateTime), files(p), p.size(), p.state(), r.to, p.ID}
			if differ != nil {
				row = append(row, cmp.Or(differ[p.ID], "-"))
			}
			return row
		}, "There is nothing to restore.", func(p pointAnswer) map[string]any {
			more := map[string]any{"owner": cmp.Or(c.drives[p.ID], c.ownerOf(ctx, p.ProtectionUnit)), "destinationType": r.to}
			if n := differ[p.ID]; n != "" {
				more["differingItemCount"] = json.Number(n)
			}
			return more
		})
	if err == nil && !c.script() {
		if differ != nil {
			fmt.Fprintln(c.errs, "FILES is what the restore point holds; DIFFERS is how many items are otherwise in the newest one, or not in it.\nWhat changed since the newest one is not counted. What is as it was is not touched.")
		}
		fmt.Fprintln(c.errs, "Nothing was restored: without --dry-run it is.")
	}
	return err
}

// mostCompared is how many points are compared with the newest of their units before a
// restore, for each of which the server reads what differs.
const mostCompared = 20

// differ is how many items are otherwise in the newest point of a unit, by the point that is
// to be restored in place; nothing of one that the server does not compare, and nil where
// none is to be.
func (c *cli) differ(ctx context.Context, r restoration, points []pointAnswer) (map[string]string, error) {
	if r.to != toInPlace || len(points) == 0 || len(points) > mostCompared || len(r.items) > 0 {
		return nil, nil
	}
	var units []string
	for _, p := range points {
		units = append(units, p.ProtectionUnit.ID)
	}
	s, err := newSearch("", "")
	if err != nil {
		return nil, err
	}
	newest, _, err := c.points(ctx, s, units)
	if err != nil {
		return nil, err
	}
	differ := map[string]string{}
	for _, p := range points {
		n, ok := newest[p.ProtectionUnit.ID]
		var all struct {
			Count *int64 `json:"@odata.count"`
		}
		switch err := error(nil); {
		case !ok:
		case n.ID == p.ID:
			differ[p.ID] = "0"
		default:
			err = c.api.Get(ctx, "/restorePoints/"+segment(n.ID)+"/holdfast.changes/"+segment(p.ID)+"?$top=1&$count=true", &all)
			if e, refused := errors.AsType[*client.Error](err); err != nil && (!refused || e.Status == http.StatusUnauthorized) {
				return nil, err
			}
			if all.Count != nil {
				differ[p.ID] = strconv.FormatInt(*all.Count, 10)
			}
		}
	}
	return differ, nil
}

// agree asks the person at the terminal whether to go on with what changes live
// drives.
func (c *cli) agree(in io.Reader, what string) error {
	answer, err := "", io.EOF
	if file, ok := in.(*os.File); ok && terminal(file) && !empty(file) {
		fmt.Fprintf(c.errs, "%s Go on? [y/N] ", what)
		answer, err = bufio.NewReader(in).ReadString('\n')
	}
	if err != nil {
		return usageError{errors.New(what + " Nobody is there to be asked; --yes says that it is meant, --dry-run shows what would be done")}
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return fail(exitStopped, "nothing was restored")
	}
	return nil
}

// empty reports whether nobody ever writes to file: it is the null device.
func empty(file *os.File) bool {
	null, err := os.Stat(os.DevNull)
	if err != nil {
		return false
	}
	info, err := file.Stat()
	return err == nil && os.SameFile(null, info)
}

func (c *cli) restoreActivate(ctx context.Context, id string, wait bool) error {
	s, value, err := get[sessionAnswer](ctx, c, "/restoreSessions/"+segment(id))
	switch {
	case err != nil:
		return err
	case backup.SessionStatus(s.Status) == backup.SessionDraft:
		return c.restoreBegin(ctx, id, wait)
	}
	c.already("The session was started already")
	return c.restoreBegun(ctx, s, value, wait)
}

// restoreBegin starts a session.
func (c *cli) restoreBegin(ctx context.Context, id string, wait bool) error {
	var s sessionAnswer
	var value json.RawMessage
	err := c.api.Act(ctx, "/restoreSessions/"+segment(id)+"/activate", nil, &value)
	if err == nil {
		err = json.Unmarshal(value, &s)
	}
	if err != nil {
		return err
	}
	s.ID = id
	return c.restoreBegun(ctx, s, value, wait)
}

// restoreBegun shows a session that was started, or waits for its end.
func (c *cli) restoreBegun(ctx context.Context, s sessionAnswer, value json.RawMessage, wait bool) error {
	if wait {
		return c.restoreWait(ctx, s.ID)
	}
	if err := c.printSession(s, value); err != nil {
		return err
	}
	c.say("")
	if s.waits() {
		c.say("It begins when another person has approved it: 'holdfast approval approve %s'.", s.Approval.ID)
		return nil
	}
	c.say("'holdfast restore wait %s' waits until it is over.", s.ID)
	return nil
}

// restoreEnd waits until a session is over.
func (c *cli) restoreEnd(ctx context.Context, id string) (s sessionAnswer, value json.RawMessage, err error) {
	err = c.wait(ctx, "restored", "the restore goes on. See 'holdfast restore show "+id+"'", func(ctx context.Context) (done, total int, over bool, err error) {
		s, value, err = get[sessionAnswer](ctx, c, "/restoreSessions/"+segment(id))
		n := s.RestoreSessionArtifactCount
		switch backup.SessionStatus(s.Status) {
		case backup.SessionDraft:
			if err == nil {
				err = fail(exitFailed, "the session is a draft; 'holdfast restore activate %s' starts it", id)
			}
		case backup.SessionCompleted, backup.SessionCompletedWithError, backup.SessionFailed:
			over = true
		default:
			if err == nil && s.waits() {
				err = s.Approval.waitsFor(id)
			} else if err == nil && !s.Paused.IsZero() {
				err = fail(exitFailed, "the session is paused; 'holdfast restore resume %s' has it go on", id)
			}
		}
		return n.Completed + n.Failed, n.Total, over, err
	})
	return s, value, err
}

// restoreWait waits until a session is over, and says what became of it.
func (c *cli) restoreWait(ctx context.Context, id string) error {
	s, value, err := c.restoreEnd(ctx, id)
	if err != nil {
		return err
	}
	if err := c.printAll(ctx, s, value); err != nil {
		return err
	}
	return c.restoreFailed(ctx, s)
}

// restoreFailed is the error of a session that has ended, or nil: a drive, or a
// file, that failed may have come back but for a few items.
func (c *cli) restoreFailed(ctx context.Context, s sessionAnswer) error {
	n := s.RestoreSessionArtifactCount
	if backup.SessionStatus(s.Status) == backup.SessionCompleted {
		return nil
	}
	inPart, err := c.inPart(ctx, s)
	if err != nil {
		return err
	}
	see := fmt.Sprintf("'holdfast restore show %s' says what, and why", s.ID)
	switch {
	case n.Completed == 0 && len(inPart) == 0:
		return fail(exitFailed, "nothing was restored; %s", see)
	case n.Total == 1 && inPart[0] != "":
		return fail(exitPartial, "%s\n%s", inPart[0], see)
	}
	return fail(exitPartial, "%s of %s could not be restored whole; %s", backup.Number(n.Failed), backup.Number(n.Total), see)
}

// inPart lists what became of those artifacts of a session that failed and yet
// were restored somewhere, in the server's words.
func (c *cli) inPart(ctx context.Context, s sessionAnswer) (told []string, err error) {
	w := workloadOf(s.Type)
	if s.RestoreJobType == "granular" && w != mailboxes {
		artifacts, _, err := read[granularAnswer](c.api.All(ctx, w.sessions+"/"+segment(s.ID)+w.granular))
		for _, a := range artifacts {
			if backup.ArtifactStatus(a.Status) == backup.ArtifactFailed && a.RestoredItemPath+a.RestoredItemWebURL != "" {
				told = append(told, s.Error.about(a.ID))
			}
		}
		return told, err
	}
	artifacts, _, err := read[artifactAnswer](c.api.All(ctx, w.sessions+"/"+segment(s.ID)+w.restored(s)))
	for _, a := range artifacts {
		if backup.ArtifactStatus(a.Status) == backup.ArtifactFailed && a.place() != "" {
			told = append(told, a.Error.about(""))
		}
	}
	return told, err
}

// restored is the set of what a session restores, if that is no files and folders.
func (w *workload) restored(s sessionAnswer) string {
	if s.RestoreJobType == "granular" {
		return w.granular
	}
	return w.artifacts
}

// place is where an artifact was restored to: of a mailbox, the folder, with how
// many items there are.
func (a artifactAnswer) place() string {
	switch {
	case a.RestoredFolderName != "" && a.TargetMailbox != "":
		return a.TargetMailbox + ": " + a.RestoredFolderName + ", " + number(a.RestoredItemCount, "item")
	case a.RestoredFolderName != "":
		return a.RestoredFolderName + ", " + number(a.RestoredItemCount, "item")
	case a.RestoredItemCount > 0:
		return number(a.RestoredItemCount, "item")
	}
	return a.RestoredSiteWebURL
}

// about is what p says of a target, or of itself.
func (p *problemAnswer) about(target string) string {
	if p == nil {
		return ""
	}
	for _, d := range p.Details {
		if d.Target == target && target != "" {
			return d.Message
		}
	}
	return p.Message
}

func (c *cli) printSession(s sessionAnswer, value json.RawMessage) error {
	n := s.RestoreSessionArtifactCount
	count := fmt.Sprint(n.Total)
	if n.Completed+n.Failed+n.InProgress > 0 {
		count = fmt.Sprintf("%d: %d restored, %d failed, %d to come", n.Total, n.Completed, n.Failed, n.InProgress)
	}
	approval := ""
	if a := s.Approval; a != nil {
		approval = a.ID + ", " + a.State
	}
	return c.printOne(value, s.ID, "Session", s.ID, "Status", s.state(), "Type", s.RestoreJobType, "Artifacts", count, "Created", stamp(s.CreatedDateTime, by(s.CreatedBy)),
		"Completed", clock(s.CompletedDateTime), "Approval", approval, "Error", blame(s.Error))
}

func (c *cli) restoreList(ctx context.Context, _ []string) error {
	sessions, values, err := read[sessionAnswer](c.api.All(ctx, allSessions))
	if err != nil {
		return err
	}
	return printList(c, values, sessions, func(s sessionAnswer) string { return s.ID }, []string{"SESSION", "STATUS", "TYPE", "ARTIFACTS", "RESTORED", "FAILED", "CREATED", "COMPLETED"},
		func(s sessionAnswer) []string {
			n := s.RestoreSessionArtifactCount
			return []string{s.ID, s.state(), s.RestoreJobType, fmt.Sprint(n.Total), fmt.Sprint(n.Completed), fmt.Sprint(n.Failed), clock(s.CreatedDateTime), clock(s.CompletedDateTime)}
		}, "There are no restore sessions. 'holdfast restore run' makes one.")
}

func (c *cli) restoreShow(ctx context.Context, args []string) error {
	s, value, err := get[sessionAnswer](ctx, c, "/restoreSessions/"+segment(args[0]))
	if err != nil {
		return err
	}
	return c.printAll(ctx, s, value)
}

// printAll prints a session and its artifacts.
func (c *cli) printAll(ctx context.Context, s sessionAnswer, value json.RawMessage) error {
	if !c.quiet && c.script() {
		w := workloadOf(s.Type)
		set := w.restored(s)
		artifacts, values, err := read[artifactAnswer](c.api.All(ctx, w.sessions+"/"+segment(s.ID)+set))
		if err != nil {
			return err
		}
		for i, a := range artifacts {
			if a.RestorePoint.ID != "" {
				values[i] = withMembers(values[i], map[string]any{"owner": c.restoredOf(ctx, a)})
			}
		}
		value = withMembers(value, map[string]any{set[1:]: values})
	}
	if err := c.printSession(s, value); err != nil || c.script() || s.RestoreSessionArtifactCount.Total == 0 {
		return err
	}
	if s.Error != nil {
		called, err := c.called(ctx, s)
		if err != nil {
			return err
		}
		for _, d := range s.Error.Details {
			c.say("  %s: %s: %s", cmp.Or(called[d.Target], d.Target), d.Code, d.Message)
		}
	}
	c.say("")
	return c.printArtifacts(ctx, s)
}

// called is what people call the artifacts of a session, by their ids.
func (c *cli) called(ctx context.Context, s sessionAnswer) (map[string]string, error) {
	w, called := workloadOf(s.Type), map[string]string{}
	at := w.sessions + "/" + segment(s.ID) + w.restored(s)
	if s.RestoreJobType == "granular" && w != mailboxes {
		artifacts, _, err := read[granularAnswer](c.api.All(ctx, at))
		for _, a := range artifacts {
			called[a.ID] = a.WebURL
		}
		return called, err
	}
	artifacts, _, err := read[artifactAnswer](c.api.All(ctx, at))
	for _, a := range artifacts {
		called[a.ID] = c.restoredOf(ctx, a)
	}
	return called, err
}

// restoredOf is whose an artifact is, of as many as a person reads.
func (c *cli) restoredOf(ctx context.Context, a artifactAnswer) string {
	id := a.RestorePoint.ID
	if c.drives == nil {
		c.drives = map[string]string{}
	}
	if _, known := c.drives[id]; !known && len(c.drives) < 100 {
		p, _, err := get[pointAnswer](ctx, c, "/restorePoints/"+segment(id)+"?$expand=protectionUnit")
		if c.drives[id] = ""; err == nil { // it may have expired
			c.drives[id] = c.ownerOf(ctx, p.ProtectionUnit)
		}
	}
	return c.drives[id]
}

func (c *cli) restoreArtifacts(ctx context.Context, args []string) error {
	s, _, err := get[sessionAnswer](ctx, c, "/restoreSessions/"+segment(args[0]))
	if err != nil {
		return err
	}
	return c.printArtifacts(ctx, s)
}

func (c *cli) printArtifacts(ctx context.Context, s sessionAnswer) error {
	w := workloadOf(s.Type)
	if s.RestoreJobType == "granular" && w != mailboxes {
		return c.printGranular(ctx, s)
	}
	artifacts, values, err := read[artifactAnswer](c.api.All(ctx, w.sessions+"/"+segment(s.ID)+w.restored(s)))
	if err != nil {
		return err
	}
	err = printList(c, values, artifacts, func(a artifactAnswer) string { return a.ID }, []string{"ARTIFACT", "STATUS", strings.ToUpper(w.noun), "POINT", "TO", "PLACE", "ERROR"},
		func(a artifactAnswer) []string {
			return []string{a.ID, cmp.Or(a.Shortfall.Artifact(), a.Status), cmp.Or(c.restoredOf(ctx, a), "-"), clock(a.RestorePoint.ProtectionDateTime), a.DestinationType, a.place(), blame(a.Error)}
		}, "The session is empty.", func(a artifactAnswer) map[string]any {
			return map[string]any{"owner": c.restoredOf(ctx, a)}
		})
	if err != nil || c.script() {
		return err
	}
	for _, a := range artifacts {
		if a.ItemNames != "" {
			c.say("  of it: %s", a.ItemNames)
		}
		if a.Error == nil {
			continue
		}
		for _, d := range a.Error.Details {
			c.say("  %s: %s", d.Target, strings.TrimSpace(d.Code+" "+d.Message))
		}
	}
	return nil
}
