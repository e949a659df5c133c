package odata

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"holdfast/internal/backup"
)

// Preferences are what a request would prefer (RFC 7240). Those we do not know
// are ignored.
type Preferences struct {
	UnknownEnums bool // include-unknown-enum-members
	Minimal      bool // return=minimal
	PageSize     int  // odata.maxpagesize; 0: not given

	represent bool
}

// ParsePreferences reads all Prefer headers. The first mention of a preference
// counts.
func ParsePreferences(h http.Header) Preferences {
	var p Preferences
	returnSeen := false
	for _, header := range h.Values("Prefer") {
		for pref := range strings.SplitSeq(header, ",") {
			pref, _, _ = strings.Cut(pref, ";") // its parameters mean nothing to us
			name, value, _ := strings.Cut(pref, "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "include-unknown-enum-members":
				p.UnknownEnums = true
			case "odata.maxpagesize", "maxpagesize":
				if n, err := strconv.Atoi(value); err == nil && n > 0 && p.PageSize == 0 {
					p.PageSize = min(n, MaxPage)
				}
			case "return":
				if returnSeen {
					continue
				}
				returnSeen = true
				p.Minimal = strings.EqualFold(value, "minimal")
				p.represent = strings.EqualFold(value, "representation")
			}
		}
	}
	return p
}

// Applied is the value of Preference-Applied for a response. paged and wrote
// say which of the preferences had a meaning there.
func (p Preferences) Applied(paged, wrote bool) string {
	var applied []string
	if p.UnknownEnums {
		applied = append(applied, "include-unknown-enum-members")
	}
	if p.PageSize > 0 && paged {
		applied = append(applied, "odata.maxpagesize="+strconv.Itoa(p.PageSize))
	}
	if p.Minimal && wrote {
		applied = append(applied, "return=minimal")
	}
	if p.represent && wrote {
		applied = append(applied, "return=representation")
	}
	return strings.Join(applied, ", ")
}

// A Metadata is how much of OData's own annotations a response carries.
type Metadata string

// The three levels.
const (
	MetadataNone    Metadata = "none"
	MetadataMinimal Metadata = "minimal"
	MetadataFull    Metadata = "full"
)

// ParseAccept returns the metadata level that the Accept headers ask for. plain
// says that the response is text, not JSON. Nothing that we can send is an
// error.
func ParseAccept(h http.Header, plain bool) (Metadata, error) {
	level := MetadataMinimal
	values := h.Values("Accept")
	if len(values) == 0 || len(values) == 1 && strings.TrimSpace(values[0]) == "" {
		return level, nil
	}
	ok := false
	for _, header := range values {
		for part := range strings.SplitSeq(header, ",") {
			media, params, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			if q, err := strconv.ParseFloat(params["q"], 64); err == nil && q <= 0 {
				continue
			}
			switch {
			case media == "*/*" || plain && (media == "text/plain" || media == "text/*"):
				ok = true
			case media == "application/json" || media == "application/*":
				for _, name := range []string{"odata.metadata", "metadata"} {
					switch m := Metadata(strings.ToLower(params[name])); {
					case ok: // the first that we can send decides
					case m == MetadataNone, m == MetadataMinimal, m == MetadataFull:
						level = m
					case m != "":
						return level, backup.Fail(backup.NotAcceptable, "The odata.metadata level asked for does not exist. It is none, minimal or full.").On("Accept")
					}
				}
				ok = true
			}
		}
	}
	if !ok {
		return level, backup.Fail(backup.NotAcceptable, "The response can be sent as application/json only. Send an Accept header that allows it, or none.").On("Accept")
	}
	return level, nil
}
