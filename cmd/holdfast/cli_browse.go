package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

const (
	browseSet   = "/oneDriveForBusinessBrowseSessions"
	granularSet = "/granularDriveRestoreArtifacts"
)

// The answers of the API on browsing, as far as the commands read them.
type (
	browseAnswer struct {
		Type                                                      string `json:"@odata.type"`
		ID, Status, DirectoryObjectID, SiteID, BackupSizeInBytes  string
		RestorePointDateTime, CreatedDateTime, ExpirationDateTime time.Time
		Error                                                     *problemAnswer
	}
	itemAnswer struct {
		ItemKey, Name, WebURL, Type, SizeInBytes string
		ItemsCount                               int
		Modified                                 time.Time `json:"@holdfast.lastModifiedDateTime"`
	}
	granularAnswer struct {
		ID, Status, WebURL, RestoredItemPath, RestoredItemWebURL string
		RestorePointDateTime                                     time.Time
		client.Shortfall
	}
)

func (c *cli) browseCommand() *cobra.Command {
	var at, session string
	var noWait bool
	from := func(cmd *cobra.Command) *cobra.Command {
		cmd.Flags().StringVar(&at, "at", "latest", "look at it as it was at this `TIME`: the newest browsable point up to then")
		cmd.Flags().StringVar(&session, "session", "", "use this browse `SESSION` and leave DRIVE or SITE out")
		return cmd
	}
	// place parts the arguments into the session to look at and the paths in it.
	place := func(ctx context.Context, args []string) (browseAnswer, []string, error) {
		if session != "" {
			s, err := c.browse(ctx, session)
			return s, args, err
		}
		if len(args) == 0 {
			return browseAnswer{}, nil, usageError{errors.New("say whose backup: a DRIVE or a SITE, or --session SESSION")}
		}
		s, err := c.browseSession(ctx, args[0], at)
		return s, args[1:], err
	}
	ls := from(&cobra.Command{Use: "ls DRIVE|SITE [PATH]", Short: "List what a drive's or a site's backup holds", Args: args(0, 2),
		RunE: c.run(func(ctx context.Context, args []string) error {
			s, paths, err := place(ctx, args)
			if err != nil {
				return err
			}
			if len(paths) > 1 {
				return usageError{errors.New("list one PATH at a time")}
			}
			return c.browseList(ctx, s, strings.Join(paths, ""))
		})})
	get := from(&cobra.Command{Use: "get DRIVE|SITE PATH...", Short: "Restore files and folders into a new folder beside them", Args: args(1, -1),
		Long: `Restores single files and folders from a backup into a new folder at the top of
the live drive, or of a site's library, and prints where each of them is. Nothing that is
there now is changed.`,
		RunE: c.run(func(ctx context.Context, args []string) error {
			if session == "" && len(args) < 2 {
				return usageError{errors.New("say what to restore: a PATH or more, as 'holdfast browse ls' shows them")}
			}
			s, paths, err := place(ctx, args)
			if err != nil {
				return err
			}
			return c.browseGet(ctx, s, paths, noWait)
		})})
	get.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for the restore")
	return group("browse", "Look into backups, and restore single files and folders", "A browse session looks into one restore point for some days. These commands make\none when they need it, and use it again while it lasts. A PATH in a site begins\nwith the name of a library.", ls, get,
		&cobra.Command{Use: "list", Short: "List the browse sessions", Args: args(0, 0), RunE: c.run(c.browseSessions)},
		&cobra.Command{Use: "end SESSION", Short: "End a browse session before its time", Args: args(1, 1), RunE: c.run(func(ctx context.Context, args []string) error {
			s, err := c.browse(ctx, args[0])
			if err == nil {
				err = c.api.Delete(ctx, workloadOf(s.Type).browses+"/"+segment(args[0]))
			}
			if err != nil {
				return err
			}
			c.say("Ended the browse session %s.", args[0])
			return nil
		})})
}

func (c *cli) browseSessions(ctx context.Context, _ []string) error {
	var sessions []browseAnswer
	var values []json.RawMessage
	for _, w := range workloads {
		some, raw, err := read[browseAnswer](c.api.All(ctx, w.browses))
		if err != nil && !notServed(err) {
			return err
		}
		sessions, values = append(sessions, some...), append(values, raw...)
	}
	return printList(c, values, sessions, func(s browseAnswer) string { return s.ID }, []string{"SESSION", "STATUS", "OF", "POINT", "SIZE", "CREATED", "EXPIRES"},
		func(s browseAnswer) []string {
			return []string{s.ID, s.Status, c.ownerOf(ctx, unitAnswer{DirectoryObjectID: s.DirectoryObjectID, SiteID: s.SiteID}), clock(s.RestorePointDateTime), size(s.BackupSizeInBytes), clock(s.CreatedDateTime), clock(s.ExpirationDateTime)}
		}, "There are no browse sessions. 'holdfast browse ls' makes them.", func(s browseAnswer) map[string]any {
			return map[string]any{"owner": c.ownerOf(ctx, unitAnswer{DirectoryObjectID: s.DirectoryObjectID, SiteID: s.SiteID})}
		})
}

// browse finds a browse session among those of every workload.
func (c *cli) browse(ctx context.Context, id string) (s browseAnswer, err error) {
	var first error
	for _, w := range workloads {
		if s, _, err = get[browseAnswer](ctx, c, w.browses+"/"+segment(id)); err == nil || !notServed(err) {
			return s, err
		}
		if first == nil {
			first = err
		}
	}
	return s, first
}

// browseSession returns a session on the newest browsable point of a unit, one
// that there is or a new one.
func (c *cli) browseSession(ctx context.Context, drive, at string) (browseAnswer, error) {
	if strings.EqualFold(at, "latest") {
		at = ""
	}
	wanted, err := newSearch("", at)
	if err != nil {
		return browseAnswer{}, err
	}
	wanted.fast = true
	u, _, err := c.unit(ctx, drive)
	if err != nil {
		return browseAnswer{}, err
	}
	w := workloadOf(u.Type)
	var before string
	for {
		found, _, err := c.points(ctx, wanted, []string{u.ID})
		if err != nil {
			return browseAnswer{}, err
		}
		p, ok := found[u.ID]
		if !ok {
			return browseAnswer{}, fail(exitNotFound, "%s has no restore point that can be browsed; 'holdfast point list %s' shows which can", drive, drive)
		}
		if !c.quiet {
			fmt.Fprintf(c.errs, "%s as it was at %s\n", drive, p.ProtectionDateTime.Local().Format("2006-01-02 15:04:05"))
		}
		s, err := c.browseSessionOf(ctx, w, u, p)
		// The newest of a day can be browsed, and may just have become another.
		if refused, ok := errors.AsType[*client.Error](err); ok && refused.Code == string(backup.InvalidRestorePoint) && p.ID != before {
			before = p.ID
			continue
		}
		return s, err
	}
}

// browseSessionOf returns a session on a point of a unit, one that there is or a new one.
func (c *cli) browseSessionOf(ctx context.Context, w *workload, u unitAnswer, p pointAnswer) (browseAnswer, error) {
	sessions, _, err := read[browseAnswer](c.api.All(ctx, w.browses))
	if err != nil {
		return browseAnswer{}, err
	}
	for _, s := range sessions {
		if s.DirectoryObjectID == u.DirectoryObjectID && s.SiteID == u.SiteID && s.RestorePointDateTime.Equal(p.ProtectionDateTime) && (s.Status == "created" || s.Status == "creating") && time.Until(s.ExpirationDateTime) > time.Hour {
			return c.browseReady(ctx, s)
		}
	}
	var s browseAnswer
	if err := c.api.Create(ctx, w.browses, map[string]string{"restorePointId": p.ID}, &s); err != nil {
		return s, err
	}
	return c.browseReady(ctx, s)
}

// browseReady waits until s can be used.
func (c *cli) browseReady(ctx context.Context, s browseAnswer) (browseAnswer, error) {
	if s.Status == "creating" {
		err := c.wait(ctx, "made ready", "the session is made ready all the same: "+s.ID, func(ctx context.Context) (done, total int, over bool, err error) {
			s, _, err = get[browseAnswer](ctx, c, workloadOf(s.Type).browses+"/"+segment(s.ID))
			return 0, 1, s.Status != "creating", err
		})
		if err != nil {
			return s, err
		}
	}
	if s.Status != "created" {
		return s, fail(exitFailed, "the browse session %s is %s. %s", s.ID, s.Status, blame(s.Error))
	}
	return s, nil
}

// below lists what is in an item of s; the zero item is the top.
func (c *cli) below(ctx context.Context, s browseAnswer, at itemAnswer, name string) ([]itemAnswer, []json.RawMessage, error) {
	body := map[string]string{}
	if at.ItemKey != "" {
		body["browseLocationItemKey"], body["browseResourceType"] = at.ItemKey, at.Type
	}
	if name != "" && !strings.ContainsAny(name, `'"\*?`) {
		body["filter"] = "(name -contains '" + name + "')" // fewer pages; what is meant is sorted out here
	}
	return read[itemAnswer](c.api.AllAsked(ctx, workloadOf(s.Type).browses+"/"+segment(s.ID)+"/browse", body))
}

// walk finds the item at a path of s.
func (c *cli) walk(ctx context.Context, s browseAnswer, path string) (itemAnswer, json.RawMessage, error) {
	var at itemAnswer
	var value json.RawMessage
	// Above a drive's folders are its site and its library, one of each; a site has
	// several libraries, which its paths begin with.
	for w := workloadOf(s.Type); at.Type == "" || at.Type == "site" && w == drives; {
		items, values, err := c.below(ctx, s, at, "")
		if err != nil {
			return at, nil, err
		}
		i := slices.IndexFunc(items, func(i itemAnswer) bool { return i.Type == "documentLibrary" || i.Type == "site" })
		if i < 0 {
			return at, nil, fail(exitNotFound, "the backup is empty")
		}
		at, value = items[i], values[i]
	}
	walked := ""
	if path = strings.Trim(path, "/"); at.Type == "site" && path != "" {
		items, values, err := c.below(ctx, s, at, "")
		if err != nil {
			return at, nil, err
		}
		library := -1
		for i, item := range items { // that of a site below is called SITE/LIBRARY
			begins := len(path) >= len(item.Name) && strings.EqualFold(path[:len(item.Name)], item.Name) && strings.HasPrefix(path[len(item.Name):]+"/", "/")
			if begins && (library < 0 || len(item.Name) > len(items[library].Name)) {
				library = i
			}
		}
		if library < 0 {
			return at, nil, fail(exitNotFound, "no library of this backup is called as %s begins. 'holdfast browse ls' without a PATH shows them", path)
		}
		at, value = items[library], values[library]
		walked, path = "/"+at.Name, path[len(at.Name):]
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		if at.Type == "file" {
			return at, nil, fail(exitNotFound, "%s is a file and holds nothing", walked)
		}
		items, values, err := c.below(ctx, s, at, name)
		if err != nil {
			return at, nil, err
		}
		walked += "/" + name
		i := slices.IndexFunc(items, func(i itemAnswer) bool { return i.Name == name })
		if i < 0 { // names differ in more than case
			i = slices.IndexFunc(items, func(i itemAnswer) bool { return strings.EqualFold(i.Name, name) })
		}
		if i < 0 {
			return at, nil, fail(exitNotFound, "there is no %s in this backup. 'holdfast browse ls' shows what there is; --at looks at another time", walked)
		}
		at, value = items[i], values[i]
	}
	return at, value, nil
}

func (c *cli) browseList(ctx context.Context, s browseAnswer, path string) error {
	at, value, err := c.walk(ctx, s, path)
	if err != nil {
		return err
	}
	items, values := []itemAnswer{at}, []json.RawMessage{value}
	if at.Type != "file" {
		if items, values, err = c.below(ctx, s, at, ""); err != nil {
			return err
		}
	}
	return printList(c, values, items, func(i itemAnswer) string { return i.ItemKey }, []string{"TYPE", "NAME", "SIZE", "HOLDS", "CHANGED", "KEY"}, func(i itemAnswer) []string {
		holds := ""
		if i.Type != "file" {
			holds = number(i.ItemsCount, "item")
		}
		return []string{i.Type, i.Name, size(i.SizeInBytes), holds, clock(i.Modified), i.ItemKey}
	}, "The folder is empty.")
}

// size is a number of bytes for people.
func size(bytes string) string {
	n, err := strconv.ParseFloat(bytes, 64)
	if err != nil {
		return ""
	}
	for _, unit := range []string{"B", "kB", "MB", "GB", "TB"} {
		if n < 1000 || unit == "TB" {
			if unit == "B" {
				return bytes + " B"
			}
			return fmt.Sprintf("%.1f %s", n, unit)
		}
		n /= 1000
	}
	return bytes
}

func (c *cli) browseGet(ctx context.Context, s browseAnswer, paths []string, noWait bool) error {
	var keys []string
	for _, path := range paths {
		item, _, err := c.walk(ctx, s, path)
		if err != nil {
			return err
		}
		if item.Type != "file" && item.Type != "folder" {
			return usageError{fmt.Errorf("%q is no file or folder but a whole drive, site or library; 'holdfast restore run' restores drives and sites", path)}
		}
		if !slices.Contains(keys, item.ItemKey) {
			keys = append(keys, item.ItemKey)
		}
	}
	w := workloadOf(s.Type)
	made, _, err := c.makeSession(ctx, w, w.granular[1:], keys, func(key string) any {
		return map[string]string{"browseSessionId": s.ID, "id": key}
	})
	if err != nil {
		return err
	}
	return c.restoreBegin(ctx, made.ID, !noWait)
}

func (c *cli) printGranular(ctx context.Context, s sessionAnswer) error {
	w := workloadOf(s.Type)
	artifacts, values, err := read[granularAnswer](c.api.All(ctx, w.sessions+"/"+segment(s.ID)+w.granular))
	if err != nil {
		return err
	}
	return printList(c, values, artifacts, func(a granularAnswer) string { return a.ID }, []string{"STATUS", "POINT", "WAS AT", "IS NOW AT"}, func(a granularAnswer) []string {
		now := a.RestoredItemWebURL
		if now == "" {
			now = a.RestoredItemPath
		}
		return []string{cmp.Or(a.Shortfall.Artifact(), a.Status), clock(a.RestorePointDateTime), a.WebURL, now}
	}, "The session is empty.")
}
