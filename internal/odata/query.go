package odata

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"holdfast/internal/backup"
)

// MaxPage is the largest page that is served, whatever is asked for.
const MaxPage = 999

// DefaultPage is the size of a page when the caller does not say.
const DefaultPage = 100

// MaxFilter is the longest $filter, in characters.
const MaxFilter = 2048

// An Option is a system query option, by its name without the dollar.
type Option string

// The options of OData that some route supports.
const (
	Select    Option = "select"
	Top       Option = "top"
	Skip      Option = "skip"
	Count     Option = "count"
	Filter    Option = "filter"
	OrderBy   Option = "orderby"
	Expand    Option = "expand"
	SkipToken Option = "skiptoken"
)

// known holds every option that has a meaning in OData, so that one without
// its dollar is not taken for a stranger, which would be ignored.
var known = []Option{Select, Top, Skip, Count, Filter, OrderBy, Expand, SkipToken,
	"search", "format", "apply", "compute", "deltatoken"}

// Options are the query options of one request.
type Options struct {
	raw map[Option]string

	Select    []string // nil: everything
	Top       int      // -1: not given
	Skip      int
	Count     bool
	Filter    string
	OrderBy   string
	Expand    string
	SkipToken string
}

// ParseOptions reads the query of a URL, of which the route supports the given
// options. An option may be named with or without its dollar and in any case.
// One that is repeated, ill formed or not supported is an error that names it.
// Names that are neither options nor begin with a dollar are ignored.
func ParseOptions(rawQuery string, supported ...Option) (Options, error) {
	o := Options{raw: map[Option]string{}, Top: -1}
	for pair := range strings.SplitSeq(rawQuery, "&") {
		if pair == "" {
			continue
		}
		// Not url.ParseQuery: nested options are joined by semicolons.
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return o, invalid("The query string of the URL is not correctly percent-encoded UTF-8.")
		}
		plain, dollar := strings.CutPrefix(strings.ToLower(name), "$")
		option := Option(plain)
		if !dollar && !slices.Contains(known, option) {
			continue
		}
		if !slices.Contains(supported, option) {
			return o, invalid("The query option '$" + printable(plain) + "' is not supported on this resource. Send the request without it.").On("$" + printable(plain))
		}
		if _, twice := o.raw[option]; twice {
			return o, option.wrong("is given more than once")
		}
		o.raw[option] = value
		if err := o.set(option, value); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o *Options) set(option Option, value string) (err error) {
	switch option {
	case Select:
		for name := range strings.SplitSeq(value, ",") {
			name = strings.TrimSpace(name)
			if name == "" {
				return option.wrong("must be a list of property names")
			}
			o.Select = append(o.Select, name)
		}
	case Top:
		if o.Top, err = strconv.Atoi(value); err != nil || o.Top < 0 {
			return option.wrong("must be a whole number, 0 or greater")
		}
		o.Top = min(o.Top, MaxPage)
	case Skip:
		if o.Skip, err = strconv.Atoi(value); err != nil || o.Skip < 0 {
			return option.wrong("must be a whole number, 0 or greater")
		}
	case Count:
		switch strings.ToLower(value) {
		case "true":
			o.Count = true
		case "false":
		default:
			return option.wrong("must be true or false")
		}
	case Filter:
		if utf8.RuneCountInString(value) > MaxFilter {
			return filterTooLong()
		}
		o.Filter = value
	case OrderBy:
		o.OrderBy = value
	case Expand:
		o.Expand = value
	case SkipToken:
		if value == "" {
			return option.wrong("is empty")
		}
		o.SkipToken = value
	}
	return nil
}

func (o Option) wrong(what string) *backup.Error {
	return invalid("The query option '$" + string(o) + "' " + what + ".").On("$" + string(o))
}

// Has reports whether option was given.
func (o Options) Has(option Option) bool { _, ok := o.raw[option]; return ok }

// Selecting checks $select against the properties there are and gives each
// name its canonical spelling. Nothing selected, or an asterisk, is all.
func (o *Options) Selecting(properties []string) error {
	var chosen []string
	for _, name := range o.Select {
		if name == "*" {
			o.Select = nil
			return nil
		}
		i := slices.IndexFunc(properties, func(p string) bool { return strings.EqualFold(p, name) })
		if i < 0 {
			return invalid("There is no property '" + printable(name) + "' to select.").On("$select")
		}
		if !slices.Contains(chosen, properties[i]) {
			chosen = append(chosen, properties[i])
		}
	}
	o.Select = chosen
	return nil
}

// binding is the options that a page token belongs to, in one spelling.
func (o Options) binding() string {
	var b strings.Builder
	for _, option := range known {
		if v, ok := o.raw[option]; ok && option != SkipToken {
			b.WriteString(string(option) + "=" + strconv.Quote(v) + "&")
		}
	}
	return b.String()
}

// query is the options as the query string of the next page.
func (o Options) query(token string) string {
	var b strings.Builder
	for _, option := range known {
		if v, ok := o.raw[option]; ok && option != SkipToken {
			b.WriteString("$" + string(option) + "=" + url.QueryEscape(v) + "&")
		}
	}
	return b.String() + "$skiptoken=" + url.QueryEscape(token)
}

// printable cuts what a caller sent to what may be shown in a message.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > 64 {
		s = string([]rune(s)[:64]) + "…"
	}
	return s
}
