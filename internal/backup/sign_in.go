package backup

import "time"

// A SignIn is one of a browser at the console, in one tenant, as it is kept for all processes
// of a database. Who it is and what they hold is sealed with a key that only the browser
// has: whoever keeps it can read none of it.
type SignIn struct {
	Browser string // follows from the browser's cookie, and that does not from it
	Tenant  TenantID
	About   string // sealed
	Tokens  string // sealed
	Notes   string // sealed; "" for none
	Created time.Time
	Used    time.Time // last, within a minute or so
	Expires time.Time
}
