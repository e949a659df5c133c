// Command holdfast is a self-hosted Microsoft 365 Backup Storage server.
//
// It holds the commands and the wiring, and no rule of backup: dev runs the
// server beside a simulated tenant of real files, serve runs it against tenants
// named in a configuration file, and demo tells its whole story on a scratch
// folder. All three start the same server, in server.go. The other commands, in
// the files cli_*.go, are a client of that server's API, or of Microsoft's.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	_ "golang.org/x/crypto/x509roots/fallback" // the authorities to trust where a system has none, as in a container of nothing else

	"holdfast/internal/backup"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		time.Sleep(time.Second) // some that send a signal send it twice
		stop()                  // after that, a second signal ends the process at once
	})
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes. Scripts build on them: see exitTable.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitPartial     = 5
	exitStopped     = 6
	exitUnreachable = 7
)

// exitTable is the help on exit codes.
const exitTable = `Each command exits with a code that scripts may build on:

  0  done, or so already
  1  tried, and failed; or what it is about is in no state for it
  2  not asked for in a form that can be tried
  3  something that was named does not exist
  4  not signed in, or not allowed
  5  finished, but a part of it failed
  6  stopped waiting (--timeout, Ctrl-C); the server goes on
  7  no server answers
`

// execute runs one command line until it is done or ctx ends, and returns the
// exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if usage, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintf(stderr, "holdfast: %v.\nSee '%s --help'.\n", usage, cmd.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(stderr, "holdfast: %v\n", err)
	if next := nextStep(err); next != "" {
		fmt.Fprintln(stderr, next)
	}
	return exitCode(err)
}

// A usageError is a command line that names no possible run.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Self-hosted Microsoft 365 Backup Storage",
		Long: `Holdfast protects drives, sites and mailboxes of Microsoft 365 and brings them
back, through the Backup Storage API of Microsoft Graph, on your own machine.

Start with 'holdfast demo', which shows it on files of its own, then try
'holdfast dev', which keeps running for you to use. While it runs, the commands
below 'A client of a running server' use it.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.Version = version()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{unknownFlag(cmd, err)} })
	root.AddCommand(newDev(), newTenant(), newServe(), newTenants(), newSetup(), newDemo(), newAudit(), newRetention(), newExport(), newVaultCommand(), newCatalogCommand(), newBackupCommand(), newAlertCommand(), newVersion(), newLicences())
	addClientCommands(root)
	return root
}

// unknown is the error of a command that cmd does not have, with those that may have
// been meant.
func unknown(cmd *cobra.Command, name string) error {
	cmd.SuggestionsMinimumDistance = 2
	text := fmt.Sprintf("there is no command '%s %s'", cmd.CommandPath(), name)
	if meant := cmd.SuggestionsFor(name); len(meant) > 0 {
		text += "; perhaps '" + cmd.CommandPath() + " " + strings.Join(meant, "' or '"+cmd.CommandPath()+" ") + "' was meant"
	}
	return usageError{errors.New(text)}
}

// unknownFlag is the error of a flag, with the one that may have been meant where cmd has
// none such.
func unknownFlag(cmd *cobra.Command, err error) error {
	none, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || len(none.GetSpecifiedName()) < 2 {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return errors.New(err.Error() + meant("--"+none.GetSpecifiedName(), names...))
}

// oneOf is the word of those there are that a text is, in whatever case it is written.
func oneOf(text string, words ...string) (string, error) {
	for _, word := range words {
		if strings.EqualFold(text, word) {
			return word, nil
		}
	}
	last := len(words) - 1
	return "", fmt.Errorf("give %s or %s, not %q%s", strings.Join(words[:last], ", "), words[last], text, meant(text, words...))
}

// topic is a text for 'holdfast help'.
func topic(name, short, text string) *cobra.Command {
	return &cobra.Command{Use: name, Short: short, Long: text}
}

// noArgs refuses what stands after a command and its flags.
func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasSubCommands():
		return unknown(cmd, args[0])
	}
	return usageError{fmt.Errorf("'%s' takes flags only, not %q", cmd.CommandPath(), args[0])}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version())
			return err
		},
	}
}

// version says which source this program was built from, as far as the build
// recorded it.
func version() string {
	text := "holdfast"
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" {
			text += " " + v
		}
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if r := settings["vcs.revision"]; len(r) >= 12 {
			text += " commit " + r[:12]
			if settings["vcs.modified"] == "true" {
				text += " with local changes"
			}
		}
	}
	return text + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}

// A logOptions is how a server logs.
type logOptions struct {
	json  bool
	level slog.Level
}

func (o *logOptions) flags(cmd *cobra.Command) {
	cmd.Flags().Var(logForm{&o.json}, "log", "how the log is written: text, or json, an object a line")
	cmd.Flags().Var(logLevel{&o.level}, "log-level", "what is logged at least: debug, info, warn or error")
	for name, values := range map[string][]string{"log": {"text", "json"}, "log-level": {"debug", "info", "warn", "error"}} {
		cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}

// newLog returns a log for people: a line per thing they care about, with the
// time and its zone in front and the level only where something is wrong.
func newLog(w io.Writer) *slog.Logger { return logOptions{}.open(w) }

func (o logOptions) open(w io.Writer) *slog.Logger {
	if o.json {
		return slog.New(backup.NameCause(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: o.level})))
	}
	return slog.New(backup.NameCause(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: o.level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			switch {
			case len(groups) > 0:
			case a.Key == slog.TimeKey:
				a.Value = slog.StringValue(a.Value.Time().Format(time.RFC3339))
			case a.Key == slog.LevelKey && a.Value.String() == slog.LevelInfo.String():
				return slog.Attr{}
			}
			return a
		},
	})))
}

// logForm is the flag --log.
type logForm struct{ json *bool }

func (f logForm) String() string {
	if f.json != nil && *f.json {
		return "json"
	}
	return "text"
}
func (f logForm) Type() string { return "FORM" }
func (f logForm) Set(text string) error {
	form, err := oneOf(text, "text", "json")
	*f.json = form == "json"
	return err
}

// logLevel is the flag --log-level.
type logLevel struct{ level *slog.Level }

func (f logLevel) String() string {
	if f.level == nil {
		return "info"
	}
	return strings.ToLower(f.level.String())
}
func (f logLevel) Type() string { return "LEVEL" }
func (f logLevel) Set(text string) error {
	level, err := oneOf(text, "debug", "info", "warn", "error")
	if err != nil {
		return err
	}
	return f.level.UnmarshalText([]byte(level))
}
