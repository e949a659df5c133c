package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

// newDemo is the command that shows the main job on files of its own.
func newDemo() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Lose drives, a site and mail of real files and get them back, in under a minute",
		Long: `Demo starts the whole server on a scratch folder and a free port, makes
three drives, a site with a library and a list, and a mailbox of real files,
protects them, lets ransomware and other accidents loose on them, restores them,
and compares every byte.

It shows at each step which request a client sends. It exits with 0 only if
everything came back. The scratch folder is removed afterwards, unless something
went wrong or --keep asks for it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), cmd.OutOrStdout(), keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the scratch folder in place afterwards")
	return cmd
}

// demoOwners are the people of the story: those of the request that Microsoft's
// page shows, in its order.
var demoOwners = []string{"amala@contoso.com", "conrad@contoso.com", "lothar@contoso.com"}

// demoSite is the site of the story.
const demoSite = "https://contoso.sharepoint.com/sites/marketing"

// An estate is what the story protects of one workload.
type estate struct {
	*workload
	policy   string            // the display name of its policy
	subjects []string          // the addresses of what is protected
	unitIDs  map[string]string // by address: the protection unit
	folders  []*keepsake       // where it is on disk
}

// A keepsake is a folder that is to come back.
type keepsake struct {
	label, dir string
	what       string // what is in it, in words
	before     picture
	harm       func(dir string) (int, error)
	harmed     string // what that does, in words, with the number

	see  func(picture) picture // what is compared; nil for all
	kept string                // what that is, in words
}

// picture is what is compared of a folder.
func (f *keepsake) picture(dir string) (picture, error) {
	p, err := takePicture(dir)
	if f.see != nil {
		p = f.see(p)
	}
	return p, err
}

// runDemo tells the story on out.
func runDemo(ctx context.Context, out io.Writer, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "holdfast-demo-")
	if err != nil {
		return err
	}
	defer func() {
		switch {
		case err != nil:
			err = fmt.Errorf("%w\nEverything is still in %s, with the server's log in holdfast.log", err, dir)
		case keep:
			fmt.Fprintf(out, "\nEverything is still in %s. Look at it again with\n  holdfast dev --data %s\n", dir, dir)
		default:
			err = os.RemoveAll(dir)
		}
	}()
	logFile, err := os.Create(filepath.Join(dir, "holdfast.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	return (&story{out: out, dir: dir, log: newLog(logFile)}).tell(ctx)
}

// A story is one run of the demo.
type story struct {
	out  io.Writer
	dir  string
	log  *slog.Logger
	step int

	dev    *devServer
	client *client.Client
	all    []*estate
	last   time.Time // the last moment at which all was well
}

func (s *story) tell(ctx context.Context) (err error) {
	began := time.Now()
	s.say("Holdfast loses three drives, a site and a mailbox of real files and gets them back.\nEverything happens in %s and on this machine.", s.dir)

	s.chapter("Three people have files, a team has a site, and mail has come")
	if err := s.makeFiles(); err != nil {
		return fmt.Errorf("make the files: %w", err)
	}

	s.chapter("A server starts beside them")
	s.dev, err = startDev(ctx, devOptions{listen: "127.0.0.1:0", data: s.dir, interval: time.Hour, workloads: allWorkloads}, s.log)
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	defer func() { err = errors.Join(err, s.dev.close()) }()
	s.say("   API, workers and a simulated Microsoft 365 tenant listen on %s.", s.dev.origin)
	tenant, app := string(s.dev.tenants[0].ID), s.dev.tenants[0].Apps[0]
	s.request(http.MethodPost, tokenPath(tenant), "grant_type=client_credentials&client_id="+app.AppID+"&client_secret=…&scope=https://graph.microsoft.com/.default")
	s.client, err = client.New(client.Config{
		URL: s.dev.origin, Authority: s.dev.origin, Tenant: tenant, ClientID: app.AppID, ClientSecret: client.Secret(app.Secret),
	})
	if err == nil {
		err = s.client.SignIn(ctx)
	}
	if err != nil {
		return fmt.Errorf("get a token: %w", err)
	}
	s.say("   A token, good for what the application may do.")

	drives, site, mailbox := s.all[0], s.all[1], s.all[2]
	for _, part := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"The drives are protected", func(ctx context.Context) error { return s.protect(ctx, drives) }},
		{"So is the site, by its address", func(ctx context.Context) error { return s.protect(ctx, site) }},
		{"And the mailbox", func(ctx context.Context) error { return s.protect(ctx, mailbox) }},
		{"Then it happens", s.destroy},
		{"The drives are restored in place", func(ctx context.Context) error { return s.restoreInPlace(ctx, drives) }},
		{"The site, its library and its list", func(ctx context.Context) error { return s.restoreInPlace(ctx, site) }},
		{"One message is found, and put back", func(ctx context.Context) error { return s.restoreMessage(ctx, mailbox) }},
		{"Then the whole mailbox", func(ctx context.Context) error { return s.restoreInPlace(ctx, mailbox) }},
		{"Everything is compared", s.compareAll},
		{"One drive is restored beside the living one", func(ctx context.Context) error { return s.restoreBeside(ctx, drives) }},
	} {
		s.chapter(part.title)
		if err := part.tell(ctx); err != nil {
			return err
		}
	}
	s.say("\nEverything came back. That took %.0f seconds. Next: holdfast dev", time.Since(began).Seconds())
	return nil
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s *story) chapter(title string) {
	s.step++
	s.say("\n%d. %s", s.step, title)
}

// request shows a request as a client would send it.
func (s *story) request(method, path, body string) {
	s.say("   > %s %s", method, path)
	if body != "" {
		s.say("     %s", body)
	}
}

// call shows a request, sends it, and reads the answer.
func (s *story) call(ctx context.Context, method, path string, body, answer any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	s.request(method, client.Root+path, string(text))
	return s.client.Call(ctx, method, path, body, answer)
}

// makeFiles makes what there is to lose.
func (s *story) makeFiles() error {
	files, harm := newCorpus(1), newCorpus(2)
	at := func(path ...string) string { return filepath.Join(append([]string{s.dir}, path...)...) }
	people := &estate{workload: drives, policy: "Everyone's drives", subjects: demoOwners, folders: []*keepsake{
		{label: demoOwners[0], what: "letters and tables under every kind of name", harm: harm.encrypt,
			harmed: "ransomware encrypts %d files and renames each to .locked"},
		{label: demoOwners[1], what: "photos and a film", harm: harm.empty, harmed: "somebody deletes everything, %d files"},
		{label: demoOwners[2], what: "a project, deep and of all sizes", harm: harm.edit, harmed: "a bad afternoon: %d files changed, deleted, moved or added"},
	}}
	for _, f := range people.folders {
		f.dir = at("drives", f.label)
	}
	team := &estate{workload: sites, policy: "The team's sites", subjects: []string{demoSite}, folders: []*keepsake{
		{label: "marketing, Documents", dir: at("sites", "marketing", "libraries", "Documents"), what: "the library of a site", harm: harm.edit,
			harmed: "%d files changed, deleted, moved or added"},
		{label: "marketing, Offers", dir: at("sites", "marketing", "lists", "Offers"), what: "a list, an item in each file", harm: harm.reprice,
			harmed: "a script sets %d prices to nothing", see: picture.timeless, kept: "every field as it was"},
	}}
	post := &estate{workload: mailboxes, policy: "Everyone's mail", subjects: demoOwners[:1], folders: []*keepsake{
		{label: demoOwners[0] + ", mail", dir: at("mail", demoOwners[0]), what: "messages in folders", harm: harm.unmail,
			harmed: "a rule that went wrong deletes %d messages", see: picture.nameless, kept: "every message, byte for byte, in its folder"},
	}}
	s.all = []*estate{people, team, post}
	makers := []func(string) error{files.office, files.photos, files.project, files.library, files.offers, files.mail}
	for _, e := range s.all {
		for _, f := range e.folders {
			if err := makers[0](f.dir); err != nil {
				return err
			}
			makers = makers[1:]
			p, err := f.picture(f.dir)
			if err != nil {
				return err
			}
			f.before = p
			if f.kept == "" {
				f.kept = "names, content and times as they were"
			}
			n, bytes := p.size()
			s.say("   %-24s %4d files, %5.1f MB: %s", f.label, n, float64(bytes)/1e6, f.what)
		}
	}
	return nil
}

// protect puts an estate into a policy of its own, and waits for its backups.
func (s *story) protect(ctx context.Context, e *estate) error {
	var policy policyAnswer
	err := s.call(ctx, http.MethodPost, e.policies, map[string]any{"displayName": e.policy}, &policy)
	if err != nil {
		return fmt.Errorf("create the policy: %w", err)
	}
	s.say("   Policy %s, %s.", policy.ID, policy.Status)

	var job bulkJobAnswer
	asked := map[string]any{"displayName": e.nouns + "-I", e.addresses: e.subjects}
	if e.workload == drives {
		asked[e.ids] = []string{"1fec4e78-bce4-4aaf-ab1b-5451cc387264"} // lothar's, as Microsoft's page has it
	}
	jobs := e.policies + "/" + policy.ID + e.jobs
	err = s.call(ctx, http.MethodPost, jobs, asked, &job)
	if err != nil {
		return fmt.Errorf("add the %s: %w", e.nouns, err)
	}
	if err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		err := s.client.Call(ctx, http.MethodGet, jobs+"/"+job.ID, nil, &job)
		return job.Status != "active", err
	}); err != nil {
		return fmt.Errorf("wait for the %s to be added: %w", e.nouns, err)
	}
	s.say("   The job is %s.", job.Status)
	if job.Status != "completed" {
		return fmt.Errorf("the %s were not all added: %w", e.nouns, job.Error)
	}

	err = s.call(ctx, http.MethodPost, allPolicies+"/"+policy.ID+"/activate", nil, &policy)
	if err != nil {
		return fmt.Errorf("activate the policy: %w", err)
	}
	s.say("   The policy is %s; backups begin.", policy.Status)

	var units []unitAnswer
	bar := newProgress(s.out, e.nouns+" protected", len(e.subjects))
	err = poll(ctx, 100*time.Millisecond, func() (bool, error) {
		units, err = list[unitAnswer](ctx, s.client, e.policies+"/"+policy.ID+e.units)
		if err != nil {
			return false, err
		}
		done := 0
		for _, u := range units {
			if u.Status == "protected" {
				done++
			}
			if u.Error != nil {
				return false, fmt.Errorf("the %s %s: %w", e.noun, s.address(u), u.Error)
			}
		}
		bar.set(done)
		return done == len(units), nil
	})
	bar.close()
	if err != nil {
		return fmt.Errorf("wait until the %s are protected: %w", e.nouns, err)
	}
	e.unitIDs = map[string]string{}
	for _, u := range units {
		e.unitIDs[s.address(u)] = u.ID
	}
	for _, subject := range e.subjects {
		if e.unitIDs[subject] == "" {
			return fmt.Errorf("%s is not in the policy", subject)
		}
	}
	return nil
}

// address is that of what a unit is of.
func (s *story) address(u unitAnswer) string {
	if u.SiteID != "" {
		return demoSite // the tenant has one
	}
	return s.dev.userName(u.DirectoryObjectID)
}

// destroy has harm come to everything.
func (s *story) destroy(context.Context) error {
	s.last = now()
	for _, f := range s.folders() {
		n, err := f.harm(f.dir)
		if err != nil {
			return fmt.Errorf("harm %s: %w", f.label, err)
		}
		s.say("   %-24s "+f.harmed+".", f.label, n)
	}
	return nil
}

// folders is what is to come back.
func (s *story) folders() (all []*keepsake) {
	for _, e := range s.all {
		all = append(all, e.folders...)
	}
	return all
}

// points finds the newest point of each subject from before the harm.
func (s *story) points(ctx context.Context, e *estate, subjects []string) ([]any, error) {
	var ids []string
	for _, subject := range subjects {
		ids = append(ids, e.unitIDs[subject])
	}
	found, err := s.search(ctx, map[string]any{"protectionUnitIds": ids})
	if err != nil {
		return nil, err
	}
	if len(found.SearchResults) != len(subjects) {
		return nil, fmt.Errorf("%d restore points were found for %d %s", len(found.SearchResults), len(subjects), e.nouns)
	}
	var points []any
	for _, r := range found.SearchResults {
		points = append(points, map[string]any{"id": r.RestorePoint.ID})
	}
	return points, nil
}

// search searches for the newest points from before the harm.
func (s *story) search(ctx context.Context, what map[string]any) (found searchAnswer, err error) {
	what["protectionTimePeriod"] = map[string]time.Time{"endDateTime": s.last}
	what["restorePointPreference"] = "latest"
	if err := s.call(ctx, http.MethodPost, "/restorePoints/search", what, &found); err != nil {
		return found, fmt.Errorf("search for restore points: %w", err)
	}
	return found, nil
}

// restore runs one session of some artifacts to its end, and returns them as they
// are then.
func (s *story) restore(ctx context.Context, e *estate, set string, asked []any) ([]artifactAnswer, error) {
	var session sessionAnswer
	err := s.call(ctx, http.MethodPost, e.sessions, map[string]any{set[1:]: asked}, &session)
	if err != nil {
		return nil, fmt.Errorf("create the restore session: %w", err)
	}
	if err := s.call(ctx, http.MethodPost, allSessions+"/"+session.ID+"/activate", nil, &session); err != nil {
		return nil, fmt.Errorf("activate the restore session: %w", err)
	}
	bar := newProgress(s.out, "restored", len(asked))
	var artifacts []artifactAnswer
	err = poll(ctx, 100*time.Millisecond, func() (bool, error) {
		artifacts, err = list[artifactAnswer](ctx, s.client, e.sessions+"/"+session.ID+set)
		if err != nil {
			return false, err
		}
		done, failed := 0, error(nil)
		for _, a := range artifacts {
			switch a.Status {
			case "succeeded":
				done++
			case "failed":
				done++
				failed = errors.Join(failed, fmt.Errorf("artifact %s failed: %w", a.ID, a.Error))
			}
		}
		bar.set(done)
		return done == len(asked), failed
	})
	bar.close()
	if err != nil {
		return nil, fmt.Errorf("wait for the restore: %w", err)
	}
	if err := s.client.Call(ctx, http.MethodGet, allSessions+"/"+session.ID, nil, &session); err != nil {
		return nil, err
	}
	s.say("   The session is %s.", session.Status)
	return artifacts, nil
}

// artifactsOf asks for points to be restored.
func artifactsOf(points []any, destination string) []any {
	var asked []any
	for _, p := range points {
		asked = append(asked, map[string]any{"restorePoint": p, "destinationType": destination})
	}
	return asked
}

func (s *story) restoreInPlace(ctx context.Context, e *estate) error {
	points, err := s.points(ctx, e, e.subjects)
	if err != nil {
		return err
	}
	_, err = s.restore(ctx, e, e.artifacts, artifactsOf(points, "inPlace"))
	return err
}

// restoreMessage finds one message by what is known of it, and puts it back.
func (s *story) restoreMessage(ctx context.Context, e *estate) error {
	found, err := s.search(ctx, map[string]any{
		"protectionUnitIds": []string{e.unitIDs[e.subjects[0]]},
		"artifactQuery":     map[string]any{"artifactType": "message", "queryExpression": "(Subject -like '" + demoSubject + "') -and (Sender -like 'conrad@contoso.com')"},
	})
	if err != nil {
		return err
	}
	if len(found.SearchResults) != 1 || found.SearchResults[0].ArtifactHitCount != 1 {
		return fmt.Errorf("the search found %v, not one message", found.SearchResults)
	}
	s.say("   It is in the backup of %s.", found.SearchResults[0].RestorePoint.ProtectionDateTime.Local().Format("15:04:05"))
	artifacts, err := s.restore(ctx, e, e.granular, []any{map[string]any{
		"restorePoint": map[string]any{"id": found.SearchResults[0].RestorePoint.ID}, "destinationType": "inPlace", "searchResponseId": found.SearchResponseID,
	}})
	if err == nil && len(artifacts) != 1 {
		err = fmt.Errorf("%d artifacts were restored, not one", len(artifacts))
	}
	return err
}

func (s *story) compareAll(context.Context) error {
	lost := 0
	for _, f := range s.folders() {
		lost += s.compare(f, f.label, f.dir)
	}
	if lost > 0 {
		return fmt.Errorf("%d things did not come back as they were", lost)
	}
	return nil
}

// compare says how what is in dir differs from what f was, and returns in how
// many places.
func (s *story) compare(f *keepsake, label, dir string) int {
	now, err := f.picture(dir)
	if err != nil {
		s.say("   %-24s cannot be read: %v", label, err)
		return 1
	}
	differences := f.before.differences(now)
	if len(differences) == 0 {
		n, bytes := now.size()
		s.say("   %-24s %4d files, %5.1f MB: %s.", label, n, float64(bytes)/1e6, f.kept)
		return 0
	}
	s.say("   %-24s %d differences, such as:", label, len(differences))
	for _, d := range differences[:min(5, len(differences))] {
		s.say("     %s", d)
	}
	return len(differences)
}

// restoreBeside restores the first drive to a new place, which is a library
// beside it and so, in the simulated tenant, a folder beside its folder.
func (s *story) restoreBeside(ctx context.Context, e *estate) error {
	points, err := s.points(ctx, e, e.subjects[:1])
	if err != nil {
		return err
	}
	artifacts, err := s.restore(ctx, e, e.artifacts, artifactsOf(points, "new"))
	if err != nil {
		return err
	}
	u, err := url.Parse(artifacts[0].RestoredSiteWebURL)
	if err != nil {
		return err
	}
	living := e.folders[0]
	place := living.dir + "." + path.Base(u.Path)
	s.say("   It is at %s,\n   and here in %s.", u, place)
	if s.compare(living, "the new one", place)+s.compare(living, "the living one", living.dir) > 0 {
		return errors.New("the drive did not come back as it was")
	}
	return nil
}

// userName is the userPrincipalName of a directory object, or "".
func (d *devServer) userName(id string) string {
	for _, t := range d.tenants {
		for _, u := range t.Users {
			if string(u.ID) == id {
				return u.UserPrincipalName
			}
		}
	}
	return ""
}

// now is the present moment, as precise as the API has it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
