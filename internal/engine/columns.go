package engine

import (
	"strconv"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
)

// What people note of files and folders in a library's columns is backed up as the
// items of a list are, from the list that the library is, whose delta tells it beside
// the drive's: one file of JSON for each, named by its number in the list and its id in
// the drive. A column that changed alone so makes a point, and no content is read for
// it.
//
//	columns/Documents (columns)/
//	├─ schema.json         the library's columns and content types
//	└─ 1-999/17-01ABC.json what the columns hold of a file
//
// There is no table as of other lists: libraries are large, and it would be written
// anew with each change of any of their files.

// columnsOf are the columns of a library, which is the list d as well.
func columnsOf(l library, d drive.Drive) library {
	return besideOf(l, backup.FileColumns, d)
}

// columnsName is the name under which the columns of a file are kept.
func columnsName(n int, file backup.ItemID) string {
	return strconv.Itoa(n) + "-" + string(file) + ".json"
}

// fileIn is the file whose columns are kept under a name, or "".
func fileIn(name string) backup.ItemID {
	_, file, _ := strings.Cut(strings.TrimSuffix(name, ".json"), "-")
	return backup.ItemID(file)
}
