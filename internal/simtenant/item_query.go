package simtenant

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/odata"
)

// What $filter and $orderby may name of what lies in a mailbox. Texts are compared
// without regard to case, as Exchange does; ids are not.
var (
	itemTimes = []odata.Property{
		{Name: "receivedDateTime", Type: odata.Time, Days: true, Filters: true, Orders: true},
		{Name: "createdDateTime", Type: odata.Time, Days: true, Orders: true},
		{Name: "lastModifiedDateTime", Type: odata.Time, Days: true, Orders: true},
	}
	messageProperties = slices.Concat(askable(odata.Time, "receivedDateTime", "sentDateTime", "createdDateTime", "lastModifiedDateTime"),
		askable(odata.Folded, "subject", "from/emailAddress/address", "from/emailAddress/name", "sender/emailAddress/address", "sender/emailAddress/name"),
		askable(odata.Bool, "isRead", "isDraft", "hasAttachments", "isReadReceiptRequested", "isDeliveryReceiptRequested"),
		askable(odata.Text, "conversationId", "internetMessageId", "parentFolderId"), []odata.Property{importance, categories,
			{Name: "flag/flagStatus", Type: odata.Enum, Values: []string{"notFlagged", "flagged", "complete"}, Filters: true, Orders: true}})
	eventProperties = slices.Concat(askable(odata.Text, "start/dateTime", "end/dateTime", "iCalUId", "type", "seriesMasterId"), askable(odata.Time, "createdDateTime", "lastModifiedDateTime"),
		askable(odata.Folded, "subject", "location/displayName", "organizer/emailAddress/address", "showAs", "sensitivity"),
		askable(odata.Bool, "isAllDay", "isCancelled", "isOrganizer", "hasAttachments", "isReminderOn"), []odata.Property{importance, categories})
	contactProperties = slices.Concat(askable(odata.Folded, "displayName", "givenName", "surname", "companyName", "department", "jobTitle", "fileAs", "mobilePhone"),
		askable(odata.Time, "createdDateTime", "lastModifiedDateTime"), []odata.Property{categories, {Name: "emailAddresses/address", Type: odata.Folded, Many: true, Filters: true}})
	taskProperties = slices.Concat(askable(odata.Folded, "title"), askable(odata.Text, "dueDateTime/dateTime", "completedDateTime/dateTime"), askable(odata.Time, "createdDateTime", "lastModifiedDateTime"),
		askable(odata.Bool, "isReminderOn"), []odata.Property{importance, categories,
			{Name: "status", Type: odata.Enum, Values: []string{"notStarted", "inProgress", "completed", "waitingOnOthers", "deferred"}, Filters: true, Orders: true}})
	mailFolderProperties = slices.Concat(askable(odata.Folded, "displayName"), askable(odata.Bool, "isHidden"), askable(odata.Text, "parentFolderId"))

	importance = odata.Property{Name: "importance", Type: odata.Enum, Values: []string{"low", "normal", "high"}, Filters: true, Orders: true}
	categories = odata.Property{Name: "categories", Type: odata.Folded, Many: true, Filters: true}
)

// askable are properties of a type by which things are filtered and ordered.
func askable(kind odata.Type, names ...string) (list []odata.Property) {
	for _, name := range names {
		list = append(list, odata.Property{Name: name, Type: kind, Days: kind == odata.Time, Nullable: true, Filters: true, Orders: true})
	}
	return list
}

// members tells a property of a thing: a text, a time, a number or a bool, several
// texts, or nil.
type members func(property string) any

// readMember reads a property in what is shown of a thing, by its path.
func readMember(v any, path string) any {
	first, rest, below := strings.Cut(path, "/")
	switch v := v.(type) {
	case object:
		if below {
			return readMember(v[first], rest)
		}
		return v[first]
	case []any:
		var list []string
		for _, one := range v {
			if text, ok := readMember(one, path).(string); ok {
				list = append(list, text)
			}
		}
		return list
	}
	return nil
}

// listQuery is what $filter and $orderby ask of a list.
type listQuery struct {
	filter odata.Expr
	order  []odata.Order
}

// none reports whether they ask for nothing.
func (q listQuery) none() bool { return q.filter == nil && q.order == nil }

// listQueryOf reads them. Where both are given of messages, the filter must begin with
// what the order is by, as at the service.
func listQueryOf(r *request, of []odata.Property, ordersAsFiltered bool) (q listQuery, err error) {
	if text := option(r.query, "filter"); text != "" {
		if q.filter, err = odata.ParseFilter(text, of); err != nil {
			return q, wrongQuery(err, "ErrorInvalidUrlQueryFilter")
		}
	}
	if text := option(r.query, "orderby"); text != "" {
		if q.order, err = odata.ParseOrder(text, of); err != nil {
			return q, wrongQuery(err, "ErrorInvalidUrlQuery")
		}
	}
	if named := propertiesOf(q.filter); ordersAsFiltered && q.filter != nil {
		for i, by := range q.order {
			if i >= len(named) || named[i] != by.Property.Name {
				return q, fail(http.StatusBadRequest, "InefficientFilter", "The restriction or sort order is too complex for this operation.")
			}
		}
	}
	return q, nil
}

// wrongQuery is the refusal of an option.
func wrongQuery(err error, code string) error {
	if e, ok := errors.AsType[*backup.Error](err); ok {
		return fail(http.StatusBadRequest, code, e.Message)
	}
	return err
}

// propertiesOf are the properties that a filter names, each once and in order.
func propertiesOf(e odata.Expr) (names []string) {
	add := func(more ...string) {
		for _, name := range more {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	switch e := e.(type) {
	case odata.And:
		for _, part := range e {
			add(propertiesOf(part)...)
		}
	case odata.Or:
		for _, part := range e {
			add(propertiesOf(part)...)
		}
	case odata.Not:
		add(propertiesOf(e.X)...)
	case odata.Compare:
		add(e.Property.Name)
	case odata.In:
		add(e.Property.Name)
	case odata.Match:
		add(e.Property.Name)
	}
	return names
}

// holds reports whether a thing meets a filter.
func holds(e odata.Expr, of members) bool {
	switch e := e.(type) {
	case odata.And:
		return !slices.ContainsFunc(e, func(part odata.Expr) bool { return !holds(part, of) })
	case odata.Or:
		return slices.ContainsFunc(e, func(part odata.Expr) bool { return holds(part, of) })
	case odata.Not:
		return !holds(e.X, of)
	case odata.Compare:
		return anyOf(of(e.Property.Name), func(have any) bool { return stands(have, e.Op, e.Value, e.Property.Type) })
	case odata.In:
		return slices.ContainsFunc(e.Values, func(v odata.Value) bool {
			return anyOf(of(e.Property.Name), func(have any) bool { return stands(have, "eq", v, e.Property.Type) })
		})
	case odata.Match:
		return anyOf(of(e.Property.Name), func(have any) bool {
			text, ok := have.(string)
			if !ok {
				return false
			}
			if e.Property.Type == odata.Folded {
				text = strings.ToLower(text)
			}
			switch e.Func {
			case "contains":
				return strings.Contains(text, e.Text)
			case "startswith":
				return strings.HasPrefix(text, e.Text)
			case "endswith":
				return strings.HasSuffix(text, e.Text)
			}
			return saysWords(text, e.Text, e.Func == wordsBegun)
		})
	}
	return true
}

// anyOf reports whether a value, or one of several, is what fn says.
func anyOf(have any, fn func(any) bool) bool {
	if list, ok := have.([]string); ok {
		return slices.ContainsFunc(list, func(one string) bool { return fn(one) })
	}
	return fn(have)
}

// stands reports whether a value stands to another as op says.
func stands(have any, op string, want odata.Value, kind odata.Type) bool {
	by := 0
	switch have := have.(type) {
	case nil:
		return want.Null == (op == "eq") && (op == "eq" || op == "ne")
	case string:
		if kind == odata.Folded {
			have = strings.ToLower(have)
		}
		if kind == odata.Time {
			at, err := time.Parse(time.RFC3339, have)
			if err != nil {
				return false
			}
			by = at.Compare(want.Time)
			break
		}
		by = strings.Compare(have, want.Text)
	case time.Time:
		by = have.Compare(want.Time)
	case bool:
		by = strings.Compare(strconv.FormatBool(have), want.Text)
	case int64:
		n, _ := strconv.ParseInt(want.Text, 10, 64)
		by = cmp.Compare(have, n)
	}
	if want.Null {
		return op == "ne"
	}
	switch op {
	case "eq":
		return by == 0
	case "ne":
		return by != 0
	case "lt":
		return by < 0
	case "le":
		return by <= 0
	case "gt":
		return by > 0
	}
	return by >= 0
}

// apply returns of things those that the query lets through, in its order.
func apply[T any](ctx context.Context, q listQuery, all []T, of func(T) (members, error)) ([]T, error) {
	if q.none() {
		return all, nil
	}
	type keyed struct {
		one  T
		keys []any
	}
	var list []keyed
	for _, one := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		read, err := of(one)
		if err != nil {
			return nil, err
		}
		if !holds(q.filter, read) {
			continue
		}
		k := keyed{one: one}
		for _, by := range q.order {
			k.keys = append(k.keys, read(by.Property.Name))
		}
		list = append(list, k)
	}
	slices.SortStableFunc(list, func(a, b keyed) int {
		for i, by := range q.order {
			if c := compareKeys(a.keys[i], b.keys[i]); c != 0 {
				if by.Desc {
					c = -c
				}
				return c
			}
		}
		return 0
	})
	out := make([]T, 0, len(list))
	for _, k := range list {
		out = append(out, k.one)
	}
	return out, nil
}

// compareKeys orders two values of a property; what is absent comes first.
func compareKeys(a, b any) int {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(strings.ToLower(a), strings.ToLower(b))
		}
	case time.Time:
		if b, ok := b.(time.Time); ok {
			return a.Compare(b)
		}
	case bool:
		if b, ok := b.(bool); ok {
			return strings.Compare(strconv.FormatBool(a), strconv.FormatBool(b))
		}
	}
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	}
	return 1
}

// readItem reads properties of an item: what is in memory there, the rest in what is
// shown of it.
func (m *mailbox) readItem(it *mailItem, show func() map[string]any) members {
	var v map[string]any
	return func(name string) any {
		switch name {
		case "receivedDateTime":
			return time.Unix(it.received.sec, 0)
		case "createdDateTime":
			return time.Unix(it.created.sec, 0)
		case "lastModifiedDateTime":
			return time.Unix(it.changed.sec, 0)
		case "isRead":
			return it.flags&isRead != 0
		case "isDraft":
			return it.draft()
		case "categories":
			return it.categories
		}
		if v == nil {
			v = show()
		}
		return readMember(v, name)
	}
}

// answerFolders answers with a page of a list of folders.
func (s *Service) answerFolders(r *request, context, path string, list []*mailFolder, of []odata.Property, view func(*mailFolder) map[string]any) error {
	q, err := listQueryOf(r, of, false)
	if err != nil {
		return err
	}
	list, err = apply(r.Context(), q, list, func(f *mailFolder) (members, error) {
		v := view(f)
		return func(name string) any { return readMember(v, name) }, nil
	})
	if err != nil {
		return err
	}
	return s.answerList(r, context, path, len(list), func(i int) any { return view(list[i]) })
}
