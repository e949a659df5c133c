package backup

import "time"

// An ItemKind is what a drive item is.
type ItemKind string

const (
	File   ItemKind = "file"
	Folder ItemKind = "folder"
)

// PointTags marks restore points.
type PointTags string

const (
	TagNone        PointTags = "none"
	TagFastRestore PointTags = "fastRestore"
)

// A Point is a state of a drive that can be restored.
type Point struct {
	ID      PointID
	Tenant  TenantID
	Unit    UnitID
	Drive   DriveID   // the drive it is a state of
	At      time.Time // the moment restored to: protectionDateTime
	Expires time.Time
	Tags    PointTags
	Tree    string // the point's directory in the vault
	Files   int64
	Folders int64
	Bytes   int64
}
