package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// What a command does when it is run again as it was.
const (
	reads = "it reads"                             // and so may be repeated
	makes = "it makes something new each time"     //
	gone  = "what it was about is not there again" // which is exit code 3
	runs  = "it runs until it is stopped"          // and then again; of two at once on one folder the second ends
	alone = "it makes all anew, at length"         // and is not run here
)

// A commandRow is a command as it is called, after those before it.
type commandRow struct {
	name  string
	args  string // words; '…' is one word, $NAME what a row before kept
	keeps string // the name for what it prints with -q
	again string // one of the above, or what the same command line says when it is run again
	wrong string // a command line that names something that is not there
}

const nobody = "11111111-1111-4111-8111-111111111111"

// commandRows are the commands that can be run beside a server, in an order in which they
// can be.
var commandRows = []commandRow{
	{name: "status", again: reads},
	{name: "rpo", again: reads},
	{name: "policy create", args: "Sales", keeps: "POLICY", again: makes},
	{name: "drive add", args: "--policy $POLICY amala@contoso.com conrad@contoso.com", again: "2 owners are in Sales", wrong: "--policy nosuch amala@contoso.com"},
	{name: "policy activate", args: "$POLICY --wait", again: "active already: nothing was to be done", wrong: "nosuch"},
	{name: "policy list", again: reads},
	{name: "policy show", args: "$POLICY", again: reads, wrong: nobody},
	{name: "policy wait", args: "$POLICY", again: reads, wrong: nobody},
	{name: "policy explain", args: "$POLICY amala@contoso.com", again: reads, wrong: "$POLICY nobody@contoso.com"},
	{name: "policy rename", args: "$POLICY Sold", again: "called Sold already: nothing was to be done", wrong: "nosuch Sold"},
	{name: "drive list", again: reads, wrong: "--policy nosuch"},
	{name: "drive show", args: "amala@contoso.com", again: reads, wrong: "lothar@contoso.com"},
	{name: "job list", keeps: "JOB", again: reads, wrong: "--policy nosuch"},
	{name: "job show", args: "$JOB", again: reads, wrong: nobody},
	{name: "job wait", args: "$JOB", again: reads, wrong: "nosuch"},
	{name: "point list", args: "amala@contoso.com", again: reads, wrong: "lothar@contoso.com"},
	{name: "point search", args: "amala@contoso.com", keeps: "POINT", again: reads, wrong: "lothar@contoso.com"},
	{name: "point diff", args: "amala@contoso.com 2099-01-01", again: reads, wrong: "lothar@contoso.com 2099-01-01"},
	{name: "point show", args: "$POINT", again: reads, wrong: "nosuch"},
	{name: "find", args: "amala@contoso.com plan", again: reads, wrong: "lothar@contoso.com plan"},
	{name: "browse ls", args: "amala@contoso.com", again: reads, wrong: "amala@contoso.com /nosuch"},
	{name: "browse get", args: "amala@contoso.com /plan.md", again: makes, wrong: "amala@contoso.com /nosuch"},
	{name: "browse list", keeps: "LOOK", again: reads},
	{name: "browse end", args: "$LOOK", again: gone, wrong: "nosuch"},
	{name: "restore run", args: "--drive amala@contoso.com --to inPlace --dry-run", again: reads},
	{name: "restore run", args: "--drive Amala@Contoso.com --to INPLACE --yes --at LATEST", keeps: "RAN", again: makes, wrong: "--drive lothar@contoso.com --to new"},
	{name: "restore list", again: reads},
	{name: "restore show", args: "$RAN", again: reads, wrong: nobody},
	{name: "restore artifacts", args: "$RAN", again: reads, wrong: "nosuch"},
	{name: "restore wait", args: "$RAN", again: reads, wrong: "nosuch"},
	{name: "backup create", again: alone},
	{name: "backup show", again: alone},
	{name: "backup drill", again: alone},
	{name: "backup restore", again: alone},
	{name: "approval list", again: reads},
	{name: "report", again: reads},
	{name: "exclude list", again: reads},
	{name: "policy create", args: "All --full-service --workload SHAREPOINT", keeps: "ALL", again: makes},
	{name: "exclude add", args: "--workload Sites https://contoso.sharepoint.com/sites/marketing", again: "1 site excluded", wrong: "--workload exchange amala@contoso.com"},
	{name: "exclude remove", args: "--workload sharePOINT https://contoso.sharepoint.com/sites/marketing", again: "not excluded: nothing was to be done", wrong: "--workload sites https://contoso.sharepoint.com/sites/nosuch"},
	{name: "policy delete", args: "$ALL", again: gone, wrong: "nosuch"},
	{name: "policy create", args: "Mail --workload EXCHANGE", keeps: "MAIL", again: makes},
	{name: "mailbox add", args: "--policy $MAIL amala@contoso.com", again: "1 owner is in Mail", wrong: "--policy nosuch amala@contoso.com"},
	{name: "policy activate", args: "$MAIL --wait", again: "active already: nothing was to be done"},
	{name: "search mail", args: "subject:contract*", again: reads},
	{name: "mail ls", args: "amala@contoso.com Archive --limit 1", keeps: "MESSAGE", again: reads, wrong: "lothar@contoso.com"},
	{name: "mail show", args: "amala@contoso.com $MESSAGE", again: reads, wrong: "amala@contoso.com " + nobody},
	{name: "mail save", args: "amala@contoso.com $MESSAGE --to $DATA/saved", again: makes, wrong: "amala@contoso.com " + nobody + " --to $DATA/saved"},
	{name: "restore run", args: "--mailbox amala@contoso.com --item $MESSAGE --to new", again: makes, wrong: "--mailbox amala@contoso.com --item " + nobody + " --to new"},
	{name: "mailbox list", args: "--status PROTECTED", again: reads},
	{name: "mailbox show", args: "amala@contoso.com", again: reads, wrong: "lothar@contoso.com"},
	{name: "policy create", args: "Teams --workload sharePoint", keeps: "TEAMS", again: makes},
	{name: "site add", args: "--policy $TEAMS https://contoso.sharepoint.com/sites/marketing", again: "1 site is in Teams", wrong: "--policy nosuch https://contoso.sharepoint.com/sites/marketing"},
	{name: "site list", keeps: "SITE", again: reads},
	{name: "site show", args: "https://contoso.sharepoint.com/sites/marketing", again: reads, wrong: "https://contoso.sharepoint.com/sites/nosuch"},
	{name: "rule create", args: "--policy $POLICY --group Research --dynamic", keeps: "RULE", again: makes, wrong: "--policy $POLICY --group nosuch"},
	{name: "rule list", again: reads, wrong: "--policy nosuch"},
	{name: "rule show", args: "$RULE", again: reads, wrong: "nosuch"},
	{name: "rule wait", args: "$RULE", again: reads, wrong: nobody},
	{name: "rule update", args: "$RULE --group 6a0de200-4f6b-4c55-8f0e-c0a7050a0100", again: "so already: nothing was to be done", wrong: "nosuch --group Research"},
	{name: "rule delete", args: "$RULE --unprotect", again: gone, wrong: nobody},
	{name: "rule create", args: "--policy $POLICY --group Research", keeps: "RULE", again: makes},
	{name: "rule run", args: "$RULE", again: "completed", wrong: nobody},
	{name: "drive remove", args: "conrad@contoso.com", again: "in no policy: nothing was to be done", wrong: nobody},
	{name: "drive offboard", args: "conrad@contoso.com", again: "being offboarded already: nothing was to be done", wrong: nobody},
	{name: "drive cancel-offboard", args: "conrad@contoso.com", again: "not being offboarded: nothing was to be done", wrong: nobody},
	{name: "mailbox remove", args: "amala@contoso.com", again: "in no policy: nothing was to be done", wrong: "conrad@contoso.com"},
	{name: "mailbox offboard", args: "amala@contoso.com", again: "being offboarded already: nothing was to be done", wrong: nobody},
	{name: "mailbox cancel-offboard", args: "amala@contoso.com", again: "not being offboarded: nothing was to be done", wrong: nobody},
	{name: "site remove", args: "$SITE", again: "in no policy: nothing was to be done", wrong: nobody},
	{name: "site offboard", args: "$SITE", again: "being offboarded already: nothing was to be done", wrong: nobody},
	{name: "site cancel-offboard", args: "$SITE", again: "not being offboarded: nothing was to be done", wrong: nobody},
	{name: "policy deactivate", args: "$POLICY --wait", again: "inactive already: nothing was to be done", wrong: "nosuch"},

	{name: "version", again: reads},
	{name: "licences", again: reads},
	{name: "setup", args: "--shell POWERSHELL", again: reads},
	{name: "audit export", args: "--database sqlite:$DATA/catalog.db --since 2026-01-01", again: reads, wrong: "--database sqlite:$DATA/catalog.db --tenant " + nobody},
	{name: "alert list", args: "--data $DATA", again: reads, wrong: "--data $DATA --tenant " + nobody},
	{name: "retention show", args: "--data $DATA", again: reads, wrong: "--data $DATA --tenant " + nobody},
	{name: "retention set", args: "--data $DATA --policy $POLICY R/PT10M=P3W R/P1W=P2Y", again: "nothing was to be done", wrong: "--data $DATA --policy " + nobody + " R/PT10M=P2W"},
	{name: "retention hold", args: "--data $DATA --policy $POLICY", again: "nothing was to be done", wrong: "--data $DATA --policy " + nobody},
	{name: "retention release", args: "--data $DATA --policy $POLICY", again: "nothing was to be done", wrong: "--data $DATA --policy " + nobody},
	{name: "retention cancel", args: "--data $DATA --policy $POLICY", again: "nothing was to be done", wrong: "--data $DATA --policy " + nobody},
	{name: "vault status", args: "--data $DATA", again: reads, wrong: "--data $DATA --tenant " + nobody},
	{name: "vault list", args: "--data $DATA amala@contoso.com", again: reads, wrong: "--data $DATA nobody@contoso.com"},
	{name: "vault verify", args: "--data $DATA", again: reads, wrong: "--data $DATA --drive " + nobody},
	{name: "vault damage", args: "--data $DATA", again: reads, wrong: "--data $DATA --tenant " + nobody},
	{name: "vault accept", args: "--data $DATA --yes", again: "nothing was to be done", wrong: "--data $DATA --yes --tenant " + nobody},
	{name: "export", args: "--data $DATA amala@contoso.com --to $DATA/out", again: "were there before", wrong: "--data $DATA nobody@contoso.com --to $DATA/none"},

	// From here on no worker works, so that what is asked for is under way.
	{name: "restore create", args: "--drive amala@contoso.com --to New", keeps: "SESSION", again: makes, wrong: "--point nosuch --to new"},
	{name: "restore activate", args: "$SESSION", again: "started already: nothing was to be done", wrong: nobody},
	{name: "restore pause", args: "$SESSION", again: "paused already: nothing was to be done", wrong: "nosuch"},
	{name: "restore resume", args: "$SESSION", again: "not paused: nothing was to be done", wrong: "nosuch"},
	{name: "restore cancel", args: "$SESSION", again: "cancelled already: nothing was to be done", wrong: "nosuch"},
}

// decidingRows are the commands of whoever decides what another person has asked for.
var decidingRows = []commandRow{
	{name: "approval show", args: "$ASKED", again: reads, wrong: nobody},
	{name: "approval approve", args: "$ASKED --comment yes", again: "It is approved already: nothing was to be done", wrong: nobody},
	{name: "approval deny", args: "$REFUSED", again: "It is denied already: nothing was to be done", wrong: nobody},
}

// restingRows are the commands for when no server runs.
var restingRows = []commandRow{
	{name: "vault copy", args: "--data $DATA --to $COPIES --new", again: " 0 blobs copied", wrong: "--data $DATA --to $COPIES --new --tenant " + nobody},
	{name: "vault repair", args: "--data $DATA", again: "nothing to repair", wrong: "--data $DATA --tenant " + nobody},
	{name: "catalog rebuild", args: "--data $DATA", again: "agree", wrong: "--data $DATA --tenant " + nobody},
	{name: "dev", args: "--data $DATA --listen 127.0.0.1:0", again: runs, wrong: "--data $NEW --listen 127.0.0.1:0 --tenant $NEW/none.json"},
	{name: "tenant generate", args: "--data $NEW/generated --users 2 --files 2", again: runs, wrong: "--profile $NEW/none.json"},
	{name: "serve", args: "--config $CONFIG --check", again: reads, wrong: "--config $NEW/none.json"},
	{name: "serve", args: "--config $CONFIG", again: runs},
	{name: "alert test", args: "--config $CONFIG", again: "hook", wrong: "--config $NEW/none.json"},
	{name: "tenants add", args: "--config $CONFIG $NEW/tenant.json", again: "already: nothing was to be done", wrong: "--config $CONFIG $NEW/none.json"},
	{name: "tenants list", args: "--config $CONFIG", again: reads, wrong: "--config $NEW/none.json"},
	{name: "tenants remove", args: "--config $CONFIG " + exampleOther, again: gone, wrong: "--config $CONFIG " + nobody},
	{name: "demo", again: alone}, // a tenant of its own on a scratch folder, with the whole story: TestDemo
}

// exampleOther is a tenant that is added and taken out.
const exampleOther = "22222222-2222-4222-8222-222222222222"

// byTheServer are the commands that work on what a server has, beside it: whether they
// make backups go earlier, and so ask for another person's approval where that is the rule.
var byTheServer = map[string]bool{
	"retention set": true, "retention release": true,
	"retention show": false, "retention hold": false, "retention cancel": false, // these keep what there is
	"vault status": false, "vault list": false, "vault verify": false, "vault damage": false, "vault copy": false, "vault repair": false,
	"vault accept":    false, // another vault is there already: it deletes nothing, and is what brings one back that was lost
	"catalog rebuild": false, // it takes up what the vault has
	"backup create":   false, "backup show": false, "backup drill": false,
	"backup restore": false, // it fills a new place, and has what would go wait for its whole grace again
	"audit export":   false, "alert list": false, "alert test": false, "export": false,
	"tenants list": false, "tenants add": false, "tenants remove": false, // a tenant's backups rest
	"demo": false, "dev": false, "serve": false, "setup": false, "tenant generate": false, "version": false, "licences": false,
}

// A command of which nobody has said whether it makes backups go earlier fails; and those
// that do wait, as the session approval.txt shows.
func TestCommandsThatAskForAnApproval(t *testing.T) {
	root := newRoot()
	client := map[string]bool{}
	for _, cmd := range root.Commands() {
		client[cmd.Name()] = cmd.GroupID == "client"
	}
	seen := map[string]bool{}
	leaves(root, func(name string, _ *cobra.Command) {
		of, _, _ := strings.Cut(name, " ")
		seen[name] = true
		if _, said := byTheServer[name]; !said && !client[of] {
			t.Errorf("nobody said whether 'holdfast %s' makes backups go earlier", name)
		}
	})
	for name := range byTheServer {
		if !seen[name] {
			t.Errorf("there is no command %q", name)
		}
	}
}

// leaves calls do with each command that does something, by its name without the program's.
func leaves(cmd *cobra.Command, do func(name string, cmd *cobra.Command)) {
	for _, sub := range cmd.Commands() {
		leaves(sub, do)
	}
	if cmd.Runnable() && !cmd.HasSubCommands() {
		do(strings.TrimPrefix(cmd.CommandPath(), "holdfast "), cmd)
	}
}

// Every command says the same kind of fault by the same exit code; and what may be asked
// for twice may be, and says that nothing was to be done.
func TestPlayEveryCommandMayBeRepeated(t *testing.T) {
	known := map[string]bool{}
	for _, r := range slices.Concat(commandRows, decidingRows, restingRows) {
		known[r.name] = true
	}
	leaves(newRoot(), func(name string, _ *cobra.Command) {
		if !known[name] {
			t.Errorf("%q has no row", name)
		}
	})
	d := startTestDev(t, func(o *devOptions) { o.workloads, o.files = allWorkloads, true })
	clientEnv(t, d)
	if err := os.WriteFile(filepath.Join(d.drives, "amala@contoso.com", "plan.md"), []byte("plan"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &caller{t, map[string]string{"DATA": d.data.root}}
	for _, r := range commandRows {
		if r.name == "restore create" {
			d.stop()
			<-d.stopped
		}
		if strings.HasSuffix(r.name, "offboard") { // which is for users only
			os.Setenv("HOLDFAST_USER", "amala@contoso.com")
			os.Setenv("HOLDFAST_PASSWORD", "any")
		} else {
			os.Setenv("HOLDFAST_USER", "")
			os.Setenv("HOLDFAST_PASSWORD", "")
		}
		c.twice(r)
	}
}

// So may those that decide what somebody has asked for, and those for when no server runs.
func TestPlayCommandsBesideAServerMayBeRepeated(t *testing.T) {
	o := devOptions{listen: "127.0.0.1:0", data: t.TempDir(), interval: time.Hour, sample: true, workloads: allWorkloads[:1], approval: true}
	d, err := startDev(t.Context(), o, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	clientEnv(t, d)
	t.Setenv("HOLDFAST_USER", "amala@contoso.com")
	t.Setenv("HOLDFAST_PASSWORD", "any")
	c := &caller{t, map[string]string{"DATA": d.data.root, "NEW": t.TempDir(), "COPIES": t.TempDir()}}
	c.want(0, "drive add --policy 'OneDrive Policy' amala@contoso.com conrad@contoso.com")
	c.want(0, "policy activate 'OneDrive Policy' --wait")
	for name, drive := range map[string]string{"ASKED": "amala@contoso.com", "REFUSED": "conrad@contoso.com"} {
		known, _, _ := c.run("approval list -q")
		c.want(exitFailed, "restore run --drive "+drive+" --to inPlace --yes")
		all, _, _ := c.run("approval list -q")
		for id := range strings.FieldsSeq(all) {
			if !strings.Contains(known, id) {
				c.kept[name] = id
			}
		}
	}
	os.Setenv("HOLDFAST_USER", "lothar@contoso.com")
	for _, r := range decidingRows {
		c.twice(r)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}

	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer hook.Close()
	c.kept["CONFIG"] = writeConfig(t, func(cfg map[string]any) {
		cfg["listen"], cfg["tenantsDir"] = "127.0.0.1:0", "tenants"
		cfg["alerts"] = map[string]any{"to": []any{map[string]any{"name": "hook", "webhook": map[string]any{"url": hook.URL, "secretFile": "app.secret"}}}}
	})
	for name, text := range map[string]string{"secret": "s3cret", "tenant.json": `{"id": "` + exampleOther + `", "clientId": "` + exampleApp + `", "secretFile": "secret", "graph": "http://127.0.0.1:1/v1.0"}`} {
		if err := os.WriteFile(filepath.Join(c.kept["NEW"], name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range restingRows {
		c.twice(r)
	}
}

// A caller calls commands, with the ids that it has kept.
type caller struct {
	*testing.T
	kept map[string]string
}

// words are those of a command line.
func (c *caller) words(line string) (all []string) {
	for _, w := range word.FindAllString(os.Expand(line, func(name string) string { return c.kept[name] }), -1) {
		all = append(all, strings.Trim(w, "'"))
	}
	return all
}

func (c *caller) run(line string) (out, all string, code int) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	var to, errs bytes.Buffer
	code = execute(ctx, c.words(line), &to, &errs)
	return to.String(), to.String() + errs.String(), code
}

func (c *caller) want(code int, line string) {
	c.Helper()
	if _, all, got := c.run(line); got != code {
		c.Errorf("holdfast %s: exit code %d, want %d\n%s", line, got, code, all)
	}
}

// untilStopped calls a command that serves, does something as soon as it does, and stops it.
func (c *caller) untilStopped(line string, do func()) {
	c.Helper()
	ctx, stop := context.WithCancel(c.Context())
	defer stop()
	lines, ended := make(lineWriter, 1000), make(chan int, 1)
	go func() { ended <- execute(ctx, c.words(line), lines, io.Discard) }()
	select {
	case <-lines:
		do()
	case code := <-ended:
		c.Fatalf("holdfast %s ends by itself: exit code %d", line, code)
	case <-time.After(time.Minute):
		c.Fatalf("holdfast %s does not serve", line)
	}
	stop()
	if code := <-ended; code != 0 {
		c.Errorf("holdfast %s: exit code %d when it is stopped", line, code)
	}
}

// twice calls a command wrongly, and then twice.
func (c *caller) twice(r commandRow) {
	c.Helper()
	if r.again == alone {
		return
	}
	line := strings.TrimSpace(r.name + " " + r.args)
	of, _, _ := strings.Cut(r.name, " ")
	client := slices.ContainsFunc(newRoot().Commands(), func(cmd *cobra.Command) bool { return cmd.Name() == of && cmd.GroupID == "client" })
	c.want(exitUsage, line+" --nonsense")
	if client {
		func() {
			defer os.Setenv("HOLDFAST_URL", os.Getenv("HOLDFAST_URL"))
			os.Setenv("HOLDFAST_URL", "http://127.0.0.1:1")
			c.want(exitUnreachable, line)
		}()
		os.Setenv("HOLDFAST_TOKEN", "garbage")
		c.want(exitDenied, line)
		os.Setenv("HOLDFAST_TOKEN", "")
	}
	if r.wrong != "" {
		c.want(exitNotFound, r.name+" "+r.wrong)
	}
	if r.again == runs {
		c.untilStopped(line, func() {})
		c.untilStopped(line, func() {
			if _, all, code := c.run(line); code != exitFailed || !strings.Contains(all, "another ") {
				c.Errorf("holdfast %s, beside itself: exit code %d\n%s", line, code, all)
			}
		})
		return
	}
	first := line
	if r.keeps != "" {
		first += " -q"
	}
	out, all, code := c.run(first)
	if code != 0 {
		c.Fatalf("holdfast %s: exit code %d\n%s", line, code, all)
	}
	if r.keeps != "" {
		c.kept[r.keeps], _, _ = strings.Cut(strings.TrimSpace(out), "\n")
	}
	if r.again == reads && hasJSON(r.name) {
		carriesItsTable(c.T, line, client, c.run)
	}
	switch r.again {
	case makes:
	case reads:
		c.want(0, line)
	case gone:
		c.want(exitNotFound, line)
	default:
		if _, all, code := c.run(line); code != 0 || !strings.Contains(all, r.again) {
			c.Errorf("holdfast %s, again: exit code %d; it does not say %q:\n%s", line, code, r.again, all)
		}
	}
}

// hasJSON reports whether a command prints JSON where it is asked to.
func hasJSON(name string) bool {
	cmd, _, err := newRoot().Find(strings.Fields(name))
	return err == nil && cmd.Flag("json") != nil
}

// Whatever shows or lists something does so for scripts too.
func TestWhatIsListedIsListedAsJSON(t *testing.T) {
	leaves(newRoot(), func(name string, _ *cobra.Command) {
		words := strings.Fields(name)
		if slices.Contains([]string{"list", "ls", "show", "status", "damage", "search", "find", "diff", "report", "rpo", "explain"}, words[len(words)-1]) && !hasJSON(name) {
			t.Errorf("holdfast %s has no --json", name)
		}
	})
}

// inOtherWords are the columns, and what stands in them, that say in other words what the
// JSON says.
var inOtherWords = map[string]string{
	"WHAT": "workload", "IN TIME": "workload", "UNREAD": "workload", "GROWN": "workload", "OF": "@odata.type", "KIND": "isAutoApplyEnabled", "BROWSABLE": "tags", "STATE": "@holdfast.size", "VERIFIED": "id", "FAILED": "status",
	"NOW": "isInNewest", "AGE": "age", "PROMISED": "promised", "EVERY": "every", "MISSED": "isMissed", "LATE": "latePointCount", "LONGEST": "longest", "HOLDS": "itemsCount", "attachments": "hasAttachments",
	"RESTORED": "restoreSessionArtifactCount", "ARTIFACTS": "restoreSessionArtifactCount",
}

// carriesItsTable compares what a command prints as a table, if it does, with its JSON.
func carriesItsTable(t *testing.T, line string, client bool, run func(string) (string, string, int)) {
	t.Helper()
	whole, _, _ := run(line)
	rows := ""
	if client {
		rows, _, _ = run(line + " --no-headers")
	}
	lines := strings.Split(whole, "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return l != "" && l == strings.ToUpper(l) && !strings.Contains(rows, l) })
	text, all, code := run(line + " --json")
	var value []any // one, or one on each line
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var one any
		if err := d.Decode(&one); err != nil {
			t.Errorf("holdfast %s --json: %v\n%s", line, err, all)
			return
		}
		value = append(value, one)
	}
	if code != 0 || value == nil {
		t.Errorf("holdfast %s --json: exit code %d, %d values\n%s", line, code, len(value), all)
		return
	}
	if at < 0 {
		return
	}
	var begins []int
	head := []rune(lines[at])
	for i, r := range head {
		if r != ' ' && (i == 0 || i > 1 && head[i-1] == ' ' && head[i-2] == ' ') {
			begins = append(begins, i)
		}
	}
	members, leaves := map[string]bool{}, []string{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, below := range v {
				members[name] = true
				walk(below)
			}
		case []any:
			for _, below := range v {
				walk(below)
			}
		case float64:
			leaves = append(leaves, strconv.FormatFloat(v, 'f', -1, 64))
		case string:
			leaves = append(leaves, v)
		}
	}
	walk(value)
	for _, l := range lines[at+1:] {
		row := []rune(l)
		for i, from := range begins {
			ends := max(len(row), len(head))
			if i+1 < len(begins) {
				ends = begins[i+1]
			}
			to := min(len(row), ends)
			if from >= to {
				continue
			}
			name := strings.TrimSpace(string(head[from:min(len(head), ends)]))
			cell := strings.TrimSpace(string(row[from:to]))
			said := cell == "" || cell == "-" || members[inOtherWords[name]] || members[inOtherWords[cell]]
			for _, leaf := range leaves {
				at, err := time.Parse(time.RFC3339, leaf)
				said = said || cell == leaf || err == nil && clock(at) == cell || size(leaf) == cell || len(leaf) > 3 && strings.Contains(cell, leaf)
			}
			if !said {
				t.Errorf("holdfast %s --json does not say %s %q\n%s", line, name, cell, text)
			}
		}
	}
}
