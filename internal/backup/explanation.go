package backup

// An Explanation says why an owner's drive is in a policy, or is not. It is of
// what the catalog knows: memberships are those of a rule's last evaluation.
type Explanation struct {
	Policy   PolicyID
	Owner    SubjectID
	Included bool // whether the policy holds the drive, and means to keep it
	Unit     *Unit
	Reasons  []Reason
}

// A Reason is a part of an explanation, in a word for programs and in a
// sentence for people.
type Reason struct {
	Code    ReasonCode `json:"code"`
	Message string     `json:"message"`
	Rule    RuleID     `json:"ruleId,omitempty"`
	Group   ObjectID   `json:"groupId,omitempty"`
	Policy  PolicyID   `json:"policyId,omitempty"`
}

// A ReasonCode names a kind of reason.
type ReasonCode string

// What there is to say of an owner and a policy. The first five are why it is
// in or out; the others explain them.
const (
	HeldManually     ReasonCode = "heldManually"      // by hand, a bulk job or a static rule
	HeldByRule       ReasonCode = "heldByRule"        // by the policy's dynamic rule
	HeldByAll        ReasonCode = "heldByFullService" // the policy protects all there is
	OutOfPolicy      ReasonCode = "notInPolicy"       // nothing has brought it in
	RemovalRequested ReasonCode = "removalRequested"  // it is on its way out

	Excluded         ReasonCode = "excluded" // by an exclusion unit
	InAnotherPolicy  ReasonCode = "inAnotherPolicy"
	TakenOut         ReasonCode = "takenOut" // it was in a policy once
	Offboarding      ReasonCode = "offboarding"
	NotInDirectory   ReasonCode = "notInDirectory"
	PolicyNotInForce ReasonCode = "policyNotInForce"
	BackupFailing    ReasonCode = "backupFailing"
	RuleMatches      ReasonCode = "ruleMatches"
	RuleNoMatch      ReasonCode = "ruleDoesNotMatch"
	RuleNotEvaluated ReasonCode = "ruleNotEvaluated"
	GroupNotRead     ReasonCode = "groupNotRead" // unknown, or refused by the directory
)
