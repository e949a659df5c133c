package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commandsBegin is where the part of docs/cli.md begins that is made from the code.
const commandsBegin = "<!-- From here on this page is made from the code: do not edit it. -->\n"

// docs/cli.md ends with every command, flag and exit code that there is, made from the
// code: 'go test ./cmd/holdfast -run TestTheCommandsAreDocumented -update'.
func TestTheCommandsAreDocumented(t *testing.T) {
	const page = "../../docs/cli.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	byHand, made, found := strings.Cut(string(b), commandsBegin)
	if !found {
		t.Fatalf("docs/cli.md has no line %q", commandsBegin)
	}
	want := commandsPage(t)
	if *update {
		if err := os.WriteFile(page, []byte(byHand+commandsBegin+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(made, want); diff != "" {
		t.Errorf("docs/cli.md is not what the code says; run this with -update (-page +code)\n%s", diff)
	}
}

func commandsPage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("\n## Exit codes\n\n| exit code | |\n|---|---|\n")
	for line := range strings.Lines(exitTable) {
		if code, text, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			fmt.Fprintf(&b, "| %s | %s |\n", code, text)
		}
	}
	b.WriteString("\n## All commands\n\nA duration is such as `90s`, `10m` or `24h`; a word in capitals stands for what is to be named.\n")
	root := newRoot()
	root.InitDefaultCompletionCmd()
	for _, of := range root.Groups() {
		fmt.Fprintf(&b, "\n### %s\n", strings.TrimSuffix(of.Title, ":"))
		for _, cmd := range root.Commands() {
			if cmd.GroupID == of.ID {
				commandPage(t, &b, cmd)
			}
		}
	}
	for _, cmd := range root.Commands() { // or it would be on no page
		if cmd.GroupID == "" && cmd.Runnable() && cmd.Name() != "completion" && cmd.Name() != "help" {
			t.Errorf("%s is in no group", cmd.CommandPath())
		}
	}
	return b.String()
}

// commandPage writes what there is to say of a command, and of those in it.
func commandPage(t *testing.T, b *strings.Builder, cmd *cobra.Command) {
	t.Helper()
	if cmd.Short == "" {
		t.Errorf("nothing is said of '%s'", cmd.CommandPath())
	}
	fmt.Fprintf(b, "\n#### %s\n\n", cmd.CommandPath())
	long := strings.TrimSpace(strings.TrimSuffix(cmd.Long, "'holdfast help exit-codes' says what scripts may build on."))
	if long == "" {
		long = cmd.Short + "."
	}
	use := ""
	if !cmd.HasSubCommands() || cmd.Flags().HasFlags() && cmd.LocalNonPersistentFlags().HasAvailableFlags() {
		use = cmd.UseLine() + "\n\n"
	}
	fmt.Fprintf(b, "```text\n%s%s\n```\n", use, long)
	if cmd.HasExample() {
		fmt.Fprintf(b, "\n```text\n%s\n```\n", strings.TrimRight(cmd.Example, "\n"))
	}
	var rows strings.Builder
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Hidden {
			return
		}
		what, usage := pflag.UnquoteUsage(f)
		if what == "" && f.Value.Type() != "bool" {
			what = f.Value.Type()
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if what != "" {
			name += " " + what
		}
		if d := f.DefValue; d != "" && d != "false" && d != "[]" && d != "0" && d != "0s" && !strings.Contains(usage, "(default") {
			usage += " (default `" + d + "`)"
		}
		fmt.Fprintf(&rows, "| `%s` | %s |\n", name, strings.ReplaceAll(usage, "|", `\|`))
	})
	if rows.Len() > 0 {
		of := "flag"
		if cmd.HasSubCommands() {
			of = "flag of all of them"
		}
		fmt.Fprintf(b, "\n| %s | |\n|---|---|\n%s", of, rows.String())
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			commandPage(t, b, sub)
		}
	}
}
