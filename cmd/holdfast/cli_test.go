package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

var update = flag.Bool("update", false, "write what the commands print into testdata/cli")

// clientEnv points the client commands at d, and nowhere else.
func clientEnv(t *testing.T, d *devServer) {
	t.Helper()
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "HOLDFAST_") {
			t.Setenv(name, "")
		}
	}
	for _, line := range exportLines(d.origin, d.tenants[0]) {
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		t.Setenv(name, value)
	}
}

// Each file of testdata/cli is a session of a person at a shell: commands, each
// with what it printed and the code it ended with. Ids are numbered in the order
// in which they first appear, and commands name them so.
func TestClientSessions(t *testing.T) {
	files, err := filepath.Glob("testdata/cli/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sessions: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			d := startTestDev(t, func(o *devOptions) {
				o.workloads = []string{string(backup.OneDrive), string(backup.SharePoint), string(backup.Exchange)}
				o.approval = filepath.Base(file) == "approval.txt"
			})
			clientEnv(t, d)
			t.Setenv("DATA", d.data.root)
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &shell{t: t, dev: d, ids: map[string]int{}}
			t.Setenv("SAVED", filepath.Join(d.drives, "saved"))
			t.Setenv("REPORT", filepath.Join(t.TempDir(), "report.csv"))
			var got bytes.Buffer
			for line := range strings.Lines(string(want)) {
				if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
					fmt.Fprintln(&got, line)
				} else if command, ok := strings.CutPrefix(line, "$ "); ok {
					fmt.Fprintf(&got, "\n%s\n%s", line, s.run(command))
				}
			}
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o666); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s is not what is printed now (-update writes it):\n%s", file, diff)
			}
		})
	}
}

// A shell runs the commands of one session.
type shell struct {
	t   *testing.T
	dev *devServer
	ids map[string]int
}

var (
	word    = regexp.MustCompile(`'[^']*'|\S+`)
	guid    = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	moment  = regexp.MustCompile(`\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z| [+-]\d\d:\d\d)?)?`)
	gaps    = regexp.MustCompile(`  +`)
	partial = regexp.MustCompile(`(?m)^   \w+ (\d+) of (\d+)\n`)
	folder  = regexp.MustCompile(`Restored <time> \d\d\.\d\d \([0-9a-f]+\)`)
	numberd = regexp.MustCompile(`<id (\d+)>`)
)

func (s *shell) run(command string) string {
	s.t.Helper()
	command = numberd.ReplaceAllStringFunc(command, func(name string) string {
		for id, n := range s.ids {
			if name == fmt.Sprintf("<id %d>", n) {
				return id
			}
		}
		s.t.Fatalf("%s: %s has not been printed yet", command, name)
		return ""
	})
	command, sorted := strings.CutSuffix(command, " | sort")
	var args []string
	for _, w := range word.FindAllString(os.ExpandEnv(command), -1) {
		args = append(args, strings.Trim(w, "'"))
	}
	var out bytes.Buffer
	code := 0
	switch args[0] {
	case "write": // FILE TEXT
		path := filepath.Join(s.dev.drives, args[1])
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(strings.ReplaceAll(args[2], `\n`, "\n")+"\n"), 0o666)); err != nil {
			s.t.Fatal(err)
		}
	case "rm": // FILE
		if err := os.Remove(filepath.Join(s.dev.drives, args[1])); err != nil {
			s.t.Fatal(err)
		}
	case "cat": // FILE
		path := args[1]
		if !filepath.IsAbs(path) {
			path = filepath.Join(s.dev.drives, path)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		out.Write(data)
	case "export": // NAME=VALUE
		name, value, _ := strings.Cut(args[1], "=")
		s.t.Setenv(name, value)
	case "holdfast":
		ctx, cancel := context.WithTimeout(s.t.Context(), 50*time.Second)
		defer cancel()
		code = execute(ctx, args[1:], &out, &out)
	default:
		s.t.Fatalf("there is no command %q", args[0])
	}
	text := partial.ReplaceAllStringFunc(out.String(), func(line string) string {
		if m := partial.FindStringSubmatch(line); m[1] != m[2] {
			return "" // how many of these lines there are is chance
		}
		return line
	})
	if sorted { // things that were made together have no order
		lines := slices.Collect(strings.Lines(text))
		slices.SortFunc(lines[1:], func(a, b string) int {
			return strings.Compare(moment.ReplaceAllString(guid.ReplaceAllString(a, ""), ""), moment.ReplaceAllString(guid.ReplaceAllString(b, ""), ""))
		})
		text = strings.Join(lines, "")
	}
	text = guid.ReplaceAllStringFunc(text, func(id string) string {
		if s.ids[id] == 0 {
			s.ids[id] = len(s.ids) + 1
		}
		return fmt.Sprintf("<id %d>", s.ids[id])
	})
	text = strings.NewReplacer(s.dev.origin, "<server>", s.dev.drives, "<drives>").Replace(moment.ReplaceAllString(text, "<time>"))
	text = folder.ReplaceAllString(text, "Restored <time>")
	var lines []string
	for line := range strings.Lines(text) {
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		lines = append(lines, indent+gaps.ReplaceAllString(line[len(indent):], "  "))
	}
	text = strings.Join(lines, "")
	if code != 0 {
		text += fmt.Sprintf("[exit %d]\n", code)
	}
	return text
}

// Whoever waits for a server that puts a request off is told why, once.
func TestWaitingIsSaid(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked > 2 {
			fmt.Fprint(w, `{"serviceStatus":{"status":"enabled"}}`)
			return
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, `{"error":{"code":"serviceNotAvailable","message":"The volume is not mounted.","innerError":{"request-id":"%d"}}}`, asked)
	}))
	defer server.Close()
	t.Setenv("HOLDFAST_URL", server.URL)
	t.Setenv("HOLDFAST_TOKEN", "token")
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"status", "-q"}, &out, &errs); code != 0 || !strings.Contains(out.String(), "enabled") {
		t.Errorf("exit code %d: %s", code, &out)
	}
	if n := strings.Count(errs.String(), "The volume is not mounted.\nThe request is sent again in 1s"); n != 1 || asked != 3 {
		t.Errorf("after %d requests it was said %d times: %s", asked, n, &errs)
	}
}

// A fakeServer answers the requests of one command, each by its method and its
// path below the API's root.
func fakeServer(t *testing.T, answers map[string]func(body []byte) any) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked := r.Method + " " + strings.TrimPrefix(r.URL.Path, client.Root)
		if r.URL.Query().Has("$skiptoken") {
			asked += " again"
		}
		answer := answers[asked]
		if answer == nil {
			t.Errorf("nobody expected %s", asked)
			w.WriteHeader(http.StatusNotFound)
			return
		}
		json.NewEncoder(w).Encode(answer(body))
	}))
	t.Cleanup(s.Close)
	t.Setenv("HOLDFAST_URL", s.URL)
	t.Setenv("HOLDFAST_TOKEN", "token")
}

const fakePolicy = "11111111-1111-4111-8111-111111111111"

type object = map[string]any

// A CSV of any length goes in jobs of 50,000, and what failed is found again by
// its line.
func TestDriveAddOfManyRows(t *testing.T) {
	var jobs []bulkJobAnswer
	answers := map[string]func([]byte) any{
		"GET " + allPolicies + "/" + fakePolicy: func([]byte) any {
			return object{"id": fakePolicy, "displayName": "P", "status": "active"}
		},
		"POST " + policySet + "/" + fakePolicy + bulkJobSet: func(body []byte) any {
			var job bulkJobAnswer
			if err := json.Unmarshal(body, &job); err != nil {
				t.Error(err)
			}
			jobs = append(jobs, job)
			return object{"id": fmt.Sprintf("job%d", len(jobs)), "status": "active"}
		},
	}
	for n := range 3 {
		answers[fmt.Sprintf("GET %s/job%d", bulkJobSet, n+1)] = func([]byte) any {
			return object{"id": fmt.Sprintf("job%d", n+1), "status": "completedWithErrors", "error": object{"code": "ProtectionResourcesNotFound", "details": []any{
				object{"code": "EmailNotFound", "message": "Unknown.", "target": fmt.Sprintf("user%d@contoso.com", n*jobSize)},
			}}}
		}
	}
	fakeServer(t, answers)
	var text bytes.Buffer
	text.WriteString("mail\n")
	const rows = 120_000
	for i := range rows {
		fmt.Fprintf(&text, "user%d@contoso.com\n", i)
	}
	file := filepath.Join(t.TempDir(), "many.csv")
	if err := os.WriteFile(file, text.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	var said strings.Builder
	if code := execute(t.Context(), []string{"drive", "add", "--policy", fakePolicy, "--from-csv", file, "--column", "0"}, io.Discard, &said); code != exitUsage {
		t.Errorf("of a column that the file has not: exit code %d: %s", code, said.String())
	}
	code := execute(t.Context(), []string{"drive", "add", "--policy", fakePolicy, "--from-csv", file}, &stdout, &stderr)
	if code != exitPartial || len(jobs) != 3 || len(jobs[0].Drives) != jobSize || len(jobs[2].Drives) != rows-2*jobSize || jobs[1].DisplayName != "many.csv (2 of 3)" {
		t.Fatalf("exit %d, %d jobs: %s", code, len(jobs), stderr.String())
	}
	for _, line := range []string{"2       user0@contoso.com", "50002   user50000@contoso.com", "100002  user100000@contoso.com", "119,997 owners are in P."} {
		if !strings.Contains(stdout.String(), line) {
			t.Errorf("there is no line %q:\n%s", line, stdout.String())
		}
	}
}

// --json is what the API answered, the pages of a list as one array.
func TestJSONMergesPages(t *testing.T) {
	fakeServer(t, map[string]func([]byte) any{
		"GET " + allPolicies: func([]byte) any {
			return object{"value": []any{object{"id": "a", "future": 1.50}}, "@odata.nextLink": "https://elsewhere.example.com" + client.Root + allPolicies + "?$skiptoken=x"}
		},
		"GET " + allPolicies + " again": func([]byte) any { return object{"value": []any{object{"id": "b"}}} },
	})
	var stdout, stderr bytes.Buffer
	if code := execute(t.Context(), []string{"policy", "list", "--json"}, &stdout, &stderr); code != 0 {
		t.Fatal(code, stderr.String())
	}
	var got []object
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil || len(got) != 2 || got[0]["future"] != 1.5 || got[1]["id"] != "b" {
		t.Errorf("%v: %s", err, stdout.String())
	}
}

// Waiting ends with --timeout and with Ctrl-C; the work does not, and both say so.
func TestWaitingEnds(t *testing.T) {
	asked := make(chan bool, 100)
	fakeServer(t, map[string]func([]byte) any{
		"GET /restoreSessions/s1": func([]byte) any {
			asked <- true
			return object{"id": "s1", "status": "active", "restoreSessionArtifactCount": object{"total": 2, "completed": 1, "inProgress": 1}}
		},
	})
	var stdout, stderr bytes.Buffer
	code := execute(t.Context(), []string{"restore", "wait", "s1", "--timeout", "1s"}, &stdout, &stderr)
	if code != exitStopped || !strings.Contains(stderr.String(), "restored 1 of 2") || !strings.Contains(stderr.String(), "1s have passed: no longer waiting, but the restore goes on. See 'holdfast restore show s1'") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
	for len(asked) > 0 {
		<-asked
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	stderr.Reset()
	code = execute(ctx, []string{"restore", "wait", "s1", "-q"}, &stdout, &stderr)
	if code != exitStopped || stderr.String() != "holdfast: interrupted: no longer waiting, but the restore goes on. See 'holdfast restore show s1'\n" {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}

// --timeout bounds the whole command: what a server is asked once more, too, and what it
// does not answer at all; and it is said what was waited for.
func TestTimeoutBoundsTheCommand(t *testing.T) {
	end := make(chan bool)
	var hangs atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			<-end
			return
		}
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"error":{"code":"serviceNotAvailable","message":"The vault is being moved."}}`)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(end) })
	t.Setenv("HOLDFAST_URL", s.URL)
	t.Setenv("HOLDFAST_TOKEN", "token")
	for _, c := range []struct {
		hangs bool
		says  string
		args  []string
	}{
		{false, "the server is to be asked again in 2m0s, and --timeout is 1m0s. It says: The vault is being moved: no longer waiting, but what the server was told to do goes on", []string{"policy", "list"}},
		{false, "It says: The vault is being moved: no longer waiting, but the restore goes on. See 'holdfast restore show s1'", []string{"restore", "wait", "s1"}},
		{true, "100ms have passed: no longer waiting, but what the server was told to do goes on", []string{"policy", "list"}},
		{true, "100ms have passed: no longer waiting, but the restore goes on.", []string{"restore", "wait", "s1"}},
	} {
		hangs.Store(c.hangs)
		timeout := map[bool]string{false: "1m", true: "100ms"}[c.hangs]
		var stdout, stderr bytes.Buffer
		if code := execute(t.Context(), append(c.args, "--timeout", timeout), &stdout, &stderr); code != exitStopped || !strings.Contains(stderr.String(), c.says) || strings.Contains(stderr.String(), "is sent again") {
			t.Errorf("%v: exit %d: %s", c.args, code, &stderr)
		}
	}
}

// A shell is offered names wherever a command takes them.
func TestCompletion(t *testing.T) {
	d := startTestDev(t, func(o *devOptions) {
		o.workloads = []string{string(backup.OneDrive), string(backup.SharePoint), string(backup.Exchange)}
	})
	clientEnv(t, d)
	hf(t, 0, "drive", "add", "--policy", "OneDrive Policy", "amala@contoso.com")
	hf(t, 0, "policy", "activate", "OneDrive Policy", "--wait")
	point := strings.TrimSpace(hf(t, 0, "point", "list", "amala@contoso.com", "-q"))
	session := strings.TrimSpace(hf(t, 0, "restore", "create", "--drive", "amala@contoso.com", "--to", "new", "-q"))
	browse := hf(t, 0, "browse", "ls", "amala@contoso.com") + hf(t, 0, "browse", "list", "-q")
	browse = strings.TrimSpace(browse[strings.LastIndex(strings.TrimSpace(browse), "\n")+1:])
	job := strings.Fields(hf(t, 0, "job", "list", "-q"))[0]
	const policy, drive = "OneDrive Policy\t71633878-8321-4950-bfaf-ed285bdd1461", "amala@contoso.com\tdrive, protected"
	for words, want := range map[string]string{
		"policy show ":                   policy,
		"policy explain OneDrive ":       drive,
		"drive list --policy ":           policy,
		"drive list --policy one":        policy,
		"drive list --status PRO":        "protected\n",
		"drive show AMALA":               drive,
		"drive show x@contoso.com ":      drive,
		"drive add --policy p co":        "conrad@contoso.com\tConrad",
		"browse ls ":                     drive,
		"find ":                          drive,
		"restore run --drive ":           drive,
		"restore run --to-drive ":        drive,
		"restore run --policy ":          policy,
		"restore run --workload ":        "sharePoint\n",
		"restore run --point ":           point + "\tamala@contoso.com, ",
		"restore run --to ":              "inPlace\n",
		"point show ":                    point + "\t",
		"restore show ":                  session + "\tdraft, ",
		"browse end ":                    browse + "\tamala@contoso.com, ",
		"browse ls --session ":           browse + "\t",
		"job wait ":                      job + "\t",
		"exclude add --workload exch":    "exchange\n",
		"policy create name --workload ": "oneDriveForBusiness\n",
	} {
		args := strings.Split(words, " ")
		var stdout, stderr bytes.Buffer
		if code := execute(t.Context(), append([]string{"__complete"}, args...), &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), want) || !strings.HasSuffix(stdout.String(), ":4\n") {
			t.Errorf("%q: exit %d %s %s, want %q", words, code, stdout.String(), stderr.String(), want)
		}
	}
	t.Setenv("HOLDFAST_URL", "http://127.0.0.1:1")
	var stdout, stderr bytes.Buffer
	if code := execute(t.Context(), []string{"__complete", "policy", "show", ""}, &stdout, &stderr); code != 0 || strings.Contains(stdout.String(), "\t") {
		t.Errorf("without a server: exit %d %s", code, stdout.String())
	}
}

// A session takes any number of points, fifty at a time, and all of them or
// none.
func TestRestoreOfManyPoints(t *testing.T) {
	var sizes []int
	refuse, deleted := false, false
	count := func(member string, body []byte) {
		var sent map[string][]any
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Error(err)
		}
		sizes = append(sizes, len(sent[member]))
	}
	fakeServer(t, map[string]func([]byte) any{
		"GET /restorePoints/0": func([]byte) any { return object{"id": "0"} },
		"POST " + sessionSet: func(body []byte) any {
			count("driveRestoreArtifacts", body)
			return object{"id": "s1", "status": "draft"}
		},
		"PATCH " + sessionSet + "/s1": func(body []byte) any {
			count("driveRestoreArtifacts@delta", body)
			if refuse {
				return object{"driveRestoreArtifacts@delta": []any{object{"@Core.DataModificationException": object{"info": object{"code": "DuplicateArtifactRestoreRequest", "message": "Twice."}}}}}
			}
			return object{"driveRestoreArtifacts@delta": []any{}}
		},
		"GET " + sessionSet + "/s1":  func([]byte) any { return object{"id": "s1", "restoreSessionArtifactCount": object{"total": 120}} },
		"DELETE /restoreSessions/s1": func([]byte) any { deleted = true; return nil },
	})
	command := []string{"restore", "create", "--to", "new"}
	for i := range 120 {
		command = append(command, "--point", fmt.Sprint(i))
	}
	var stdout, stderr bytes.Buffer
	if code := execute(t.Context(), command, &stdout, &stderr); code != 0 || !slices.Equal(sizes, []int{50, 50, 20}) || !strings.Contains(stdout.String(), "120") || deleted {
		t.Errorf("exit %d, requests of %v: %s%s", code, sizes, stdout.String(), stderr.String())
	}
	refuse = true
	if code := execute(t.Context(), command, &stdout, &stderr); code != exitFailed || !deleted || !strings.Contains(stderr.String(), "DuplicateArtifactRestoreRequest: Twice.") {
		t.Errorf("exit %d, deleted %v: %s", code, deleted, stderr.String())
	}
}

// A restore that failed but for a few items says so, and exits as what was done
// in part; only what came back nowhere is nothing.
func TestRestoresInPart(t *testing.T) {
	failed := func(message, place string) object {
		return object{"id": "a1", "status": "failed", "restoredSiteWebUrl": place, "error": object{"code": "ArtifactCannotBeRestored", "message": message}}
	}
	const few = "4 of 38000 items could not be restored whole; all else is as it was."
	for name, row := range map[string]struct {
		kind      string
		status    backup.SessionStatus
		total     int
		completed int
		artifacts []object
		problem   object
		code      int
		says      string
	}{
		"a few items": {"standard", backup.SessionFailed, 1, 0, []object{failed(few, "https://here")}, nil, exitPartial, few + "\n'holdfast restore show s1' says what"},
		"nothing":     {"standard", backup.SessionFailed, 1, 0, []object{failed("It expired.", "")}, nil, exitFailed, "nothing was restored; 'holdfast restore show s1' says what"},
		"several":     {"standard", backup.SessionFailed, 2, 0, []object{failed(few, "https://here"), failed("It expired.", "")}, nil, exitPartial, "2 of 2 could not be restored whole; 'holdfast"},
		"one of two":  {"standard", backup.SessionCompletedWithError, 2, 1, []object{failed("It expired.", "")}, nil, exitPartial, "1 of 2 could not be restored whole; 'holdfast"},
		"a folder": {"granular", backup.SessionFailed, 1, 0, []object{{"id": "k", "status": "failed", "restoredItemPath": "/R0/folder"}},
			object{"code": "ArtifactCannotBeRestored", "message": "1 of the session's files", "details": []object{{"target": "k", "code": "ArtifactCannotBeRestored", "message": few}}}, exitPartial, few},
		"no folder": {"granular", backup.SessionFailed, 1, 0, []object{{"id": "k", "status": "failed", "restoredItemPath": ""}}, nil, exitFailed, "nothing was restored"},
	} {
		t.Run(name, func(t *testing.T) {
			set := map[string]string{"standard": artifactSet, "granular": granularSet}[row.kind]
			fakeServer(t, map[string]func([]byte) any{
				"GET /restoreSessions/s1": func([]byte) any {
					return object{"id": "s1", "status": row.status, "restoreJobType": row.kind, "error": row.problem,
						"restoreSessionArtifactCount": object{"total": row.total, "completed": row.completed, "failed": row.total - row.completed}}
				},
				"GET " + sessionSet + "/s1" + set: func([]byte) any { return object{"value": row.artifacts} },
			})
			var stdout, stderr bytes.Buffer
			if code := execute(t.Context(), []string{"restore", "wait", "s1", "-q"}, &stdout, &stderr); code != row.code || !strings.HasPrefix(stderr.String(), "holdfast: "+row.says) {
				t.Errorf("exit %d: %s", code, &stderr)
			}
		})
	}
}

// So do many drives, each of which was restored but for a few items.
func TestBulkRestoresInPart(t *testing.T) {
	place := "https://here"
	fakeServer(t, map[string]func([]byte) any{
		"GET " + allPolicies + "/" + fakePolicy: func([]byte) any { return object{"id": fakePolicy, "displayName": "P", "status": "active"} },
		"GET " + policySet + "/" + fakePolicy + unitSet: func([]byte) any {
			return object{"value": []object{{"id": "u", "directoryObjectId": "1fec4e78-bce4-4aaf-ab1b-5451cc387264"}}}
		},
		"POST " + sessionSet: func([]byte) any { return object{"id": "s1", "status": "draft"} },
		"POST " + sessionSet + "/s1" + drives.bulkRestores():        func([]byte) any { return object{"id": "b1"} },
		"GET " + sessionSet + "/s1" + drives.bulkRestores() + "/b1": func([]byte) any { return object{"id": "b1"} },
		"POST /restoreSessions/s1/activate":                         func([]byte) any { return object{} },
		"GET /restoreSessions/s1": func([]byte) any {
			return object{"id": "s1", "status": backup.SessionFailed, "restoreJobType": "bulk", "restoreSessionArtifactCount": object{"total": 1, "failed": 1}}
		},
		"GET " + sessionSet + "/s1" + artifactSet: func([]byte) any {
			return object{"value": []object{{"id": "a1", "status": "failed", "restoredSiteWebUrl": place}}}
		},
	})
	command := []string{"restore", "run", "--policy", fakePolicy, "--to", "new", "-q"}
	var stdout, stderr bytes.Buffer
	if code := execute(t.Context(), command, &stdout, &stderr); code != exitPartial || !strings.Contains(stderr.String(), "1 of 1 drive could not be restored whole, of which 1 came back in part") {
		t.Errorf("exit %d: %s", code, &stderr)
	}
	place = ""
	stderr.Reset()
	if code := execute(t.Context(), command, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "1 drive could not be restored") {
		t.Errorf("exit %d: %s", code, &stderr)
	}
}

// To ask for what is so already changes nothing and is no failure.
func TestActivateTwice(t *testing.T) {
	status := ""
	fakeServer(t, map[string]func([]byte) any{ // which knows no action
		"GET " + allPolicies + "/" + fakePolicy: func([]byte) any { return object{"id": fakePolicy, "displayName": "P", "status": status} },
	})
	for _, row := range []struct{ status, command string }{
		{"active", "activate"}, {"activeWithErrors", "activate"}, {"active", "activate --wait"}, {"inactive", "deactivate"},
	} {
		status = row.status
		var stdout, stderr bytes.Buffer
		args := append(strings.Fields("policy "+row.command), fakePolicy)
		if code := execute(t.Context(), args, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), row.status) {
			t.Errorf("%s of a policy that is %s exits with %d: %s%s", row.command, row.status, code, &stdout, &stderr)
		}
	}
}

// Who is to say that live drives may be changed is there to say it, or has said it.
func TestRestoreInPlaceAsks(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	c := &cli{errs: io.Discard}
	for _, in := range []io.Reader{null, strings.NewReader("y\n")} {
		if err := c.agree(in, "This changes 1 live drive."); !errors.As(err, new(usageError)) || !strings.Contains(err.Error(), "--yes") {
			t.Errorf("where nobody is there to be asked: %v", err)
		}
	}
	asked := ""
	fakeServer(t, map[string]func([]byte) any{
		"GET /restorePoints/p1": func([]byte) any {
			return map[string]any{"id": "p1", "@holdfast.fileCount": 7, "protectionUnit": map[string]any{"id": "u1", "email": "amala@contoso.com"}}
		},
		"POST /restorePoints/search": func([]byte) any { return object{"searchResults": []object{}} },
		"POST /oneDriveForBusinessRestoreSessions": func(body []byte) any {
			asked = string(body)
			return map[string]any{"id": "s1", "status": "draft"}
		},
		"POST /restoreSessions/s1/activate": func([]byte) any { return map[string]any{"id": "s1", "status": "activating"} },
	})
	run := []string{"restore", "run", "--point", "p1", "--no-wait", "--to", "INPLACE"}
	var out bytes.Buffer
	if code := execute(t.Context(), append(run, "--dry-run"), &out, io.Discard); code != 0 || asked != "" || !strings.Contains(out.String(), " 7 ") {
		t.Errorf("--dry-run: exit code %d, asked %q, said %s", code, asked, &out)
	}
	if code := execute(t.Context(), append(run, "--yes"), io.Discard, io.Discard); code != 0 || !strings.Contains(asked, `"inPlace"`) {
		t.Errorf("--yes: exit code %d, asked %q", code, asked)
	}
}

// A time that was printed is that of the point it was printed of.
func TestTimesAreReadAsTheyArePrinted(t *testing.T) {
	at := time.Date(2026, 1, 31, 15, 4, 5, 678e6, time.UTC)
	for _, text := range []string{clock(at), "2026-01-31t15:04:05z", "2026-01-31T15:04:05.678Z", wire(at)} {
		got, err := parseTime(text, true)
		if err != nil || got.Before(at) || !got.Before(at.Truncate(time.Second).Add(time.Second)) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

// A list says of each point whether it holds something else than the one before.
func TestPointsSayWhetherAnythingChanged(t *testing.T) {
	const unit = "11111111-1111-4111-8111-111111111111"
	fakeServer(t, map[string]func([]byte) any{
		"GET /protectionUnits/" + unit: func([]byte) any { return map[string]string{"id": unit} },
		"GET /restorePoints": func([]byte) any {
			var points []any
			for i, tag := range []string{"b", "a", "a"} {
				points = append(points, map[string]any{"id": fmt.Sprint("p", i), "@holdfast.contentTag": tag, "@holdfast.size": 1500,
					"protectionUnit": map[string]string{"id": unit, "email": "amala@contoso.com"}})
			}
			return map[string]any{"value": points}
		},
	})
	for limit, want := range map[string]string{"0": "p0 1.5 kB yes, p1 1.5 kB no, p2 1.5 kB -", "1": "p0 1.5 kB yes", "2": "p0 1.5 kB yes, p1 1.5 kB no"} {
		var out bytes.Buffer
		if code := execute(t.Context(), []string{"point", "list", unit, "--no-headers", "--limit", limit}, &out, io.Discard); code != 0 {
			t.Fatalf("exit code %d: %s", code, &out)
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			f := strings.Fields(line)
			got = append(got, strings.Join([]string{f[0], f[2], f[3], f[4]}, " "))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("of at most %s: %v, want %s", limit, got, want)
		}
	}
}

// A report says of each row, as JSON and as CSV, what its table says and what it costs;
// of what nobody knows or asked for it says nothing.
func TestReportHasItsFigures(t *testing.T) {
	fakeServer(t, map[string]func([]byte) any{"GET /holdfast.coverage": func([]byte) any {
		return object{"value": []object{
			{"workload": "oneDriveForBusiness", "subjectId": "s1", "address": "ann@contoso.com", "status": "protected", "protectionUnitId": "u1", "policyId": "p", "newestDateTime": "2026-11-29T03:00:00Z",
				"promised": "PT20M", "fileCount": 3, "size": 5_000_000_000, "sizeMonthAgo": 6_000_000_000, "pointCount": 3, "latePointCount": 1, "unreadItemCount": 0},
			{"workload": "exchange", "subjectId": "s1", "address": "ann@contoso.com", "status": "none"},
		}}
	}})
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"report", "--csv", "--own-price", "0.02"}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatal(rows, err)
	}
	for name, want := range map[string][2]string{"inTimePercent": {"66.66", ""}, "grown": {"-1000000000", ""}, "monthlyCostAtMicrosoft": {"0.750000", ""}, "monthlyCostHere": {"0.100000", ""}, "promised": {"20m0s", ""}} {
		at := slices.Index(rows[0], name)
		if at < 0 || rows[1][at] != want[0] || rows[2][at] != want[1] {
			t.Errorf("%s is in column %d of %q", name, at, rows)
		}
	}
	out.Reset()
	if code := execute(t.Context(), []string{"report", "--json", "--price", "0"}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	var members []object
	if err := json.Unmarshal(out.Bytes(), &members); err != nil || len(members) != 2 || members[0]["inTimePercent"] != 66.66 || members[0]["grown"] != -1e9 {
		t.Errorf("%v: %s", err, &out)
	}
	for _, name := range []string{"monthlyCostAtMicrosoft", "monthlyCostHere"} {
		if members[0][name] != nil {
			t.Errorf("%s is told, and nobody asked", name)
		}
	}
}

// What fails is named by 'status' of whatever workload it is, and where a server has one
// workload only, its others are not asked for in vain.
func TestStatusNamesWhatFails(t *testing.T) {
	missing := []string{"/mailboxProtectionUnits", "/mailboxProtectionUnits/$count"}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.TrimPrefix(r.URL.Path, client.Root); {
		case slices.Contains(missing, path):
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":{"code":"itemNotFound","message":"No."}}`)
		case path == "":
			fmt.Fprint(w, `{"serviceStatus":{"status":"enabled"}}`)
		case strings.HasSuffix(path, "/$count"):
			fmt.Fprint(w, 7)
		case path == sites.units:
			json.NewEncoder(w).Encode(object{"value": []object{{"id": "u1", "siteId": "x", "siteWebUrl": "https://contoso.sharepoint.com/sites/gone", "status": "protected", "error": object{"code": "ProtectionUnitNotFound", "message": "It is gone."}}}})
		case path == "/holdfast.rpo":
			fmt.Fprint(w, `{"protectedUnitCount":7,"missedUnitCount":1,"worst":[{"workload":"sharePoint","protectionUnitId":"u1","siteId":"x","siteWebUrl":"https://contoso.sharepoint.com/sites/gone","age":"PT2H","promised":"PT1H"}]}`)
		default:
			fmt.Fprint(w, `{"value":[]}`)
		}
	}))
	defer s.Close()
	t.Setenv("HOLDFAST_URL", s.URL)
	t.Setenv("HOLDFAST_TOKEN", "token")
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"status"}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	for _, want := range []string{"ProtectionUnitNotFound: It is gone.", "1 of 7 late; the worst 2h0m0s old, of 1h0m0s promised, of https://contoso.sharepoint.com/sites/gone", "Sites "} {
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "Mailboxes") {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
	out.Reset()
	if code := execute(t.Context(), []string{"status", "--json"}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	var told struct {
		Units   map[string]int
		Failing []struct{ Owner string }
		RPO     struct{ Worst []struct{ Owner string } }
	}
	if err := json.Unmarshal(out.Bytes(), &told); err != nil || told.Units["sites"] != 7 || len(told.Failing) != 1 || told.Failing[0].Owner != "https://contoso.sharepoint.com/sites/gone" || len(told.RPO.Worst) != 1 || told.RPO.Worst[0].Owner == "" {
		t.Errorf("%v: %s", err, &out)
	}
}

// Off a terminal a progress takes twenty lines of whatever there is, its first and its
// last among them, and one for each step of a few.
func TestProgressIsShortInALog(t *testing.T) {
	for total, want := range map[int]int{1: 2, 3: 4, 20: 21, 1_000_000: 21} {
		var out strings.Builder
		p := newProgress(&out, "files", total)
		for done := range total + 1 {
			p.set(done)
		}
		p.close()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if last := fmt.Sprintf("   files %d of %d", total, total); len(lines) != want || lines[len(lines)-1] != last {
			t.Errorf("of %d files it takes %d lines, the last %q", total, len(lines), lines[len(lines)-1])
		}
	}
}

// A session that goes on is shown without its pause, which the answer no longer has.
func TestResumeIsShown(t *testing.T) {
	fakeServer(t, map[string]func([]byte) any{
		"GET /restoreSessions/s1": func([]byte) any {
			return object{"id": "s1", "status": "active", "@holdfast.pausedDateTime": "2026-11-29T03:00:00Z"}
		},
		"POST /restoreSessions/s1/holdfast.resume": func([]byte) any { return object{"id": "s1", "status": "active"} },
	})
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"restore", "resume", "s1"}, &out, &errs); code != 0 || !strings.Contains(out.String(), "active") || strings.Contains(out.String(), "paused") {
		t.Errorf("exit code %d: %s%s", code, &out, &errs)
	}
}
