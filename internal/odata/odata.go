// Package odata is the grammar of the wire: the one form of a URL, query
// options, preferences, page tokens, JSON bodies read strictly, delta
// payloads, and the shape of entities, collections and errors.
//
// It knows nothing of backup but its errors, and touches neither network nor
// storage. No input makes it panic, and what it refuses it refuses with an
// error that a person may read.
package odata

import "holdfast/internal/backup"

// invalid is a refusal of a request that is not well formed.
func invalid(message string) *backup.Error { return backup.Fail(backup.InvalidRequest, message) }
