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
	"slices"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

// newDemo is the command that shows the main job on files of its own.
func newDemo() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Lose three drives of real files and get them back, in under a minute",
		Long: `Demo starts the whole server on a scratch folder and a free port, makes
three drives of real files, protects them, lets ransomware and other accidents
loose on them, restores them, and compares every byte.

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
	before map[string]picture // by owner: the drive as it was protected
	units  map[string]string  // by owner: the protection unit
	policy string
}

func (s *story) tell(ctx context.Context) (err error) {
	began := time.Now()
	s.say("Holdfast loses three drives of real files and gets them back.\nEverything happens in %s and on this machine.", s.dir)

	s.chapter("Three people have files")
	if err := s.makeDrives(); err != nil {
		return fmt.Errorf("make the drives: %w", err)
	}

	s.chapter("A server starts beside them")
	s.dev, err = startDev(ctx, devOptions{
		listen: "127.0.0.1:0", data: s.dir, interval: time.Hour, sample: false,
	}, s.log)
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

	for _, part := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"The drives are protected", s.protect},
		{"Then it happens", s.destroy},
		{"The drives are restored in place", s.restoreInPlace},
		{"Every byte is compared", s.compareInPlace},
		{"One drive is restored beside the living one", s.restoreBeside},
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

func (s *story) folder(owner string) string { return filepath.Join(s.dir, "drives", owner) }

func (s *story) makeDrives() error {
	files := newCorpus(1)
	s.before = map[string]picture{}
	for i, make := range []func(string) error{files.office, files.photos, files.project} {
		owner := demoOwners[i]
		if err := make(s.folder(owner)); err != nil {
			return err
		}
		p, err := takePicture(s.folder(owner))
		if err != nil {
			return err
		}
		s.before[owner] = p
		n, bytes := p.size()
		s.say("   %-20s %4d files, %5.1f MB: %s", owner, n, float64(bytes)/1e6,
			[]string{"letters and tables under every kind of name", "photos and a film", "a project, deep and of all sizes"}[i])
	}
	return nil
}

func (s *story) protect(ctx context.Context) error {
	var policy policyAnswer
	err := s.call(ctx, http.MethodPost, "/oneDriveForBusinessProtectionPolicies", map[string]any{"displayName": "Everyone's drives"}, &policy)
	if err != nil {
		return fmt.Errorf("create the policy: %w", err)
	}
	s.policy = policy.ID
	s.say("   Policy %s, %s.", policy.ID, policy.Status)

	var job bulkJobAnswer
	jobs := "/oneDriveForBusinessProtectionPolicies/" + policy.ID + "/driveProtectionUnitsBulkAdditionJobs"
	err = s.call(ctx, http.MethodPost, jobs, struct {
		DisplayName string   `json:"displayName"`
		Drives      []string `json:"drives"`
		ObjectIDs   []string `json:"directoryObjectIds"`
	}{"drives-I", demoOwners, []string{"1fec4e78-bce4-4aaf-ab1b-5451cc387264"}}, &job)
	if err != nil {
		return fmt.Errorf("add the drives: %w", err)
	}
	s.say("   Bulk addition job %s, %s.", job.ID, job.Status)
	if err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		err := s.client.Call(ctx, http.MethodGet, jobs+"/"+job.ID, nil, &job)
		return job.Status != "active", err
	}); err != nil {
		return fmt.Errorf("wait for the drives to be added: %w", err)
	}
	s.say("   The job is %s.", job.Status)
	if job.Status != "completed" {
		return fmt.Errorf("the drives were not all added: %w", job.Error)
	}

	err = s.call(ctx, http.MethodPost, "/protectionPolicies/"+policy.ID+"/activate", nil, &policy)
	if err != nil {
		return fmt.Errorf("activate the policy: %w", err)
	}
	s.say("   The policy is %s; backups begin.", policy.Status)

	unitsPath := "/oneDriveForBusinessProtectionPolicies/" + policy.ID + "/driveProtectionUnits"
	units, err := list[unitAnswer](ctx, s.client, unitsPath)
	if err != nil {
		return fmt.Errorf("list the drives: %w", err)
	}
	bar := newProgress(s.out, "drives protected", len(units))
	err = poll(ctx, 100*time.Millisecond, func() (bool, error) {
		units, err = list[unitAnswer](ctx, s.client, unitsPath)
		if err != nil {
			return false, err
		}
		done := 0
		for _, u := range units {
			if u.Status == "protected" {
				done++
			}
			if u.Error != nil {
				return false, fmt.Errorf("the drive of %s: %w", u.DirectoryObjectID, u.Error)
			}
		}
		bar.set(done)
		return done == len(units), nil
	})
	bar.close()
	if err != nil {
		return fmt.Errorf("wait until the drives are protected: %w", err)
	}
	s.units = map[string]string{}
	for _, u := range units {
		if owner := s.dev.userName(u.DirectoryObjectID); slices.Contains(demoOwners, owner) {
			s.units[owner] = u.ID
		}
	}
	if len(s.units) != len(demoOwners) {
		return fmt.Errorf("of the three drives %d are in the policy", len(s.units))
	}
	return s.client.Call(ctx, http.MethodGet, "/protectionPolicies/"+policy.ID, nil, &policy)
}

func (s *story) destroy(context.Context) error {
	files := newCorpus(2)
	for i, harm := range []struct {
		do   func(string) (int, error)
		says string
	}{
		{files.encrypt, "ransomware encrypts %d files and renames each to .locked"},
		{files.empty, "somebody deletes everything, %d files"},
		{files.edit, "a bad afternoon: %d files changed, deleted, moved or added"},
	} {
		n, err := harm.do(s.folder(demoOwners[i]))
		if err != nil {
			return fmt.Errorf("harm the drive of %s: %w", demoOwners[i], err)
		}
		s.say("   %-20s "+harm.says+".", demoOwners[i], n)
	}
	return nil
}

// points finds the newest point of each owner's drive up to now.
func (s *story) points(ctx context.Context, owners []string, until time.Time) ([]pointAnswer, error) {
	var ids []string
	for _, owner := range owners {
		ids = append(ids, s.units[owner])
	}
	var found searchAnswer
	err := s.call(ctx, http.MethodPost, "/restorePoints/search", struct {
		Units      []string             `json:"protectionUnitIds"`
		Period     map[string]time.Time `json:"protectionTimePeriod"`
		Preference string               `json:"restorePointPreference"`
	}{ids, map[string]time.Time{"endDateTime": until}, "latest"}, &found)
	if err != nil {
		return nil, fmt.Errorf("search for restore points: %w", err)
	}
	if len(found.SearchResults) != len(owners) {
		return nil, fmt.Errorf("%d restore points were found for %d drives", len(found.SearchResults), len(owners))
	}
	var points []pointAnswer
	for _, r := range found.SearchResults {
		points = append(points, r.RestorePoint)
	}
	return points, nil
}

// restore runs one session to its end and returns its artifacts.
func (s *story) restore(ctx context.Context, points []pointAnswer, destination string) ([]artifactAnswer, error) {
	var asked []any
	for _, p := range points {
		asked = append(asked, map[string]any{"restorePoint": map[string]any{"id": p.ID}, "destinationType": destination})
	}
	var session sessionAnswer
	err := s.call(ctx, http.MethodPost, "/oneDriveForBusinessRestoreSessions", map[string]any{"driveRestoreArtifacts": asked}, &session)
	if err != nil {
		return nil, fmt.Errorf("create the restore session: %w", err)
	}
	if err := s.call(ctx, http.MethodPost, "/restoreSessions/"+session.ID+"/activate", nil, &session); err != nil {
		return nil, fmt.Errorf("activate the restore session: %w", err)
	}
	bar := newProgress(s.out, "drives restored", len(points))
	var artifacts []artifactAnswer
	err = poll(ctx, 100*time.Millisecond, func() (bool, error) {
		artifacts, err = list[artifactAnswer](ctx, s.client, "/oneDriveForBusinessRestoreSessions/"+session.ID+"/driveRestoreArtifacts")
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
		return done == len(points), failed
	})
	bar.close()
	if err != nil {
		return nil, fmt.Errorf("wait for the restore: %w", err)
	}
	if err := s.client.Call(ctx, http.MethodGet, "/restoreSessions/"+session.ID, nil, &session); err != nil {
		return nil, err
	}
	s.say("   The session is %s.", session.Status)
	return artifacts, nil
}

func (s *story) restoreInPlace(ctx context.Context) error {
	points, err := s.points(ctx, demoOwners, now())
	if err != nil {
		return err
	}
	_, err = s.restore(ctx, points, "inPlace")
	return err
}

func (s *story) compareInPlace(context.Context) error {
	lost := 0
	for _, owner := range demoOwners {
		lost += s.compare(owner, owner, s.folder(owner))
	}
	if lost > 0 {
		return fmt.Errorf("%d things did not come back as they were", lost)
	}
	return nil
}

// compare says how what is in dir differs from what the owner's drive was, and
// returns in how many places.
func (s *story) compare(owner, label, dir string) int {
	now, err := takePicture(dir)
	if err != nil {
		s.say("   %-20s cannot be read: %v", label, err)
		return 1
	}
	differences := s.before[owner].differences(now)
	if len(differences) == 0 {
		n, bytes := now.size()
		s.say("   %-20s %4d files, %5.1f MB: names, content and times as they were.", label, n, float64(bytes)/1e6)
		return 0
	}
	s.say("   %-20s %d differences, such as:", label, len(differences))
	for _, d := range differences[:min(5, len(differences))] {
		s.say("     %s", d)
	}
	return len(differences)
}

// restoreBeside restores the first drive to a new place, which is a library
// beside it and so, in the simulated tenant, a folder beside its folder.
func (s *story) restoreBeside(ctx context.Context) error {
	owner := demoOwners[0]
	points, err := s.points(ctx, demoOwners[:1], now())
	if err != nil {
		return err
	}
	artifacts, err := s.restore(ctx, points, "new")
	if err != nil {
		return err
	}
	u, err := url.Parse(artifacts[0].RestoredSiteWebURL)
	if err != nil {
		return err
	}
	place := owner + "." + path.Base(u.Path)
	s.say("   It is at %s,\n   and here in %s.", u, s.folder(place))
	if s.compare(owner, "the new one", s.folder(place))+s.compare(owner, "the living one", s.folder(owner)) > 0 {
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
