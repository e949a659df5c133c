// Package identity says who is asking and what they may do: it verifies bearer
// tokens, and holds the one table of which permissions suffice for which
// operation.
//
// It reaches the network only for the signing keys of the issuers it is told
// to trust, and only when a token needs one; a slow issuer holds up nobody whose
// key is known. It knows nothing of HTTP routes:
// those are built from its table by package graphapi.
package identity

import (
	"strings"

	"holdfast/internal/backup"
)

// A Permission is the name of an application role or a delegated scope.
type Permission string

// The permissions of the Backup Storage API.
const (
	ConfigurationRead  Permission = "BackupRestore-Configuration.Read.All"
	ConfigurationWrite Permission = "BackupRestore-Configuration.ReadWrite.All"
	ControlRead        Permission = "BackupRestore-Control.Read.All"
	ControlWrite       Permission = "BackupRestore-Control.ReadWrite.All"
	RestoreRead        Permission = "BackupRestore-Restore.Read.All"
	RestoreWrite       Permission = "BackupRestore-Restore.ReadWrite.All"
	SearchRead         Permission = "BackupRestore-Search.Read.All"
)

// Permissions is every permission there is.
var Permissions = []Permission{
	ConfigurationRead, ConfigurationWrite, ControlRead, ControlWrite, RestoreRead, RestoreWrite, SearchRead,
}

// PersonalTenant is the tenant that Entra gives the tokens of personal
// accounts. No operation serves them.
const PersonalTenant backup.TenantID = "9188040d-6c67-4c5b-b112-36a304b66dad"

// A Caller is who a verified token speaks for.
type Caller struct {
	Tenant    backup.TenantID
	AppID     string // the client application
	AppName   string // where the token says it
	UserID    string // the directory object of the user; only of a delegated call
	UserName  string
	Email     string
	Delegated bool // a user is present; otherwise the application acts for itself
	Granted   map[Permission]bool
	// DirectoryRoles are the template ids of the user's roles in the directory, in
	// lower case.
	DirectoryRoles []string
	// Roles are the user's here, which count if Narrowed: whoever has none then may do
	// nothing.
	Roles         []Role
	Limited       []Limited // those that they have within a scope only
	Narrowed      bool
	GroupsLeftOut bool // there are too many for a token
}

// SharePointBackupAdministrator is the directory role that lets a user look
// into backups and restore parts of them, by its template id.
const SharePointBackupAdministrator = "9d3e04ba-3ee4-4d1b-a3a7-9aef423a09be"

// Identities is the caller as createdBy and lastModifiedBy record it.
func (c Caller) Identities() backup.IdentitySet {
	return backup.IdentitySet{
		Application: backup.Identity{ID: c.AppID, DisplayName: c.AppName},
		User:        backup.Identity{ID: c.UserID, DisplayName: c.UserName, Email: c.Email},
	}
}

// May reports whether the caller's permissions suffice for op. An operation without
// a row in the table is allowed to nobody. What the caller's roles say is CheckRole's.
func (c Caller) May(op Operation) bool {
	if c.Tenant == PersonalTenant {
		return false
	}
	suffices := Table[op].Application
	if c.Delegated {
		suffices = Table[op].Delegated
	}
	for _, p := range suffices {
		if c.Granted[p] {
			return true
		}
	}
	return false
}

// shells are the applications of Microsoft's PowerShell modules for Graph and
// for Azure.
var shells = map[string]bool{
	"14d82eec-204b-4c2f-b7e8-296a70dab67e": true,
	"1950a258-227b-4e31-a9cf-717495945fc2": true,
}

// Shell reports whether the caller is a PowerShell client. Its application says
// so; a script's own application is like any other.
func (c Caller) Shell() bool { return shells[strings.ToLower(c.AppID)] }
