package console

// A meAnswer is what the API says of the caller: of the whole tenant, or of one thing.
type meAnswer struct {
	TenantID, TenantDisplayName string
	Operations                  []struct {
		Operation, Reason string
		IsAllowed         bool
	}
}

// Permits are the operations that a person may not do, each with why, as the API says.
// Pages leave out what would be refused anyhow: it is the API that refuses. Where it does
// not tell, they offer all.
type permits map[string]string

// Do reports whether all of some operations may be done.
func (p permits) Do(operations ...string) bool { return p.Why(operations...) == "" }

// Why says why one of some operations may not be done, "" if all may.
func (p permits) Why(operations ...string) string {
	for _, op := range operations {
		if p[op] != "" {
			return p[op]
		}
	}
	return ""
}

// permits asks what the person may do with what the page is of.
func (v *visit) permits() permits {
	me, err := get[meAnswer](v.ctx(), v.api, v.of+"/holdfast.me")
	if err != nil {
		return nil
	}
	not := permits{}
	for _, op := range me.Operations {
		if !op.IsAllowed {
			not[op.Operation] = firstLine(op.Reason, "You may not do that.")
		}
	}
	return not
}

// ofUnit says that the page is of a unit.
func (v *visit) ofUnit(u unitAnswer) {
	if u.ID != "" {
		v.of = anyUnit + "/" + u.ID
	}
}
