package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"iter"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
)

// coverageAnswer is how a user or a site stands with one workload.
type coverageAnswer struct {
	Workload, SubjectID, DisplayName, Address, Status string
	ProtectionUnitID, PolicyID, PolicyName            string
	NewestDateTime                                    time.Time
	Promised                                          isoSpan
	IsMissed                                          bool
	FileCount, Size                                   json.Number
	SizeMonthAgo                                      *json.Number
	UnreadItemCount, PointCount, LatePointCount       int64
	Error                                             *struct{ Code, Message string }
}

// needs says what a person has to do with it, "" for nothing.
func (v coverageAnswer) needs() string {
	switch {
	case v.Status == "none":
		return "not protected"
	case v.Error != nil:
		return v.Error.Code
	case v.IsMissed:
		return "late"
	case v.UnreadItemCount > 0:
		return "items unread"
	}
	switch backup.UnitStatus(v.Status) {
	case backup.UnitProtected:
		return ""
	case backup.UnitProtectRequested:
		return "waits for its first point"
	}
	if v.PolicyID == "" {
		return "protected no more"
	}
	return "policy not active"
}

// A reportSum is what a report says of a workload.
type reportSum struct {
	Title                                                      string
	Protected, Waiting, Others, None, Failing, Late            int64
	Unread, Points, LatePoints, Files, Bytes, Grown, GrownFrom int64
}

func (s *reportSum) add(v coverageAnswer) {
	size, _ := v.Size.Int64()
	files, _ := v.FileCount.Int64()
	switch backup.UnitStatus(v.Status) {
	case "none":
		s.None++
	case backup.UnitProtected:
		s.Protected++
	case backup.UnitProtectRequested:
		s.Waiting++
	default:
		s.Others++
	}
	if v.Error != nil {
		s.Failing++
	}
	if v.IsMissed {
		s.Late++
	}
	s.Unread += v.UnreadItemCount
	s.Points += v.PointCount
	s.LatePoints += v.LatePointCount
	s.Files += files
	s.Bytes += size
	if v.SizeMonthAgo != nil {
		before, _ := v.SizeMonthAgo.Int64()
		s.Grown += size - before
		s.GrownFrom++
	}
}

// NotProtected counts those without a unit, and those that are protected no more.
func (s reportSum) NotProtected() int64 { return s.None + s.Others }

// Share is how much of all there is is protected, in percent.
func (s reportSum) Share() float64 {
	return percent(s.Protected, s.Protected+s.Waiting+s.Others+s.None)
}

// Kept is how many of the points came as soon as promised.
func (s reportSum) Kept() string {
	if s.Points == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f %%", percent(s.Points-s.LatePoints, s.Points))
}

// percent is rounded down: no rounding makes all of what is not.
func percent(n, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return math.Floor(float64(max(n, 0))/float64(of)*10_000) / 100
}

func (s reportSum) Size() string { return size(fmt.Sprint(s.Bytes)) }

// Growth is how much more is held than a month ago, of what was held then.
func (s reportSum) Growth() string {
	switch {
	case s.GrownFrom == 0:
		return "–"
	case s.Grown < 0:
		return "-" + size(fmt.Sprint(-s.Grown))
	}
	return "+" + size(fmt.Sprint(s.Grown))
}

// cost is what the size costs a month, at a price for a GB.
func (s reportSum) cost(price float64) string { return fmt.Sprintf("%.2f", float64(s.Bytes)/1e9*price) }

// figures is what a row of a report is in figures, each as JSON and CSV have it; a
// figure that nobody knows, or nobody asked for, is not there.
func (r *report) figures(v coverageAnswer) map[string]any {
	var s reportSum
	s.add(v)
	figures := map[string]any{}
	if s.Points > 0 {
		figures["inTimePercent"] = percent(s.Points-s.LatePoints, s.Points)
	}
	if s.GrownFrom > 0 {
		figures["grown"] = s.Grown
	}
	if v.NewestDateTime.IsZero() {
		return figures
	}
	// A row costs little; whoever adds many up wants no cent of each rounded away.
	cost := func(price float64) json.Number { return json.Number(fmt.Sprintf("%.6f", float64(s.Bytes)/1e9*price)) }
	if r.price > 0 {
		figures["monthlyCostAtMicrosoft"] = cost(r.price)
	}
	if r.own > 0 {
		figures["monthlyCostHere"] = cost(r.own)
	}
	return figures
}

// figureNames is the order of figures in CSV.
var figureNames = []string{"inTimePercent", "grown", "monthlyCostAtMicrosoft", "monthlyCostHere"}

// A report is what the command has been asked for.
type report struct {
	csv, html, all bool
	only           string
	price, own     float64

	sums  []*reportSum // of the workloads, and of all last
	needs int64        // how many rows need a person
}

// Microsoft's list price of Microsoft 365 Backup, in US dollars for each GB of
// protected content and month.
const listPrice = 0.15

func (c *cli) reportCommand() *cobra.Command {
	r := report{}
	cmd := &cobra.Command{Use: "report", Short: "Report what is protected, what is not, how well, how much and at what price", Args: args(0, 0),
		Long: `Say of each user's drive and mailbox and of each site whether it is protected and how
well: the newest restore point, the share of points that came as soon as promised, how
much is held and by how much that has grown in thirty days, and what could not be read.
Users and sites are those of the last look at the directory, at most a day old; such as
have neither a drive nor a mailbox are listed too, for nobody has asked.

As a table, those are listed that need a person; with --all, or as CSV, HTML or JSON,
all are. The costs are estimates: the size of the newest points at a price for each GB
and month, which is what Microsoft's own product is sold by, and for your own storage
what you say. CSV and JSON have them for each row that has a point, with six decimals.`,
		Example: "  holdfast report\n  holdfast report --html --own-price 0.02 > report.html\n  holdfast report --csv --only unprotected > unprotected.csv",
		RunE: c.run(func(ctx context.Context, _ []string) error {
			forms := 0
			for _, on := range []bool{r.csv, r.html, c.script()} {
				if on {
					forms++
				}
			}
			if forms > 1 {
				return usageError{errors.New("a report has one form: give --csv, --html, --json, --format or --quiet alone")}
			}
			if r.only != "" {
				only, err := oneOf(r.only, "unprotected", "failing", "late", "unread")
				if err != nil {
					return usageError{fmt.Errorf("--only: %w", err)}
				}
				r.only = only
			}
			if r.price < 0 || r.own < 0 {
				return usageError{errors.New("a price is 0 or more")}
			}
			return c.report(ctx, &r)
		})}
	f := cmd.Flags()
	f.BoolVar(&r.csv, "csv", false, "print all rows as CSV")
	f.BoolVar(&r.html, "html", false, "print a page for a browser, which needs nothing else")
	f.BoolVar(&r.all, "all", false, "list all in the table, not only what needs a person")
	f.StringVar(&r.only, "only", "", "list only what is `SO`: unprotected, failing, late or unread")
	f.Float64Var(&r.price, "price", listPrice, "what Microsoft asks for a GB and month, in the currency that you like; 0 leaves it out")
	f.Float64Var(&r.own, "own-price", 0, "what your own storage costs for a GB and month; 0 leaves it out")
	cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions([]string{"unprotected", "failing", "late", "unread"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

var onlyTests = map[string]func(coverageAnswer) bool{
	"unprotected": func(v coverageAnswer) bool { return !backup.UnitStatus(v.Status).Wanted() },
	"failing":     func(v coverageAnswer) bool { return v.Error != nil },
	"late":        func(v coverageAnswer) bool { return v.IsMissed },
	"unread":      func(v coverageAnswer) bool { return v.UnreadItemCount > 0 },
}

// A coverageRow is an answer, and as it came.
type coverageRow struct {
	coverageAnswer
	value json.RawMessage
}

// coverage reads those of which test is true; all for nil. Each time they are read
// anew, for there may be more than memory should hold.
func (c *cli) coverage(ctx context.Context, test func(coverageAnswer) bool) iter.Seq2[coverageRow, error] {
	return func(yield func(coverageRow, error) bool) {
		for value, err := range c.api.All(ctx, "/holdfast.coverage?$top=1000") {
			v := coverageRow{value: value}
			if err == nil {
				err = json.Unmarshal(value, &v.coverageAnswer)
			}
			if err != nil {
				yield(v, err)
				return
			}
			if (test == nil || test(v.coverageAnswer)) && !yield(v, nil) {
				return
			}
		}
	}
}

// rows are those that a report lists.
func (c *cli) rows(ctx context.Context, r *report) iter.Seq2[coverageRow, error] {
	return c.coverage(ctx, onlyTests[r.only])
}

func (c *cli) report(ctx context.Context, r *report) error {
	c.namesOf = 100
	if c.script() {
		return c.reportScript(ctx, r)
	}
	if r.csv {
		return c.reportCSV(ctx, r)
	}
	of, all := map[*workload]*reportSum{}, &reportSum{Title: "All"}
	for _, w := range workloads {
		of[w] = &reportSum{Title: strings.ToUpper(w.nouns[:1]) + w.nouns[1:]}
		r.sums = append(r.sums, of[w])
	}
	for v, err := range c.coverage(ctx, nil) {
		if err != nil {
			return err
		}
		of[wordsOf(v.coverageAnswer)].add(v.coverageAnswer)
		all.add(v.coverageAnswer)
		if v.needs() != "" {
			r.needs++
		}
	}
	r.sums = append(r.sums, all)
	if r.html {
		return c.reportHTML(ctx, r)
	}
	return c.reportTable(ctx, r)
}

// reportScript prints rows as JSON, in the form of --format, or ids, as they come.
func (c *cli) reportScript(ctx context.Context, r *report) error {
	n := 0
	for v, err := range c.rows(ctx, r) {
		if err == nil && !c.quiet {
			members := r.figures(v.coverageAnswer)
			members["owner"], members["needs"] = c.who(ctx, v.coverageAnswer), v.needs()
			v.value = withMembers(v.value, members)
		}
		switch {
		case err != nil:
		case c.shape != nil:
			err = c.printShaped(v.value)
		case c.quiet:
			_, err = fmt.Fprintln(c.out, cmp.Or(v.ProtectionUnitID, v.SubjectID))
		default:
			text := bytes.NewBufferString(map[bool]string{true: "[\n  ", false: ",\n  "}[n == 0])
			if err = json.Indent(text, v.value, "  ", "  "); err == nil {
				_, err = text.WriteTo(c.out)
			}
		}
		if err != nil {
			return err
		}
		n++
	}
	if c.shape != nil || c.quiet {
		return nil
	}
	_, err := io.WriteString(c.out, map[bool]string{true: "[]\n", false: "\n]\n"}[n == 0])
	return err
}

// wordsOf is the words for a row.
func wordsOf(v coverageAnswer) *workload {
	return workloads[max(0, slices.IndexFunc(workloads, func(w *workload) bool { return string(w.kind) == v.Workload }))]
}

// who is what a row is of, for people.
func (c *cli) who(ctx context.Context, v coverageAnswer) string {
	if v.Address != "" {
		return v.Address
	}
	if v.Workload == string(sites.kind) {
		return c.addressOf(ctx, unitAnswer{SiteID: v.SubjectID})
	}
	return c.ownerOf(ctx, unitAnswer{DirectoryObjectID: v.SubjectID})
}

var reportHead = []string{"WHAT", "WHO", "NEEDS", "POLICY", "NEWEST", "IN TIME", "UNREAD", "SIZE", "GROWN"}

func (c *cli) reportRow(ctx context.Context, v coverageAnswer) []string {
	var s reportSum
	s.add(v)
	unread, held := "", ""
	if !v.NewestDateTime.IsZero() {
		unread, held = fmt.Sprint(v.UnreadItemCount), s.Size()
	}
	return []string{wordsOf(v).noun, c.who(ctx, v), v.needs(), v.PolicyName, clock(v.NewestDateTime), s.Kept(), unread, held, s.Growth()}
}

func (r *report) facts(s reportSum) [][2]string {
	facts := [][2]string{
		{"Protected", backup.Number(s.Protected) + " of " + backup.Number(s.Protected+s.Waiting+s.Others+s.None)}, {"Not protected", backup.Number(s.NotProtected())}, {"Wait for their first point", backup.Number(s.Waiting)},
		{"Failing", fmt.Sprint(s.Failing)}, {"Late", fmt.Sprint(s.Late)}, {"Points in time", s.Kept()}, {"Items unread", fmt.Sprint(s.Unread)},
		{"In the newest points", s.Size() + " in " + number(s.Files, "item")}, {"Grown in thirty days", s.Growth()},
	}
	if r.price > 0 {
		facts = append(facts, [2]string{"At Microsoft, a month", fmt.Sprintf("%s, at %g for a GB", s.cost(r.price), r.price)})
	}
	if r.own > 0 {
		facts = append(facts, [2]string{"Here, a month", fmt.Sprintf("%s, at %g for a GB", s.cost(r.own), r.own)})
	}
	return facts
}

func (c *cli) reportTable(ctx context.Context, r *report) error {
	var lines []string
	for _, f := range r.facts(*r.sums[len(r.sums)-1]) {
		lines = append(lines, f[0], f[1])
	}
	if err := c.fields(lines...); err != nil {
		return err
	}
	fmt.Fprintln(c.out)
	rows := func(do func([]string) error) (n int, err error) {
		for v, err := range c.rows(ctx, r) {
			if err == nil && (r.all || r.only != "" || v.needs() != "") {
				n++
				err = do(c.reportRow(ctx, v.coverageAnswer))
			}
			if err != nil {
				return n, err
			}
		}
		return n, nil
	}
	// They are read twice, for their widths and to be printed: there may be more than
	// memory should hold.
	widths := make([]int, len(reportHead))
	measure := func(cells []string) error {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(oneLine(cell)))
		}
		return nil
	}
	if !c.bare {
		measure(reportHead)
	}
	n, err := rows(measure)
	if err != nil {
		return err
	}
	if n == 0 {
		_, err := fmt.Fprintln(c.out, map[bool]string{true: "Nothing needs a person.", false: "None is " + r.only + "."}[r.only == ""])
		return err
	}
	print := func(cells []string) error {
		var line strings.Builder
		for i, cell := range cells {
			fmt.Fprintf(&line, "%-*s", widths[i]+2, oneLine(cell))
		}
		_, err := fmt.Fprintln(c.out, strings.TrimRight(line.String(), " "))
		return err
	}
	if !c.bare {
		if err := print(reportHead); err != nil {
			return err
		}
	}
	_, err = rows(print)
	return err
}

// cell keeps a spreadsheet from taking somebody's name for a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func (c *cli) reportCSV(ctx context.Context, r *report) error {
	w := csv.NewWriter(c.out)
	if !c.bare {
		w.Write(append([]string{"workload", "subjectId", "displayName", "address", "status", "needs", "protectionUnitId", "policyName", "newestDateTime", "isMissed", "pointCount", "latePointCount", "unreadItemCount", "fileCount", "size", "sizeMonthAgo", "errorCode", "errorMessage", "promised"}, figureNames...))
	}
	for v, err := range c.rows(ctx, r) {
		if err != nil {
			return err
		}
		newest, before, code, message := "", "", "", ""
		if !v.NewestDateTime.IsZero() {
			newest = v.NewestDateTime.UTC().Format(time.RFC3339)
		}
		if v.SizeMonthAgo != nil {
			before = v.SizeMonthAgo.String()
		}
		if v.Error != nil {
			code, message = v.Error.Code, v.Error.Message
		}
		promised := ""
		if v.Promised > 0 {
			promised = v.Promised.String()
		}
		row := []string{v.Workload, v.SubjectID, cell(v.DisplayName), cell(c.who(ctx, v.coverageAnswer)), v.Status, v.needs(), v.ProtectionUnitID, cell(v.PolicyName), newest, fmt.Sprint(v.IsMissed),
			fmt.Sprint(v.PointCount), fmt.Sprint(v.LatePointCount), fmt.Sprint(v.UnreadItemCount), v.FileCount.String(), v.Size.String(), before, code, cell(message), promised}
		figures := r.figures(v.coverageAnswer)
		for _, name := range figureNames {
			text := ""
			if f, known := figures[name]; known {
				text = fmt.Sprint(f)
			}
			row = append(row, text)
		}
		w.Write(row)
	}
	w.Flush()
	return w.Error()
}

//go:embed report.html.tmpl
var reportPage string

func (c *cli) reportHTML(ctx context.Context, r *report) error {
	page, err := template.New("report").Parse(reportPage)
	if err != nil {
		return err
	}
	var failed error
	type row struct {
		Cells []string
		Bad   bool
		Why   string
	}
	err = page.Execute(c.out, map[string]any{
		"Server": c.url, "At": time.Now().Format("2006-01-02 15:04 MST"), "Sums": r.sums, "Needs": r.needs, "Head": reportHead, "Only": r.only,
		"Facts": r.facts(*r.sums[len(r.sums)-1]),
		"Rows": func(yield func(row) bool) {
			for v, err := range c.rows(ctx, r) {
				if err != nil {
					failed = err
					return
				}
				line := row{Cells: c.reportRow(ctx, v.coverageAnswer), Bad: v.needs() != ""}
				if v.Error != nil {
					line.Why = v.Error.Message
				}
				if !yield(line) {
					return
				}
			}
		},
	})
	return errors.Join(failed, err)
}
