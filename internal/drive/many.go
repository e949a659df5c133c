package drive

import (
	"context"
	"encoding/json"
	"net/http"
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
