package catalog

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/odata"
)

// A field is a property by which a list may be filtered or ordered: what its
// caller must know of it, and where the database has it. In the database a text
// that is absent is the empty one, and no text that is there is.
type field struct {
	odata.Property
	expr   string
	null   bool   // what is absent is NULL; it is compared with null only
	holder string // what there may be several of: the condition that %s is one, in the place of expr
	column string // what indexes have of it, where that is not expr: of a time 0 for the year 1, of what may be NULL whether it is not
}

type fields []field

// properties are the fields as the reader of filters wants them.
func (f fields) properties() []odata.Property {
	var all []odata.Property
	for _, one := range f {
		all = append(all, one.Property)
	}
	return all
}

func (f fields) find(name string) (field, error) {
	i := slices.IndexFunc(f, func(one field) bool { return one.Name == name })
	if i < 0 {
		return field{}, fmt.Errorf("the list has no property %q", name)
	}
	return f[i], nil
}

// unknownFuture is a member of every enumeration that may grow. Nothing has it.
const unknownFuture = "unknownFutureValue"

func filterID(name, expr string, bad backup.Code) field {
	return field{Property: odata.Property{Name: name, Type: odata.GUID, BadID: bad, Filters: true}, expr: expr}
}

func filterEnum(name, expr string, values ...string) field {
	return field{Property: odata.Property{Name: name, Type: odata.Enum, Values: append(values, unknownFuture), Filters: true}, expr: expr}
}

func filterTime(name, expr string, orders bool) field {
	return field{Property: odata.Property{Name: name, Type: odata.Time, Filters: true, Orders: orders}, expr: expr}
}

func filterName(name, expr string, orders, nullable bool) field {
	return field{Property: odata.Property{Name: name, Type: odata.Folded, Filters: true, Orders: orders, Nullable: nullable}, expr: expr}
}

func filterText(name, expr string, canon func(string) string) field {
	return field{Property: odata.Property{Name: name, Filters: true, Canon: canon}, expr: expr}
}

func absent(f field) field { f.Nullable = true; return f }

// siteKey is the id of a site, however it is spelled, as units have it.
func siteKey(id string) string {
	if key, ok := backup.SharePoint.ParseSubject(id); ok {
		return string(key)
	}
	return id
}

// The properties of each list.
var (
	policyFields = fields{
		filterID("id", "policy.id", ""),
		filterName("displayName", "policy.name_key", true, false),
		filterEnum("status", policyStatus, "inactive", "activeWithErrors", "updating", "active"),
		filterTime("createdDateTime", "policy.created", true),
		filterTime("lastModifiedDateTime", "policy.modified", false),
	}
	unitListFields = fields{
		filterID("id", "u.id", backup.InvalidProtectionUnitID),
		absent(filterID("policyId", "u.policy", backup.InvalidPolicyID)),
		filterEnum("status", "u.status", "protectRequested", "protected", "unprotectRequested", "unprotected", "removeRequested",
			"offboardRequested", "offboarded", "cancelOffboardRequested"),
		filterID("directoryObjectId", "u.subject", ""),
		{Property: odata.Property{Name: "siteId", Nullable: true, Filters: true, Canon: siteKey}, expr: "CASE u.workload WHEN 'sharePoint' THEN u.subject ELSE '' END"},
		{Property: odata.Property{Name: "error", Type: odata.Enum, Nullable: true, Filters: true}, expr: "u.problem", null: true, column: "u.failing"},
		filterName("email", "u.address_key", false, true),
		filterName("displayName", "u.name_key", true, true),
		filterTime("createdDateTime", "u.created", true),
		filterTime("lastModifiedDateTime", "u.modified", true),
		{Property: odata.Property{Name: "offboardRequestedDateTime", Type: odata.Time, Filters: true},
			expr: "CASE WHEN u.offboard_requested = 0 THEN -62135596800000000 ELSE u.offboard_requested END", column: "u.offboard_requested"},
	}
	bulkJobFields = fields{
		filterID("id", "b.id", ""),
		filterEnum("status", "b.status", "active", "completed", "completedWithErrors"),
		filterTime("createdDateTime", "b.created", true),
	}
	exclusionFields = fields{
		filterID("id", "x.id", ""),
		filterID("directoryObjectId", "x.subject", ""),
		{Property: odata.Property{Name: "siteId", Filters: true, Canon: siteKey}, expr: "x.subject"},
		filterTime("createdDateTime", "x.created", true),
	}
	ruleFields = fields{
		filterID("id", "r.id", backup.InvalidInclusionRuleID),
		filterEnum("status", "r.status", "active", "completed", "completedWithErrors", "updateRequested", "deleteRequested"),
		filterTime("createdDateTime", "r.created", true),
	}
	sessionFields = fields{
		filterID("id", "s.id", ""),
		filterEnum("status", "s.status", "draft", "activating", "active", "completed", "completedWithError", "failed"),
		filterEnum("restoreJobType", "s.job_type", "standard", "bulk", "granular"),
		filterTime("createdDateTime", "s.created", true),
		filterTime("lastModifiedDateTime", "s.modified", false),
	}
	artifactFields = fields{
		filterID("id", "a.id", ""),
		filterEnum("status", "a.status", "added", "scheduling", "scheduled", "inProgress", "succeeded", "failed"),
		filterEnum("destinationType", "a.destination", "new", "inPlace"),
		{Property: odata.Property{Name: "startDateTime", Type: odata.Time, Orders: true}, expr: "a.started"},
	}
	browseFields = fields{
		filterID("id", "b.id", ""),
		filterEnum("status", "b.status", "creating", "created", "failed"),
		filterTime("createdDateTime", "b.created", true),
	}

	PolicyProperties    = policyFields.properties()
	UnitProperties      = unitListFields.properties()
	BulkJobProperties   = bulkJobFields.properties()
	ExclusionProperties = exclusionFields.properties()
	RuleProperties      = ruleFields.properties()
	SessionProperties   = sessionFields.properties()
	ArtifactProperties  = artifactFields.properties()
	BrowseProperties    = browseFields.properties()
)

const (
	never  = "1 = 0"
	always = "1 = 1"
)

// filter returns the condition that e is, and adds its values as parameters.
// The condition is true or false, never NULL.
func (s *statement) filter(e odata.Expr) (string, error) {
	parts := func(all []odata.Expr, operator string) (string, error) {
		out := make([]string, len(all))
		for i, e := range all {
			var err error
			if out[i], err = s.filter(e); err != nil {
				return "", err
			}
		}
		return "(" + strings.Join(out, operator) + ")", nil
	}
	switch e := e.(type) {
	case odata.And:
		return parts(e, " AND ")
	case odata.Or:
		return parts(e, " OR ")
	case odata.Not:
		x, err := s.filter(e.X)
		return "NOT (" + x + ")", err
	case odata.Compare:
		f, err := s.q.fields.find(e.Property.Name)
		if err != nil {
			return "", err
		}
		return s.compare(f, e.Op, e.Value), nil
	case odata.In:
		f, err := s.q.fields.find(e.Property.Name)
		if err != nil {
			return "", err
		}
		ways := make([]string, len(e.Values))
		for i, v := range e.Values {
			ways[i] = s.compare(f, "eq", v)
		}
		return "(" + strings.Join(ways, " OR ") + ")", nil
	case odata.Match:
		f, err := s.q.fields.find(e.Property.Name)
		if err != nil {
			return "", err
		}
		return s.match(f, e.Func, e.Text), nil
	}
	return "", fmt.Errorf("a filter has a part of the unknown type %T", e)
}

var operators = map[string]string{"eq": " = ", "ne": " <> ", "lt": " < ", "le": " <= ", "gt": " > ", "ge": " >= "}

func (s *statement) compare(f field, op string, v odata.Value) string {
	switch {
	case v.Null && !f.Nullable:
		if op == "eq" {
			return never
		}
		return always
	case f.holder != "" && op == "ne":
		return "NOT " + fmt.Sprintf(f.holder, s.arg(v.Text))
	case f.holder != "":
		return fmt.Sprintf(f.holder, s.arg(v.Text))
	case v.Null && f.null && op == "eq":
		return f.expr + " IS NULL"
	case v.Null && f.null:
		return f.expr + " IS NOT NULL"
	case v.Null:
		return f.expr + operators[op] + "''"
	case f.Type == odata.Time:
		return s.compareTime(f.expr, op, v.Time)
	case op == "eq" && f.Nullable:
		return "(" + f.expr + " <> '' AND " + f.expr + " = " + s.arg(v.Text) + ")"
	case op == "ne" && f.Nullable:
		return "(" + f.expr + " = '' OR " + f.expr + " <> " + s.arg(v.Text) + ")"
	case op == "eq", op == "ne":
		return f.expr + operators[op] + s.arg(v.Text)
	}
	c := s.d.Bytewise(f.expr) + operators[op] + s.arg(v.Text)
	if f.Nullable {
		c = "(" + f.expr + " <> '' AND " + c + ")"
	}
	return c
}

// compareTime compares with a time, which may lie between the microseconds
// that are stored.
func (s *statement) compareTime(expr, op string, at time.Time) string {
	floor := at.Truncate(time.Microsecond)
	if between := !floor.Equal(at); between {
		switch op {
		case "eq":
			return never
		case "ne":
			return always
		case "lt":
			op = "le"
		case "ge":
			op = "gt"
		}
	}
	return expr + operators[op] + s.arg(floor.UnixMicro())
}

func (s *statement) match(f field, function, text string) string {
	param := "CAST(" + s.arg(text) + " AS TEXT)"
	var c string
	switch function {
	case "contains":
		c = s.d.Position(f.expr, param) + " > 0"
	case "startswith":
		c = "substr(" + f.expr + ", 1, length(" + param + ")) = " + param
	default: // endswith
		c = "substr(" + f.expr + ", length(" + f.expr + ") - length(" + param + ") + 1) = " + param
	}
	if f.Nullable {
		return "(" + f.expr + " <> '' AND " + c + ")"
	}
	return c
}
