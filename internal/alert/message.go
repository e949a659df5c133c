package alert

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
)

// A Message is what a webhook is sent, and what mail and cards are made of.
type Message struct {
	ID     backup.MessageID `json:"id"`
	Type   string           `json:"type"` // alerts, report, or test
	Tenant backup.TenantID  `json:"tenantId"`
	Name   string           `json:"tenantName,omitempty"`
	Time   time.Time        `json:"dateTime"`
	Alerts []Entry          `json:"alerts,omitempty"`
	Report *Report          `json:"report,omitempty"`
	Link   string           `json:"link,omitempty"` // where people see more
}

// An Entry is an alert of which there is news.
type Entry struct {
	ID       backup.AlertID        `json:"id"`
	Kind     backup.AlertKind      `json:"kind"`
	News     backup.News           `json:"news"`
	Title    string                `json:"title"`
	Advice   string                `json:"advice"`
	Raised   time.Time             `json:"raisedDateTime"`
	Resolved time.Time             `json:"resolvedDateTime,omitzero"`
	Count    int64                 `json:"count"`
	More     bool                  `json:"countIsAtLeast,omitempty"`
	Examples []backup.AlertExample `json:"examples,omitempty"`
}

// What is said of each kind: of one thing, of several, and what to do.
var words = map[backup.AlertKind]struct{ one, many, advice string }{
	backup.AlertApprovalWaits:    {"1 request waits for another person's approval", "{n} requests wait for another person's approval", "See 'holdfast approval list'. Look at what is asked for, and approve or deny it; whoever asked cannot."},
	backup.AlertVaultDamaged:     {"1 thing in the vault is damaged", "{n} things in the vault are damaged", "See 'holdfast vault damage'. What the source still has is backed up anew by itself; bring the rest back from a copy of the vault."},
	backup.AlertVaultUnavailable: {"The vault cannot be used, so nothing is backed up or restored", "", "Do what is said there; all goes on by itself then."},
	backup.AlertSourceRefused:    {"The source cannot be used as it is configured", "The source cannot be used as it is configured, for {n} reasons", "See 'holdfast serve --check --online'."},
	backup.AlertWorkWaits:        {"Work of 1 kind is due, and nobody does it", "Work of {n} kinds is due, and nobody does it", "See whether a server runs whose --role is all or worker, and whether its workers hang."},
	backup.AlertRPOMissed:        {"1 unit has a newest restore point that is older than promised", "{n} units have a newest restore point that is older than promised", "See 'holdfast rpo', and 'holdfast status' for what fails."},
	backup.AlertUnitsFailing:     {"1 unit has failed for {failing}", "{n} units have failed for {failing}", "See 'holdfast status', which names them; docs/operating.md says what each error asks for."},
	backup.AlertItemsUnread:      {"1 unit has items that could not be read for {unread}", "{n} units have items that could not be read for {unread}", "See 'holdfast status', and 'holdfast point show' for the files by name."},
	backup.AlertAuditWaits:       {"The audit log is not taken by 1 outlet", "The audit log is not taken by {n} outlets", "Nothing of it is lost, and it is tried again. See to what is said there."},
	backup.AlertExpiring:         {"1 credential ends soon", "{n} credentials end soon", "Renew it before. Without the application's nothing is backed up or restored any more, without this server's nobody reaches it, and without an outlet's the audit log waits."},
}

// EntryOf says news in words.
func EntryOf(n catalog.AlertNews, times catalog.AlertTimes) Entry {
	w := words[n.Kind]
	count := fmt.Sprint(n.Count)
	if n.More {
		count = "more than " + count
	}
	form := w.many
	if n.Count == 1 && !n.More || form == "" {
		form = w.one
	}
	title := strings.NewReplacer("{n}", count, "{failing}", span(times.Failing), "{unread}", span(times.Unread)).Replace(form)
	return Entry{ID: n.ID, Kind: n.Kind, News: n.News, Title: title, Advice: w.advice, Raised: n.Raised.UTC(), Resolved: n.Resolved,
		Count: n.Count, More: n.More, Examples: n.Examples}
}

// span is a time in words.
func span(d time.Duration) string {
	if days := int(d / (24 * time.Hour)); days >= 2 && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", days)
	}
	if hours := int(d / time.Hour); hours >= 2 && d%time.Hour == 0 {
		return fmt.Sprintf("%d hours", hours)
	}
	if minutes := int(d / time.Minute); minutes >= 2 && d%time.Minute == 0 {
		return fmt.Sprintf("%d minutes", minutes)
	}
	if d == time.Minute {
		return "1 minute"
	}
	return d.String()
}

// newsWords stand before a title.
var newsWords = map[backup.News]string{backup.NewsMore: "More: ", backup.NewsStill: "Still: ", backup.NewsResolved: "Over: "}

// Headline is an entry in one line.
func (e *Entry) Headline() string { return newsWords[e.News] + e.Title }

// Over reports whether the alert is resolved.
func (e *Entry) Over() bool { return e.News == backup.NewsResolved || !e.Resolved.IsZero() }

// When says when it began or was over.
func (e *Entry) When() string {
	if e.Over() {
		return "From " + minute(e.Raised) + " to " + minute(e.Resolved) + "."
	}
	return "Since " + minute(e.Raised) + "."
}

// Named are the examples in a line each; none once it is over.
func (e *Entry) Named() (lines []string) {
	if e.Over() {
		return nil
	}
	for _, x := range e.Examples {
		line := x.Name
		if e.Kind == backup.AlertRPOMissed {
			lines = append(lines, Without(line+": the newest restore point is of "+minute(x.Since)))
			continue
		}
		if !x.Since.IsZero() {
			line = strings.TrimSpace(line + " since " + minute(x.Since))
		}
		if x.Text != "" && line != "" {
			line += ": "
		}
		lines = append(lines, Without(line+x.Text))
	}
	if more := e.Count - int64(len(e.Examples)); more > 0 {
		count := fmt.Sprint(more)
		if e.More {
			count = "more than " + count
		}
		lines = append(lines, "and "+count+" more")
	}
	return lines
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// Who names the tenant.
func (m *Message) Who() string {
	if m.Name != "" {
		return m.Name
	}
	return string(m.Tenant)
}

// Subject is the message in one line.
func (m *Message) Subject() string {
	if m.Type == "test" {
		return "Holdfast, " + m.Who() + ": this is a test"
	}
	if m.Report != nil {
		return Without("Holdfast, " + m.Who() + ": " + m.Report.Headline())
	}
	text := "Holdfast, " + m.Who() + ": " + m.Alerts[0].Headline()
	if n := len(m.Alerts) - 1; n > 0 {
		text += " (and " + backup.Number(n) + " more)"
	}
	return Without(text)
}

const testText = "Messages of Holdfast arrive here. Nothing is wrong, and there is nothing to do."

// Text is the message as plain text.
func (m *Message) Text() string {
	var b strings.Builder
	if m.Type == "test" {
		b.WriteString(testText + "\n\n")
	}
	if r := m.Report; r != nil {
		fmt.Fprintf(&b, "%s\nFrom %s to %s.\n\n", r.Headline(), minute(r.From), minute(r.To))
		for _, f := range r.Facts() {
			fmt.Fprintf(&b, "%-36s %s\n", f.Title, f.Value)
		}
		b.WriteString("\n")
		for _, e := range r.Alerts {
			fmt.Fprintf(&b, "  - %s. %s\n", e.Title, e.When())
		}
		if len(r.Alerts) > 0 {
			b.WriteString("\n")
		}
	}
	for _, e := range m.Alerts {
		fmt.Fprintf(&b, "%s\n%s\n", e.Headline(), e.When())
		for _, line := range e.Named() {
			fmt.Fprintf(&b, "  - %s\n", line)
		}
		if !e.Over() {
			fmt.Fprintf(&b, "What to do: %s\n", e.Advice)
		}
		b.WriteString("\n")
	}
	if m.Link != "" {
		fmt.Fprintf(&b, "See %s\n\n", m.Link)
	}
	fmt.Fprintf(&b, "-- \nTenant %s, %s\n", m.Tenant, minute(m.Time))
	return b.String()
}

var page = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{{.Subject}}</title></head>
<body style="font:15px/1.5 sans-serif;color:#1b1b1b;max-width:42em">
{{if eq .Type "test"}}<p>{{.TestText}}</p>{{end}}{{with .Report}}<h1 style="font-size:20px">{{.Headline}}</h1>
<p><img src="cid:week.png" width="560" height="60" alt="{{.Alt}}"><br><span style="color:#5f5f5f;font-size:13px">Above: units that are protected, failing, and not protected. Below: seven days; red is when an alert stood.</span></p>
<table style="border-collapse:collapse">{{range .Facts}}<tr><th style="text-align:left;font-weight:normal;padding:2px 24px 2px 0">{{.Title}}</th><td style="text-align:right">{{.Value}}</td></tr>{{end}}</table>
{{with .Alerts}}<h2 style="font-size:17px">What stood</h2><ul>{{range .}}<li>{{.Title}}. {{.When}}</li>{{end}}</ul>{{end}}{{end}}{{range .Alerts}}<div style="border-left:4px solid {{if .Over}}#2e7d32{{else}}#b3261e{{end}};padding-left:12px;margin:0 0 20px">
<h2 style="font-size:17px;margin:0">{{.Headline}}</h2><p style="margin:4px 0">{{.When}}</p>{{with .Named}}<ul style="margin:4px 0">{{range .}}<li>{{.}}</li>{{end}}</ul>{{end}}{{if not .Over}}<p style="margin:4px 0"><b>What to do:</b> {{.Advice}}</p>{{end}}</div>
{{end}}{{with .Link}}<p><a href="{{.}}">Open the console</a></p>{{end}}<p style="color:#5f5f5f;font-size:13px">Tenant {{.Tenant}}, {{.At}}</p></body></html>
`))

// TestText is what a test says.
func (m *Message) TestText() string { return testText }

// At is the message's time in words.
func (m *Message) At() string { return minute(m.Time) }

// HTML is the message as a page.
func (m *Message) HTML() (string, error) {
	var b strings.Builder
	err := page.Execute(&b, m)
	return b.String(), err
}
