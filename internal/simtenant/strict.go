package simtenant

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
)

// The service's own rules for names, paths and room, which hold where the habits
// ask for them. Without, the rules are those of the file system: a folder of real
// files may hold any of them.

const (
	maxPath = 400 // UTF-16 units of a path, from below the root
	maxName = 255 // and of a name
)

// reservedNames are those that no item may have, in lower case.
var reservedNames = []string{".lock", "con", "prn", "aux", "nul", "desktop.ini"}

// strictName says why the service would not take a name; empty if it would.
func strictName(name string, what kind, atRoot bool) string {
	folded := strings.ToLower(name)
	device, _, _ := strings.Cut(folded, ".")
	switch {
	case strings.ContainsAny(name, `"*:<>?/\|`) || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' }):
		return `holds one of " * : < > ? / \ | or a control character`
	case strings.TrimSpace(name) != name:
		return "begins or ends with a space"
	case strings.HasSuffix(name, "."):
		return "ends with a period"
	case slices.Contains(reservedNames, folded),
		len(device) == 4 && (strings.HasPrefix(device, "com") || strings.HasPrefix(device, "lpt")) && device[3] >= '0' && device[3] <= '9' && device == folded:
		return "is reserved"
	case strings.Contains(folded, "_vti_"):
		return "holds _vti_"
	case strings.HasPrefix(name, "~$"):
		return "begins with ~$"
	case what == isFolder && strings.HasPrefix(name, "~"):
		return "is a folder's and begins with ~"
	case what == isFolder && atRoot && folded == "forms":
		return "is that of a folder of the library's own"
	case units(name) > maxName:
		return "is longer than 255 characters"
	}
	return ""
}

func units(s string) int { return len(utf16.Encode([]rune(s))) }

// allows refuses a new name in a folder, or so many bytes more in the drive, where
// the service would.
func (d *drive) allows(parent *item, name string, what kind, more int64) error {
	opts := d.svc.faults.options()
	if d.place.isMailbox() { // whose files Exchange does not name
		return d.room(more)
	}
	if why := strictName(name, what, parent == d.root); opts.Strict && why != "" {
		return badRequest("The name " + quoted(name) + " " + why + ".").because("invalidPath")
	}
	if opts.Strict && units(strings.TrimPrefix(path.Join(parent.path(), name), "./")) > maxPath {
		return badRequest("The path is longer than 400 characters.").because("pathIsTooLong")
	}
	return d.room(more)
}

// room refuses more bytes than the drive may hold.
func (d *drive) room(more int64) error {
	if quota := d.svc.faults.options().Quota; quota > 0 && more > 0 && d.root.size+more > quota {
		return fail(http.StatusInsufficientStorage, "quotaLimitReached", "The drive is full.").because("quotaLimitReached")
	}
	return nil
}

// quotaView tells how full the drive is.
func (d *drive) quotaView() object {
	total := int64(totalQuota)
	if quota := d.svc.faults.options().Quota; quota > 0 {
		total = quota
	}
	state := "normal"
	switch used := float64(d.root.size) / float64(total); {
	case used >= 1:
		state = "exceeded"
	case used >= 0.99:
		state = "critical"
	case used >= 0.9:
		state = "nearing"
	}
	return object{"total": total, "used": d.root.size, "remaining": max(0, total-d.root.size), "deleted": 0, "state": state}
}
