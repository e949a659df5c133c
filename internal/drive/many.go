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

// A Doomed item goes to the recycle bin if it has the tag.
type Doomed struct {
	ID  backup.ItemID
	Tag string
}

// DeleteItems does what Delete does for up to MaxAhead items in one request, and reports
// which of them the source says it has deleted: the others are for Delete.
func (c *Client) DeleteItems(ctx context.Context, d backup.DriveID, all []Doomed) []bool {
	done := make([]bool, len(all))
	for i, status := range c.deleteAll(ctx, "delete items of drive "+string(d), d, all) {
		done[i] = status == http.StatusNoContent
	}
	return done
}

// GuardsDeletes reports whether the source refuses to delete together with others what is
// not what it is taken for, which none says of itself. It asks the source to delete an item
// under a tag that it never had; one that does not look at it deletes the item.
func (c *Client) GuardsDeletes(ctx context.Context, d backup.DriveID, x Doomed) bool {
	x.Tag = neverTag(x.Tag)
	return c.deleteAll(ctx, onItem("delete what never was", d, x.ID), d, []Doomed{x})[0] == http.StatusPreconditionFailed
}

// deleteAll returns the status of each answer, by the number of the item.
func (c *Client) deleteAll(ctx context.Context, op string, d backup.DriveID, all []Doomed) map[int]int {
	var body []byte
	for i, x := range all {
		if c.enter(ctx, op, costWrite) != nil { // each counts as a call
			return nil
		}
		body = c.request(body, i, http.MethodDelete, c.at("drives", string(d), "items", string(x.ID)))
		body = append(body, `,"headers":{"If-Match":"`...)
		body = append(body, quotable.Replace(x.Tag)...)
		body = append(body, `"}}`...)
	}
	answers, _ := c.batch(ctx, op, body)
	statuses := map[int]int{}
	for i, a := range each(answers, len(all)) {
		statuses[i] = a.Status
	}
	return statuses
}
