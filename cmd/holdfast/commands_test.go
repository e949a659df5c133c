package main

import (
	"bytes"
	"context"
	"encoding/json"
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
	reads = "it reads"                                // and so may be repeated
	makes = "it makes something new each time"        //
	gone  = "what it was about is not there again"    // which is exit code 3
	alone = "it runs by itself, in a test of its own" // and is not run here
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

// commandRows are all commands there are, in an order in which they can be run.
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
	{name: "approval list", again: reads},
	{name: "approval show", again: alone}, // they are in the session approval.txt
	{name: "approval approve", again: alone},
	{name: "approval deny", again: alone},
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
	{name: "alert test", again: alone}, // it needs a server of mail
	{name: "retention show", args: "--database sqlite:$DATA/catalog.db", again: reads, wrong: "--database sqlite:$DATA/catalog.db --tenant " + nobody},
	{name: "retention set", args: "--database sqlite:$DATA/catalog.db --policy $POLICY R/PT10M=P3W R/P1W=P2Y", again: "nothing was to be done", wrong: "--database sqlite:$DATA/catalog.db --policy " + nobody + " R/PT10M=P2W"},
	{name: "retention hold", args: "--database sqlite:$DATA/catalog.db --policy $POLICY", again: "nothing was to be done", wrong: "--database sqlite:$DATA/catalog.db --policy " + nobody},
	{name: "retention release", args: "--database sqlite:$DATA/catalog.db --policy $POLICY", again: "nothing was to be done", wrong: "--database sqlite:$DATA/catalog.db --policy " + nobody},
	{name: "retention cancel", args: "--database sqlite:$DATA/catalog.db --policy $POLICY", again: "nothing was to be done", wrong: "--database sqlite:$DATA/catalog.db --policy " + nobody},
	{name: "vault status", args: "--data $DATA", again: reads, wrong: "--data $DATA --tenant " + nobody},
	{name: "vault list", args: "--data $DATA amala@contoso.com", again: reads, wrong: "--data $DATA nobody@contoso.com"},
	{name: "vault verify", args: "--data $DATA", again: reads, wrong: "--data $DATA --drive " + nobody},
	{name: "vault damage", args: "--data $DATA", again: reads, wrong: "--data $DATA --tenant " + nobody},
	{name: "vault accept", args: "--data $DATA --yes", again: "nothing was to be done", wrong: "--data $DATA --yes --tenant " + nobody},
	{name: "vault copy", again: alone},
	{name: "vault repair", again: alone}, // no server may run
	{name: "catalog rebuild", again: alone},
	{name: "export", args: "--data $DATA amala@contoso.com --to $DATA/out", again: "were there before", wrong: "--data $DATA nobody@contoso.com --to $DATA/none"},
	{name: "demo", again: alone},
	{name: "dev", again: alone},
	{name: "serve", again: alone},
	{name: "tenant generate", again: alone},
	{name: "tenants list", again: alone},
	{name: "tenants add", again: alone},
	{name: "tenants remove", again: alone},

	// From here on no worker works, so that what is asked for is under way.
	{name: "restore create", args: "--drive amala@contoso.com --to New", keeps: "SESSION", again: makes, wrong: "--point nosuch --to new"},
	{name: "restore activate", args: "$SESSION", again: "started already: nothing was to be done", wrong: nobody},
	{name: "restore pause", args: "$SESSION", again: "paused already: nothing was to be done", wrong: "nosuch"},
	{name: "restore resume", args: "$SESSION", again: "not paused: nothing was to be done", wrong: "nosuch"},
	{name: "restore cancel", args: "$SESSION", again: "cancelled already: nothing was to be done", wrong: "nosuch"},
}

// byTheServer are the commands that work on what a server has, beside it: whether they
// make backups go earlier, and so ask for another person's approval where that is the rule.
var byTheServer = map[string]bool{
	"retention set": true, "retention release": true,
	"retention show": false, "retention hold": false, "retention cancel": false, // these keep what there is
	"vault status": false, "vault list": false, "vault verify": false, "vault damage": false, "vault copy": false, "vault repair": false,
	"vault accept":    false, // another vault is there already: it deletes nothing, and is what brings one back that was lost
	"catalog rebuild": false, // it takes up what the vault has
	"audit export":    false, "alert list": false, "alert test": false, "export": false,
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
	for _, r := range commandRows {
		known[r.name] = true
	}
	leaves(newRoot(), func(name string, _ *cobra.Command) {
		if !known[name] {
			t.Errorf("%q has no row in commandRows", name)
		}
	})
	d := startTestDev(t, func(o *devOptions) { o.workloads, o.files = allWorkloads, true })
	clientEnv(t, d)
	if err := os.WriteFile(filepath.Join(d.drives, "amala@contoso.com", "plan.md"), []byte("plan"), 0o600); err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{"DATA": d.data.root}
	run := func(line string) (out, all string, code int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var to, errs bytes.Buffer
		var args []string
		for _, w := range word.FindAllString(os.Expand(line, func(name string) string { return kept[name] }), -1) {
			args = append(args, strings.Trim(w, "'"))
		}
		code = execute(ctx, args, &to, &errs)
		return to.String(), to.String() + errs.String(), code
	}
	want := func(code int, line string) {
		t.Helper()
		if _, all, got := run(line); got != code {
			t.Errorf("holdfast %s: exit code %d, want %d\n%s", line, got, code, all)
		}
	}
	client := map[string]bool{}
	for _, cmd := range newRoot().Commands() {
		client[cmd.Name()] = cmd.GroupID == "client"
	}
	for _, r := range commandRows {
		if r.again == alone {
			continue
		}
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
		line := strings.TrimSpace(r.name + " " + r.args)
		of, _, _ := strings.Cut(r.name, " ")
		want(exitUsage, line+" --nonsense")
		if client[of] {
			func() {
				defer os.Setenv("HOLDFAST_URL", os.Getenv("HOLDFAST_URL"))
				os.Setenv("HOLDFAST_URL", "http://127.0.0.1:1")
				want(exitUnreachable, line)
			}()
			os.Setenv("HOLDFAST_TOKEN", "garbage")
			want(exitDenied, line)
			os.Setenv("HOLDFAST_TOKEN", "")
		}
		if r.wrong != "" {
			want(exitNotFound, r.name+" "+r.wrong)
		}
		first := line
		if r.keeps != "" {
			first += " -q"
		}
		out, all, code := run(first)
		if code != 0 {
			t.Fatalf("holdfast %s: exit code %d\n%s", line, code, all)
		}
		if r.keeps != "" {
			kept[r.keeps], _, _ = strings.Cut(strings.TrimSpace(out), "\n")
		}
		if r.again == reads && client[of] {
			carriesItsTable(t, line, run)
		}
		switch r.again {
		case makes:
		case reads:
			want(0, line)
		case gone:
			want(exitNotFound, line)
		default:
			if _, all, code := run(line); code != 0 || !strings.Contains(all, r.again) {
				t.Errorf("holdfast %s, again: exit code %d; it does not say %q:\n%s", line, code, r.again, all)
			}
		}
	}
}

// inOtherWords are the columns that say in other words what the JSON says.
var inOtherWords = map[string]string{
	"WHAT": "workload", "IN TIME": "workload", "UNREAD": "workload", "GROWN": "workload", "OF": "@odata.type", "KIND": "isAutoApplyEnabled", "BROWSABLE": "tags", "STATE": "@holdfast.size", "VERIFIED": "id", "FAILED": "status",
	"NOW": "isInNewest", "AGE": "age", "PROMISED": "promised", "EVERY": "every", "MISSED": "isMissed", "LATE": "latePointCount", "LONGEST": "longest", "HOLDS": "itemsCount",
	"RESTORED": "restoreSessionArtifactCount", "ARTIFACTS": "restoreSessionArtifactCount",
}

// carriesItsTable compares what a command prints as a table, if it does, with its JSON.
func carriesItsTable(t *testing.T, line string, run func(string) (string, string, int)) {
	t.Helper()
	whole, _, _ := run(line)
	rows, _, _ := run(line + " --no-headers")
	lines := strings.Split(whole, "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return l != "" && l == strings.ToUpper(l) && !strings.Contains(rows, l) })
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
	text, all, code := run(line + " --json")
	var value any
	if err := json.Unmarshal([]byte(text), &value); code != 0 || err != nil {
		t.Errorf("holdfast %s --json: exit code %d, %v\n%s", line, code, err, all)
		return
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
			said := cell == "" || cell == "-" || members[inOtherWords[name]]
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
