package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/client"
	"holdfast/internal/simtenant"
)

// environment is the help on which server a command calls, and as whom.
const environment = `The environment says which server a command calls, and as whom:

  HOLDFAST_URL            the server (default ` + client.DefaultURL + `)
  HOLDFAST_TOKEN          a token; or what it takes to get one:
  HOLDFAST_TENANT         the tenant's id or domain
  HOLDFAST_CLIENT_ID      an application
  HOLDFAST_CLIENT_SECRET  its secret; or HOLDFAST_CLIENT_SECRET_FILE
  HOLDFAST_USER           a user to act for, with HOLDFAST_PASSWORD[_FILE];
                          needed where an application may not act for itself
  HOLDFAST_AUTHORITY      who gives tokens (default the server itself if it is on
                          this machine, else https://login.microsoftonline.com)
  HOLDFAST_SCOPE          of the token (default: of the application that the server is)
  HOLDFAST_GRAPH          where users and sites are looked up by address (default
                          Graph, or HOLDFAST_URL/v1.0)
  HOLDFAST_CA_FILE        certificates to trust besides the system's
  HOLDFAST_ALLOW_HTTP     1 allows plain HTTP to another machine
`

// A cli is one run of a command that is a client of a server.
type cli struct {
	json, quiet bool
	bare        bool   // tables without their first line
	format      string // a template, for each thing
	shape       *template.Template
	unseen      map[string]bool // members that shape names, and no thing so far has
	members     []string        // of the last thing
	timeout     time.Duration

	out, errs io.Writer
	api       *client.Client
	url       string

	names    map[string]string // addresses by object id; nil until the directory was asked
	namesOf  int               // how many pages of it are read, if not five
	sites    map[string]string // addresses by a site's id; likewise
	policies map[string]string // their names by id; nil until the server was asked
	searches map[string]string // ids of searches of mailboxes, by the point they found
	drives   map[string]string // by restore point: what the caller called the drive
}

// addClientCommands gives root the commands that call a server.
func addClientCommands(root *cobra.Command) {
	root.AddGroup(&cobra.Group{ID: "server", Title: "A server:"}, &cobra.Group{ID: "client", Title: "A client of a running server:"})
	for _, cmd := range root.Commands() {
		cmd.GroupID = "server"
	}
	c := &cli{}
	for _, cmd := range []*cobra.Command{
		c.statusCommand(), c.rpoCommand(), c.reportCommand(), c.policyCommand(), c.unitCommand(drives), c.unitCommand(sites), c.unitCommand(mailboxes), c.searchCommand(), c.findCommand(), c.jobCommand(), c.pointCommand(), c.restoreCommand(), c.approvalCommand(), c.browseCommand(), c.mailCommand(), c.ruleCommand(), c.excludeCommand(),
	} {
		cmd.GroupID = "client"
		f := cmd.PersistentFlags()
		f.BoolVar(&c.json, "json", false, "print the API's JSON, the pages of a list merged into one array")
		f.StringVar(&c.format, "format", "", "print each thing by this Go `TEMPLATE` of its JSON, such as '{{.id}} {{.status}}'")
		f.BoolVar(&c.bare, "no-headers", false, "print tables without the line of headings")
		f.BoolVarP(&c.quiet, "quiet", "q", false, "print ids only, and no progress")
		f.DurationVar(&c.timeout, "timeout", 0, "how long the command may take at most, with all its waiting (default no limit)")
		c.completes(cmd)
		cmd.SetUsageTemplate(cmd.UsageTemplate() + "\n'holdfast help environment' says which server is called, and as whom; 'holdfast help\nexit-codes' what scripts may build on.\n")
		root.AddCommand(cmd)
	}
	root.AddCommand(topic("environment", "Which server is called, and as whom", environment), topic("exit-codes", "What scripts may build on", exitTable))
}

// group is a command that only holds others.
func group(use, short, long string, cmds ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknown(cmd, args[0])
		}
		return cmd.Help()
	}}
	cmd.AddCommand(cmds...)
	return cmd
}

// args checks how many arguments there are, from the command's own use line.
func args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usageError{fmt.Errorf("use it as '%s'", cmd.UseLine())}
		}
		return nil
	}
}

// run makes a RunE that first connects.
func (c *cli) run(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case c.json && c.quiet:
			return usageError{errors.New("give --json or --quiet, not both")}
		case c.format != "" && (c.json || c.quiet):
			return usageError{errors.New("give --format alone, without --json and --quiet")}
		case c.format != "":
			var err error
			if c.shape, err = template.New("--format").Option("missingkey=zero").Parse(c.format); err != nil {
				return usageError{err}
			}
			c.unseen = membersNamed(c.shape)
		}
		c.out, c.errs = cmd.OutOrStdout(), cmd.ErrOrStderr()
		ctx := cmd.Context()
		if c.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.timeout)
			defer cancel()
		}
		err := c.connect(ctx)
		if err == nil {
			err = do(ctx, args)
			c.sayUnseen()
		}
		if c.isOver(ctx, err) && !errors.As(err, new(coded)) {
			err = c.over(ctx, err, "what the server was told to do goes on")
		}
		return err
	}
}

// isOver reports whether a command fails with err for want of time, or since somebody ended it.
func (c *cli) isOver(ctx context.Context, err error) bool {
	_, putOff := errors.AsType[*client.PutOff](err)
	return err != nil && (ctx.Err() != nil || putOff)
}

// over is what such a command says: why it is over, what was waited for, and what goes on.
func (c *cli) over(ctx context.Context, err error, goesOn string) error {
	off, putOff := errors.AsType[*client.PutOff](err)
	why := "interrupted"
	switch {
	case putOff && errors.Is(off.Err, context.DeadlineExceeded):
		why = fmt.Sprintf("the server is to be asked again in %v, and --timeout is %v. It says: %s", off.Wait.Round(time.Second), c.timeout, refusalOf(off.Why))
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		why = c.timeout.String() + " have passed"
	}
	return fail(exitStopped, "%s: no longer waiting, but %s", strings.TrimSuffix(why, "."), goesOn)
}

// refusalOf is what a server answered a request with, without which request it was.
func refusalOf(why error) string {
	if e, ok := errors.AsType[*client.Error](why); ok && e.Message != "" {
		return oneLine(e.Message)
	}
	return oneLine(why.Error())
}

// connect reads the environment.
func (c *cli) connect(ctx context.Context) error {
	cfg, err := client.FromEnv(os.Getenv)
	c.url = cfg.URL
	switch {
	case errors.Is(err, client.ErrNoCredentials):
		if err := reachable(ctx, cfg); err != nil {
			return err
		}
		return noCredentials(cfg)
	case err != nil:
		return usageError{err}
	}
	told := ""
	cfg.Waiting = func(why error, wait time.Duration) {
		if text := refusalOf(why); text != told {
			told = text
			fmt.Fprintf(c.errs, "%s\nThe request is sent again in %v, and a few times more if need be.\n", text, wait.Round(time.Second))
		}
	}
	c.api, err = client.New(cfg)
	if err != nil {
		return usageError{err}
	}
	return nil
}

// reachable looks whether anybody answers at all, before a person is sent to
// find credentials for it.
func reachable(ctx context.Context, cfg client.Config) error {
	u, err := url.Parse(cfg.URL)
	if err != nil || !cfg.Loopback() {
		return err
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return &client.Unreachable{URL: cfg.URL, Err: err}
	}
	return conn.Close()
}

func noCredentials(cfg client.Config) error {
	var text strings.Builder
	fmt.Fprintf(&text, "as whom shall %s be called? Set HOLDFAST_TOKEN, or HOLDFAST_TENANT, HOLDFAST_CLIENT_ID and HOLDFAST_CLIENT_SECRET.", cfg.URL)
	if cfg.Loopback() {
		text.WriteString("\nIf it is a 'holdfast dev', it printed these lines when it started. With its built-in tenant they are:\n")
		for _, line := range exportLines(cfg.URL, simtenant.Sample()[0]) {
			text.WriteString("\n  " + line)
		}
		text.WriteString("\n")
	}
	return coded{exitDenied, errors.New(text.String())}
}

// exportLines are the lines of a shell that let the client commands call a dev
// server.
func exportLines(url string, t simtenant.Tenant) []string {
	return []string{
		"export HOLDFAST_URL=" + shellQuote(url),
		"export HOLDFAST_TENANT=" + shellQuote(string(t.ID)),
		"export HOLDFAST_CLIENT_ID=" + shellQuote(t.Apps[0].AppID),
		"export HOLDFAST_CLIENT_SECRET=" + shellQuote(t.Apps[0].Secret),
	}
}

// A coded error says with which code the process is to exit.
type coded struct {
	code int
	error
}

func (e coded) Unwrap() error { return e.error }

func fail(code int, format string, args ...any) error {
	return coded{code, fmt.Errorf(format, args...)}
}

// exitCode is the one place where an error becomes a code.
func exitCode(err error) int {
	if e, ok := errors.AsType[coded](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*client.Unreachable](err); ok {
		return exitUnreachable
	}
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return exitFailed
	}
	_, signIn := errors.AsType[*client.SignInError](err)
	switch {
	case signIn && e.Status < 500, e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden && denials[e.Code]:
		return exitDenied
	case e.Status == http.StatusNotFound || e.Status == http.StatusGone || noID(e):
		return exitNotFound
	}
	return exitFailed
}

// noID reports whether a server says that something was named by what is no id of anything.
func noID(e *client.Error) bool {
	return e.Status == http.StatusBadRequest && (strings.HasPrefix(e.Message, "The id in the address is not") || e.Target == "@holdfast.itemKeys")
}

// denials are the codes by which a 403 speaks of the caller. Microsoft's service
// answers 403 also to what the state of a thing does not allow.
var denials = map[string]bool{
	"": true, "Authorization_RequestDenied": true, "accessDenied": true, "forbidden": true, "Forbidden": true,
}

// nextStep is what a person may do about err; empty where the message says all.
func nextStep(err error) string {
	if _, ok := errors.AsType[*client.Unreachable](err); ok {
		return "Is the server running? HOLDFAST_URL says where it is; 'holdfast dev' starts one to try."
	}
	if _, ok := errors.AsType[*client.SignInError](err); ok {
		whose := "HOLDFAST_CLIENT_SECRET"
		if os.Getenv("HOLDFAST_USER") != "" {
			whose += ", HOLDFAST_USER, HOLDFAST_PASSWORD"
		}
		return "Check HOLDFAST_TENANT, HOLDFAST_CLIENT_ID, " + whose + " and HOLDFAST_AUTHORITY; or set HOLDFAST_TOKEN to a token that you have."
	}
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return ""
	}
	switch {
	case e.Status == http.StatusUnauthorized && os.Getenv("HOLDFAST_TOKEN") == "":
		return "The server does not take the token that was got for it. Check HOLDFAST_TENANT, HOLDFAST_AUTHORITY and HOLDFAST_SCOPE; or set HOLDFAST_TOKEN to a token that you have."
	case e.Status == http.StatusUnauthorized:
		return "Set HOLDFAST_TOKEN to a new token, of this tenant and for this server. With HOLDFAST_CLIENT_ID and HOLDFAST_CLIENT_SECRET instead of HOLDFAST_TOKEN each command gets its own."
	case e.Code == "Authorization_RequestDenied":
		return "Grant the application the BackupRestore permission that this needs: docs/api.md names it for each request. Some are for users only: set HOLDFAST_USER and HOLDFAST_PASSWORD."
	case e.Code == "PolicyNotFound", e.Code == "InvalidPolicyId":
		return "'holdfast policy list' shows those there are."
	case e.Code == "ProtectionUnitNotFound":
		return "'holdfast drive list', 'holdfast site list' and 'holdfast mailbox list' show those there are."
	case e.Code == "RestoreSessionNotFound", e.Code == "InvalidRestoreSessionId" && noID(e):
		return "'holdfast restore list' shows those there are."
	case e.Code == "ProtectionRuleNotFound":
		return "'holdfast rule list' shows those there are."
	case e.Target == "@holdfast.itemKeys":
		return "'holdfast mail ls' shows the keys of what a restore point holds; --at or --point chooses another point."
	case e.Code == "InvalidRestorePoint":
		return "'holdfast point list' shows a drive's restore points; one that has expired cannot be used."
	case e.Status == http.StatusNotFound && strings.Contains(e.Path, "/restorePoints/") && !strings.Contains(e.Path, "/holdfast."):
		return "There is no such restore point, or it has expired. 'holdfast point list' shows those of a drive."
	case e.Status == http.StatusNotFound && e.Code == "itemNotFound" && strings.HasSuffix(e.Path, client.Root):
		return "Nobody serves the Backup Storage API there. Check HOLDFAST_URL."
	}
	return ""
}

// script reports whether a program reads what is printed.
func (c *cli) script() bool { return c.json || c.quiet || c.shape != nil }

// printShaped prints values by --format, each in a line of its own.
func (c *cli) printShaped(values ...json.RawMessage) error {
	for _, value := range values {
		var thing any
		numbers := json.NewDecoder(bytes.NewReader(value))
		numbers.UseNumber()
		if err := numbers.Decode(&thing); err != nil {
			return err
		}
		if members, ok := thing.(map[string]any); ok {
			c.members = slices.Sorted(maps.Keys(members))
			maps.DeleteFunc(c.unseen, func(name string, _ bool) bool { _, ok := members[name]; return ok })
		}
		var text strings.Builder
		if err := c.shape.Execute(&text, thing); err != nil {
			return usageError{err}
		}
		// What a thing does not have is nothing, not "<no value>".
		cells := strings.Split(strings.ReplaceAll(text.String(), "<no value>", ""), "\t")
		for i := range cells {
			cells[i] = oneLine(cells[i])
		}
		if _, err := fmt.Fprintln(c.out, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return nil
}

// membersNamed are the members of a thing that a template names outside of ranges and the like.
func membersNamed(t *template.Template) map[string]bool {
	names := map[string]bool{}
	for _, node := range t.Root.Nodes {
		action, ok := node.(*parse.ActionNode)
		if !ok {
			continue
		}
		for _, command := range action.Pipe.Cmds {
			for _, arg := range command.Args {
				if field, ok := arg.(*parse.FieldNode); ok {
					names[field.Ident[0]] = true
				}
			}
		}
	}
	return names
}

// sayUnseen says which members --format names that nothing printed has: they may be
// misspelt, and print nothing.
func (c *cli) sayUnseen() {
	if len(c.unseen) > 0 && c.members != nil {
		fmt.Fprintf(c.errs, "Nothing here has %s. There is: %s\n", oneLine(strings.Join(slices.Sorted(maps.Keys(c.unseen)), " or ")), oneLine(strings.Join(c.members, ", ")))
	}
}

// printJSON prints one value of the API as it came, but for white space.
func (c *cli) printJSON(value json.RawMessage) error {
	var text bytes.Buffer
	if err := json.Indent(&text, value, "", "  "); err != nil {
		return err
	}
	text.WriteByte('\n')
	_, err := text.WriteTo(c.out)
	return err
}

// printList prints a list: as JSON, as ids, or as a table. What the table shows and the
// API's answer does not say, such as an address for an id, also adds to the JSON.
func printList[T any](c *cli, values []json.RawMessage, items []T, id func(T) string, head []string, row func(T) []string, none string, also ...func(T) map[string]any) error {
	if c.shape != nil || c.json {
		values = slices.Clone(values)
		for _, add := range also {
			for i, item := range items {
				values[i] = withMembers(values[i], add(item))
			}
		}
	}
	switch {
	case c.shape != nil:
		return c.printShaped(values...)
	case c.json:
		return c.printJSON(slices.Concat([]byte("["), bytes.Join(raw(values), []byte(",")), []byte("]")))
	case c.quiet:
		for _, item := range items {
			fmt.Fprintln(c.out, id(item))
		}
		return nil
	case len(items) == 0:
		if none != "" {
			fmt.Fprintln(c.errs, none)
		}
		return nil
	}
	rows := make([][]string, len(items))
	for i, item := range items {
		rows[i] = row(item)
	}
	return c.table(head, rows)
}

// withMembers is a value with members behind its own, but for what is empty.
func withMembers(value json.RawMessage, members map[string]any) json.RawMessage {
	whole := bytes.TrimSpace(value)
	if !bytes.HasSuffix(whole, []byte("}")) {
		return value
	}
	text := slices.Clone(whole[:len(whole)-1])
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if members[name] == "" {
			continue
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		member, _ := json.Marshal(map[string]any{name: members[name]})
		text = append(text, member[1:len(member)-1]...)
	}
	return append(text, '}')
}

// raw is values as bytes.
func raw(values []json.RawMessage) [][]byte {
	all := make([][]byte, len(values))
	for i, v := range values {
		all[i] = v
	}
	return all
}

func (c *cli) table(head []string, rows [][]string) error {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	line := func(cells []string) {
		for i, cell := range cells {
			if i > 0 {
				io.WriteString(w, "\t")
			}
			io.WriteString(w, oneLine(cell))
		}
		io.WriteString(w, "\n")
	}
	if !c.bare {
		line(head)
	}
	for _, row := range rows {
		line(row)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for l := range strings.Lines(text.String()) { // no blanks at the ends of lines
		if _, err := fmt.Fprintln(c.out, strings.TrimRight(l, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// oneLine is s without what would break a table or a terminal: another's file
// or policy may be named anything.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '\ufffd'
		}
		return r
	}, s)
}

// printOne prints one thing: as JSON, as its id, or as the lines that fields
// are.
func (c *cli) printOne(value json.RawMessage, id string, fields ...string) error {
	switch {
	case c.shape != nil:
		return c.printShaped(value)
	case c.json:
		return c.printJSON(value)
	case c.quiet:
		_, err := fmt.Fprintln(c.out, id)
		return err
	}
	return c.fields(fields...)
}

// fields prints names and what they are, leaving out what is empty.
func (c *cli) fields(pairs ...string) error {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			width = max(width, len(pairs[i]))
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(c.out, "%-*s  %s\n", width, pairs[i], oneLine(pairs[i+1])); err != nil {
			return err
		}
	}
	return nil
}

// say tells a person what happened. Scripts that asked for JSON or ids are not
// bothered.
func (c *cli) say(format string, args ...any) {
	if !c.script() {
		fmt.Fprintf(c.out, "%s\n", oneLine(fmt.Sprintf(format, args...)))
	}
}

// already tells a person that what was asked for is so, which is no failure: whoever says
// it twice means it once.
func (c *cli) already(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintf(c.errs, "%s: nothing was to be done.\n", oneLine(fmt.Sprintf(format, args...)))
	}
}

// timeForm is how times are printed, and may be given back.
const timeForm = "2006-01-02 15:04:05 -07:00"

// clock is a time as people read it: here, to the second, with its zone.
func clock(t time.Time) string {
	if t.Year() <= 1 {
		return ""
	}
	return t.Local().Format(timeForm)
}

// blame is the error of a thing, in one line.
func blame(p *problemAnswer) string {
	switch {
	case p == nil:
		return ""
	case p.Message == "":
		return p.Code
	}
	return p.Code + ": " + p.Message
}

// by is who did something.
func by(who identitiesAnswer) string {
	for _, name := range []string{who.User.Email, who.User.DisplayName, who.User.ID, who.Application.DisplayName, who.Application.ID} {
		if name != "" {
			return name
		}
	}
	return ""
}

// number is "1 drive", "2 drives".
func number[N int | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "x") { // mailboxes
		what += "e"
	}
	return backup.Number(n) + " " + what + "s"
}

// read decodes what seq yields, and keeps it as it came.
func read[T any](seq iter.Seq2[json.RawMessage, error]) (items []T, values []json.RawMessage, err error) {
	for value, err := range seq {
		if err != nil {
			return nil, nil, err
		}
		var item T
		if err := json.Unmarshal(value, &item); err != nil {
			return nil, nil, err
		}
		items, values = append(items, item), append(values, value)
	}
	return items, values, nil
}

// get reads one thing, and keeps it as it came.
func get[T any](ctx context.Context, c *cli, path string) (item T, value json.RawMessage, err error) {
	if err = c.api.Get(ctx, path, &value); err == nil {
		err = json.Unmarshal(value, &item)
	}
	return item, value, err
}

// wait looks again and again until look says that it is over. progress is
// called label; look says how much of how many is done. what says what goes on
// when the waiting ends early, and how to look at it.
func (c *cli) wait(ctx context.Context, label, what string, look func(context.Context) (done, total int, over bool, err error)) error {
	var bar *progress
	if !c.quiet {
		bar = newProgress(c.errs, label, 0)
		defer func() { bar.close() }()
	}
	pause := 100 * time.Millisecond
	answered := false
	var silent time.Time // since when nobody has answered
	for {
		done, total, over, err := look(ctx)
		if _, ok := errors.AsType[*client.Unreachable](err); ok && answered && ctx.Err() == nil {
			if silent.IsZero() {
				silent = time.Now()
			}
			if time.Since(silent) < time.Minute {
				done, total, over, err = -1, 0, false, nil // it may be starting anew
			}
		} else {
			silent, answered = time.Time{}, true
		}
		if err == nil && bar != nil && done >= 0 {
			bar.grow(total)
			bar.set(done)
		}
		if err == nil && over {
			return nil
		}
		if c.isOver(ctx, err) {
			return c.over(ctx, err, what)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return c.over(ctx, ctx.Err(), what)
		case <-time.After(pause):
		}
		pause = min(pause*3/2, 3*time.Second)
	}
}

// query is one option of a request.
func query(option, value string) string { return option + "=" + url.QueryEscape(value) }

// segment is an id as a part of a path.
func segment(id string) string { return url.PathEscape(id) }
