package client

import "testing"

// A query in short is the API's expression.
func TestMailExpression(t *testing.T) {
	for query, want := range map[string]string{
		"from:amala@contoso.com subject:invoice*": "(Sender -like 'amala@contoso.com') -and (Subject -like 'invoice*')",
		`subject:"invoice 5"* to:'conrad'`:        "(Subject -like 'invoice 5*') -and (Participants -like 'conrad')",
		"o'hara has:attachment":                   "(Subject -like 'o''hara') -and (HasAttachment -eq 'true')",
		"no:attachments KIND:note":                "(HasAttachment -eq 'false') -and (MessageKind -eq 'note')",
		"(Subject -like 'a')":                     "(Subject -like 'a')",
		" Sender -eq 'a' ":                        "Sender -eq 'a'",
		"":                                        "", "from:": "", "size:5": "", "from: a": "",
	} {
		got, err := MailExpression(query)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q is %q, %v; want %q", query, got, err, want)
		}
	}
}
