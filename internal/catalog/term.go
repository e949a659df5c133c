package catalog

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/internal/odata"
)

// A term is a condition of a filter, all of whose terms must be met, and what an
// index can make of it.
type term struct {
	expr   odata.Expr // what it says
	column string     // it asks for nothing but this; "" = for something else
	values []any      // it has one of these
	low    *bound     // or it lies between these
	high   *bound

	condition func(*statement) string // in the place of expr: that of a scope
}

// A bound is an end of a range.
type bound struct {
	value any
	open  bool // the value itself is outside
}

// tighter returns which of two ends of a range leaves less of it. way is 1 for
// low ends and -1 for high ones.
func tighter(a, b *bound, way int) *bound {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	n := way * compareValues(a.value, b.value)
	if n < 0 || n == 0 && b.open {
		return b
	}
	return a
}

// An answer is what is known of a condition without looking at an item.
type answer int

const (
	depends answer = iota
	isNever
	isAlways
)

// asked returns the terms of a list: its own and those of a filter. never says
// that nothing can meet them.
func (q *query) asked(filter odata.Expr) (terms []term, never bool, err error) {
	terms = slices.Clone(q.terms)
	if filter == nil {
		return terms, false, nil
	}
	for _, e := range conjuncts(filter, nil) {
		t, known, err := q.fields.term(e)
		if err != nil {
			return nil, false, err
		}
		if i := slices.IndexFunc(q.within, func(w equal) bool { return w.column == t.column }); i >= 0 && t.values != nil {
			known = isNever
			if slices.Contains(t.values, q.within[i].value) {
				known = isAlways
			}
		}
		switch known {
		case isNever:
			return nil, true, nil
		case depends:
			terms = append(terms, t)
		}
	}
	return terms, false, nil
}

// conjuncts takes a filter apart into conditions that must all be met.
func conjuncts(e odata.Expr, all []odata.Expr) []odata.Expr {
	switch e := e.(type) {
	case odata.And:
		for _, part := range e {
			all = conjuncts(part, all)
		}
		return all
	case odata.Not:
		switch x := e.X.(type) {
		case odata.Not:
			return conjuncts(x.X, all)
		case odata.Compare:
			if op, ok := map[string]string{"eq": "ne", "ne": "eq"}[x.Op]; ok {
				x.Op = op
				return append(all, x)
			}
		case odata.Or:
			for _, part := range x {
				all = conjuncts(odata.Not{X: part}, all)
			}
			return all
		}
	}
	return append(all, e)
}

// term says what an index can make of a condition.
func (f fields) term(e odata.Expr) (term, answer, error) {
	other := term{expr: e}
	if p, ok := enumOf(e); ok {
		field, err := f.find(p.Name)
		if err != nil {
			return other, depends, err
		}
		t := term{expr: e, column: field.expr}
		for _, v := range p.Values {
			if v != unknownFuture && holds(e, v) {
				t.values = append(t.values, v)
			}
		}
		switch len(t.values) {
		case 0:
			return t, isNever, nil
		case len(p.Values) - 1:
			return t, isAlways, nil
		}
		return t, depends, nil
	}
	switch e := e.(type) {
	case odata.Compare:
		field, err := f.find(e.Property.Name)
		if err != nil {
			return other, depends, err
		}
		t, known := field.compared(e.Op, e.Value)
		t.expr = e
		return t, known, nil
	case odata.In:
		var parts odata.Or
		for _, v := range e.Values {
			parts = append(parts, odata.Compare{Property: e.Property, Op: "eq", Value: v})
		}
		t, known, err := f.term(parts)
		t.expr = e
		return t, known, err
	case odata.Or:
		all := term{expr: e}
		for i, part := range e {
			t, known, err := f.term(part)
			switch {
			case err != nil:
				return other, depends, err
			case known == isAlways:
				return other, isAlways, nil
			case known == isNever:
				continue
			case t.values == nil, all.column != "" && t.column != all.column, i > 0 && len(all.values) > 100:
				return other, depends, nil
			}
			all.column = t.column
			for _, v := range t.values {
				if !slices.Contains(all.values, v) {
					all.values = append(all.values, v)
				}
			}
		}
		if all.values == nil {
			return other, isNever, nil
		}
		return all, depends, nil
	case odata.Match:
		field, err := f.find(e.Property.Name)
		if err != nil {
			return other, depends, err
		}
		switch {
		case e.Text == "" && !field.Nullable:
			return other, isAlways, nil
		case e.Func == "startswith" && field.Type == odata.Folded:
			if e.Text == "" {
				return term{expr: e, column: field.expr, low: &bound{"", true}}, depends, nil
			}
			t := term{expr: e, column: field.expr, low: &bound{value: e.Text}}
			if next := following(e.Text); next != "" {
				t.high = &bound{next, true}
			}
			return t, depends, nil
		}
	}
	return other, depends, nil
}

// following returns the first text behind all that begin with prefix, "" if
// there is none.
func following(prefix string) string {
	for prefix != "" {
		r, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case r == utf8.RuneError && size == 1, r == utf8.MaxRune:
			continue
		case r == 0xD7FF: // what comes then is no text
			r = 0xE000 - 1
		}
		return prefix + string(r+1)
	}
	return ""
}

// enumOf returns the property of a condition that speaks of no other, if it is
// an enumeration that nothing is without.
func enumOf(e odata.Expr) (p odata.Property, ok bool) {
	of := func(q odata.Property) (odata.Property, bool) { return q, q.Type == odata.Enum && !q.Nullable }
	all := func(parts []odata.Expr) (odata.Property, bool) {
		first, ok := enumOf(parts[0])
		for _, part := range parts[1:] {
			next, also := enumOf(part)
			ok = ok && also && next.Name == first.Name
		}
		return first, ok
	}
	switch e := e.(type) {
	case odata.And:
		return all(e)
	case odata.Or:
		return all(e)
	case odata.Not:
		return enumOf(e.X)
	case odata.Compare:
		return of(e.Property)
	case odata.In:
		return of(e.Property)
	}
	return p, false
}

// holds tells whether a condition on an enumeration holds for one of its values.
func holds(e odata.Expr, value string) bool {
	is := func(v odata.Value) bool { return !v.Null && v.Text == value }
	switch e := e.(type) {
	case odata.And:
		return !slices.ContainsFunc(e, func(e odata.Expr) bool { return !holds(e, value) })
	case odata.Or:
		return slices.ContainsFunc(e, func(e odata.Expr) bool { return holds(e, value) })
	case odata.Not:
		return !holds(e.X, value)
	case odata.Compare:
		return is(e.Value) == (e.Op == "eq")
	case odata.In:
		return slices.ContainsFunc(e.Values, is)
	}
	return false
}

// yearOne is how the first instant of the year 1 would be stored.
const yearOne = -62_135_596_800_000_000

// compared says what an index can make of a comparison.
func (f field) compared(op string, v odata.Value) (t term, known answer) {
	t.column = f.expr
	if f.column != "" {
		t.column = f.column
	}
	opposite := map[string]answer{"eq": isNever, "ne": isAlways}
	switch {
	case v.Null && !f.Nullable:
		return t, opposite[op]
	case v.Null && f.null:
		t.values = []any{map[string]int64{"eq": 0, "ne": 1}[op]}
		return t, depends
	case v.Null && op == "eq":
		t.values = []any{""}
		return t, depends
	case v.Null:
		return term{}, depends
	case f.Type == odata.Time:
		return f.comparedTime(t, op, v.Time)
	case op == "eq" && f.Nullable && v.Text == "":
		return t, isNever
	case op == "eq":
		t.values = []any{v.Text}
	case op == "ne" || f.Type != odata.Folded:
		return term{}, depends
	default:
		if f.Nullable {
			t.low = &bound{"", true}
		}
		t.between(op, v.Text)
	}
	return t, depends
}

// between narrows a term by a comparison.
func (t *term) between(op string, value any) {
	b := &bound{value, strings.HasSuffix(op, "t")} // lt, gt
	if op[0] == 'l' {
		t.high = tighter(t.high, b, -1)
	} else {
		t.low = tighter(t.low, b, 1)
	}
}

// comparedTime is compared for times, which may lie between the microseconds
// that are stored.
func (f field) comparedTime(t term, op string, at time.Time) (term, answer) {
	floor := at.Truncate(time.Microsecond)
	stored := floor.UnixMicro()
	if between := !floor.Equal(at); between {
		switch op {
		case "eq":
			return t, isNever
		case "ne":
			return t, isAlways
		case "lt":
			op = "le"
		case "ge":
			op = "gt"
		}
	}
	if f.column != "" { // the year 1 is stored as 0, and nothing before 1970
		switch {
		case stored == yearOne:
			stored = 0
		case stored < yearOne: // before everything
			stored = -1
		case stored <= 0: // between the two, where nothing is
			switch op {
			case "eq":
				return t, isNever
			case "ne":
				return t, isAlways
			case "lt":
				op = "le"
			case "ge":
				op = "gt"
			}
			stored = 0
		}
	}
	switch op {
	case "eq":
		t.values = []any{stored}
	case "ne":
		return term{}, depends
	default:
		t.between(op, stored)
	}
	return t, depends
}
