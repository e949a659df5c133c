package backup

import (
	"errors"
	"strings"
	"testing"
)

func TestParseMailQuery(t *testing.T) {
	for text, want := range map[string]MailQuery{
		"(Subject -like 'Invoice*')":     {Property: MailSubject, Match: MailBegun, Text: "Invoice"},
		"subject -LIKE 'Invoice 5'":      {Property: MailSubject, Match: MailWords, Text: "Invoice 5"},
		"(sender -eq 'bob''s')":          {Property: MailSender, Match: MailIs, Text: "bob's"},
		"(subject -contains ‘Finance’)":  {Property: MailSubject, Match: MailContains, Text: "Finance"},
		"HasAttachment -eq true":         {Property: MailHasAttachment, Attachment: true},
		"(HasAttachment -eq 'False')":    {Property: MailHasAttachment},
		"( MessageKind -eq 'Calendar' )": {Property: MailMessageKind, Kind: MailCalendar},
		"recipient -like 'a'":            {Property: MailParticipants, Match: MailWords, Text: "a"},
	} {
		got, err := ParseMailQuery(text)
		if err != nil || len(got.Parts) > 0 || got.Property != want.Property || got.Match != want.Match || got.Text != want.Text || got.Attachment != want.Attachment || got.Kind != want.Kind {
			t.Errorf("ParseMailQuery(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"(Sender -like 'abc@contoso.com') -and (HasAttachment -eq 'true')",
		"(Subject -like 'Project Alpha*') -and (Participants -like 'john@contoso.com' -and Participants -like 'sarah@contoso.com')",
		"(MessageKind -eq 'Email') -and (Subject -like 'Invoice*') -and (Sender -like 'vendor*') -and (HasAttachment -eq 'true')",
		"((subject -contains ‘Finance’)  -or  (subject -contains ‘Legal’)) -and (sender -eq 'alex@contoso.com') -and (recipient -eq 'carol@contoso.com') -and hasAttachment -eq true",
	} {
		if q, err := ParseMailQuery(text); err != nil || !q.All || len(q.Parts) < 2 {
			t.Errorf("ParseMailQuery(%q) = %+v, %v", text, q, err)
		}
	}
	if q, err := ParseMailQuery("subject -like 'a' -and sender -like 'b' -or sender -like 'c'"); err != nil || q.All || len(q.Parts) != 2 || !q.Parts[0].All {
		t.Errorf("-and binds more than -or: %+v, %v", q, err)
	}
	four := strings.Repeat("Subject -like 'a' -and ", 3) + "Subject -like 'a'"
	for _, text := range []string{
		"", "()", "Subject", "Subject -like", "Subject -like a", "Subject -like 'a", "Subject -like ''", "Subject -like '*'", "Subject -like 'a*b'", "Subject -gt 'a'", "Subjects -like 'a'",
		"(Subject -like 'a'", "Subject -like 'a')", "Subject -like 'a' Sender -like 'b'", "Subject -like 'a' -and", "-and Subject -like 'a'", "HasAttachment -eq 'yes'", "HasAttachment -like 'true'",
		"MessageKind -eq 'Fax'", "Body -like 'a'", four, "Subject -like '" + strings.Repeat("x", 256) + "'", strings.Repeat("(", 40) + "Subject -like 'a'" + strings.Repeat(")", 40), "Subject -like '\xff'",
	} {
		if _, err := ParseMailQuery(text); !errors.Is(err, InvalidSearchRequest) {
			t.Errorf("ParseMailQuery(%q) = %v", text, err)
		}
	}
	if _, err := ParseMailQuery(strings.Repeat(" ", 3000)); !errors.Is(err, FilterLengthExceeded) {
		t.Errorf("a long expression: %v", err)
	}
}

func FuzzParseMailQuery(f *testing.F) {
	f.Add("((subject -contains ‘Finance’)  -or  (subject -contains ‘Legal’)) -and (sender -eq 'alex@contoso.com') -and hasAttachment -eq true")
	f.Add("(MessageKind -eq 'Email') -and (Subject -like 'Invo''ice*')")
	f.Fuzz(func(t *testing.T, text string) {
		q, err := ParseMailQuery(text)
		if err != nil {
			if !errors.Is(err, InvalidSearchRequest) && !errors.Is(err, FilterLengthExceeded) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if q.Parts == nil && q.Property == "" {
			t.Errorf("%q asks for nothing", text)
		}
		if _, err := ParseMailQuery("(" + text + ")"); err != nil && errors.Is(err, InvalidSearchRequest) && !strings.Contains(err.Error(), "character") {
			t.Errorf("%q in parentheses: %v", text, err)
		}
	})
}

func TestMailKindOf(t *testing.T) {
	for class, want := range map[string]MailKind{
		"IPM.Note": MailEmail, "IPM.Note.SMIME": MailEmail, "ipm.appointment": MailCalendar, "IPM.Schedule.Meeting.Request": MailEmail, "IPM.Contact": MailContact, "IPM.DistList": MailContact,
		"IPM.Task": MailTask, "IPM.StickyNote": MailNote, "IPM.Post": MailEmail, "REPORT.IPM.Note.NDR": MailEmail, "IPM.Activity": MailOther, "IPM.Notebook": MailOther, "": MailOther,
	} {
		if got := MailKindOf(class); got != want {
			t.Errorf("MailKindOf(%q) = %s, want %s", class, got, want)
		}
	}
}
