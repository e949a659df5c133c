package drive

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"holdfast/internal/backup"
)

// A Found is what the source says of an item that was asked for together with others.
type Found struct {
	Item Item // if it is there
	// There and Missing are what the source says. If neither is true it said nothing
	// that is clear: Client.Item finds out more.
	There, Missing bool
}

// Items asks for up to MaxAhead items in one request, and returns what the source says
// of each, in their order.
func (c *Client) Items(ctx context.Context, d backup.DriveID, ids []backup.ItemID) []Found {
	found := make([]Found, len(ids))
	op := "look at items of drive " + string(d)
	var body []byte
	for i, id := range ids {
		if c.enter(ctx, op, costGet) != nil { // each counts as a call
			return found
		}
		body = c.request(body, i, http.MethodGet, c.at("drives", string(d), "items", string(id), "?"+itemFields))
		body = append(body, '}')
	}
	answers, _ := c.batch(ctx, op, body)
	for i, a := range each(answers, len(ids)) {
		it, whole := a.item(http.StatusOK)
		switch {
		case whole && strings.EqualFold(string(it.ID), string(ids[i])):
			found[i] = Found{Item: it, There: true}
		case a.Status == http.StatusNotFound:
			var said struct{ Error struct{ Code string } }
			found[i].Missing = json.Unmarshal(a.Body, &said) == nil && said.Error.Code == "itemNotFound"
		}
	}
	return found
}

// MakeFolders makes up to MaxAhead folders in one request, and returns what came of each,
// in their order: those that were not made are for CreateFolder, which finds out why. One
// that was made may not have its times, which are then for DateItems. Where the source
// makes none in this way, ok is false.
func (c *Client) MakeFolders(ctx context.Context, d backup.DriveID, folders []NewItem) (made []Written, ok bool) {
	made = make([]Written, len(folders))
	op := "make folders in drive " + string(d)
	var body []byte
	for i := range folders {
		wire, err := json.Marshal(folders[i].folder())
		if err != nil || c.enter(ctx, op, costWrite) != nil { // each counts as a call
			return made, true
		}
		body = c.request(body, i, http.MethodPost, c.at("drives", string(d), "items", string(folders[i].Parent), "children"))
		body = append(append(bodyOf(body, "application/json", ""), wire...), '}')
	}
	answers, sent := c.batch(ctx, op, body)
	ok = sent && len(answers) == 0 // nobody knows
	for i := range made {
		made[i].Unclear = sent
	}
	for i, a := range each(answers, len(folders)) {
		it, whole := a.item(http.StatusCreated, http.StatusOK)
		switch f := &folders[i]; {
		case whole && it.Kind == backup.Folder && it.isAt(f.Parent, f.Name):
			made[i], ok = Written{Item: it, OK: true}, true
		case a.Status >= 400 && a.Status < 500:
			made[i].Unclear = false
		}
	}
	return made, ok
}

// A Dating gives an item its times, and a name unless that is "".
type Dating struct {
	ID    backup.ItemID
	Name  string
	Times Times
}

// DateItems does so for up to MaxAhead items in one request, and reports of which the
// source says that it was done: the others are for Patch. Whether the times are the right
// ones is seen when all is listed: the answers are as long as all that is known of the items.
func (c *Client) DateItems(ctx context.Context, d backup.DriveID, all []Dating) []bool {
	done := make([]bool, len(all))
	op := "date items of drive " + string(d)
	var body []byte
	var asked []int
	for i, x := range all {
		wire, err := json.Marshal(struct {
			Name  string     `json:"name,omitempty"`
			Times *wireTimes `json:"fileSystemInfo"`
		}{x.Name, x.Times.wire()})
		if err != nil || c.enter(ctx, op, costWrite) != nil {
			continue
		}
		body = c.request(body, len(asked), http.MethodPatch, c.at("drives", string(d), "items", string(x.ID)))
		body = append(append(bodyOf(body, "application/json", ""), wire...), '}')
		asked = append(asked, i)
	}
	if len(asked) == 0 {
		return done
	}
	answers, _ := c.batch(ctx, op, body)
	for n, a := range each(answers, len(asked)) {
		i := asked[n]
		done[i] = a.Status == http.StatusOK && bytes.Contains(a.Body, []byte(strconv.Quote(string(all[i].ID))))
	}
	return done
}
