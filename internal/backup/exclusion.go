package backup

// An Exclusion keeps a subject out of the policy that protects all there is of its
// workload. No rule and no bulk addition job brings it into any other policy either;
// a person may, by naming it.
type Exclusion struct {
	ID       ExclusionID
	Tenant   TenantID
	Workload Workload
	Policy   PolicyID
	Subject  SubjectID
	Name     string // the subject's, where the directory mirror knows it
	Address  string // the subject's, where the directory mirror knows it
	SourceID string // of a site: what the source calls it in full, where that is known
	Created  Stamp
}

// NotExcluded is the answer to the removal of an exclusion that the policy does not
// have, or that does not exist.
func NotExcluded() *Error {
	return Fail(InvalidUnit, "The policy has no such exclusion unit. Nothing was removed; list the policy's exclusion units to see which it has.").On("id")
}

// IsExcluded is the answer to whoever would bring an excluded subject into a policy
// otherwise than by hand.
func IsExcluded(w Workload) *Error {
	return Fail(OperationNotAllowed, "This "+w.Subject()+" is excluded from backup by an exclusion unit. Remove the exclusion, or add the "+w.Subject()+" to a policy by hand.").On("subject")
}

// OnlyExcludes is the answer to whoever would add units, or a rule, to a policy that
// protects all there is.
func OnlyExcludes(code Code) *Error {
	return Fail(code, "The policy protects all there is by itself (protectionMode fullServiceBackup): it takes no units and no rules. Name what is to be left out as exclusion units.").On("protectionMode")
}

// OnlyIncludes is the answer to whoever would exclude something from a policy that
// protects only what it names.
func OnlyIncludes(code Code) *Error {
	return Fail(code, "The policy protects only what is added to it (protectionMode standard), so that nothing can be excluded from it. Remove the unit instead.").On("protectionMode")
}
