package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// A Container is where the backup of one of the several containers of a unit
// stands: of a library or a list of a site. What a DriveState says of a drive it says of the
// container; they are committed together, as one point.
type Container struct {
	Drive   backup.DriveID       `json:"-"` // what the source knows it by
	Kind    backup.ContainerKind `json:"kind,omitempty"`
	Name    string               `json:"name"`
	WebURL  string               `json:"webUrl,omitempty"`
	Site    string               `json:"site,omitempty"`    // that it is in, a site or one below it
	Library backup.DriveID       `json:"library,omitempty"` // that columns are of
	Tree    string               `json:"tree,omitempty"`    // "" before it was first backed up
	Cursor  string               `json:"cursor,omitempty"`
	Pending []backup.Unread      `json:"pending,omitempty"`
	Full    time.Time            `json:"full,omitzero"`
	Changed time.Time            `json:"changed,omitzero"`
	Top     int64                `json:"top"`
	Files   int64                `json:"files"`
	Folders int64                `json:"folders"`
	Bytes   int64                `json:"bytes"`
	Named   string               `json:"-"`                // the tree that the index of names was last written for; "" if there is none
	Failed  *backup.Unread       `json:"failed,omitempty"` // why the newest point holds it as it was before, or not at all
}

// containers returns the containers of a unit whose state is that of a drive.
func (c *Catalog) containers(ctx context.Context, q database.Queryer, tenant backup.TenantID, unit backup.UnitID, drive backup.DriveID) ([]Container, error) {
	rows, err := q.QueryContext(ctx, `SELECT container, state,
			coalesce((SELECT x.tree FROM name_index x WHERE x.unit = container_state.unit AND x.drive = container_state.container), '') FROM container_state WHERE unit = $1 AND drive = $2 AND tenant = $3 ORDER BY container`,
		string(unit), string(drive), string(tenant))
	all, err := collect(rows, err, func(r scanner) (s Container, err error) {
		var text, named string
		var id backup.DriveID
		if err := r.Scan(&id, &text, &named); err != nil {
			return s, err
		}
		err = json.Unmarshal([]byte(text), &s)
		s.Drive, s.Named = id, named
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the containers of unit %s: %w", unit, err)
	}
	return all, nil
}

// setContainers stores the containers of a unit, and forgets those that are none
// any more. Those that are as they were are not written.
func (c *Catalog) setContainers(ctx context.Context, tx *database.Tx, p backup.Point, containers []Container) error {
	was, err := c.containers(ctx, tx, p.Tenant, p.Unit, p.Drive)
	if err != nil {
		return err
	}
	before := map[backup.DriveID]string{}
	for _, s := range was {
		before[s.Drive] = toJSON(s)
	}
	for _, s := range containers {
		text := toJSON(s)
		stored, known := before[s.Drive]
		delete(before, s.Drive)
		if known && stored == text {
			continue
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO container_state (unit, drive, container, tenant, state) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (unit, drive, container) DO UPDATE SET state = excluded.state`,
			string(p.Unit), string(p.Drive), string(s.Drive), string(p.Tenant), text)
		if err != nil {
			return fmt.Errorf("write container %s: %w", s.Drive, err)
		}
	}
	for id := range before {
		_, err := tx.ExecContext(ctx, `DELETE FROM container_state WHERE unit = $1 AND drive = $2 AND container = $3 AND tenant = $4`,
			string(p.Unit), string(p.Drive), string(id), string(p.Tenant))
		if err != nil {
			return fmt.Errorf("forget container %s: %w", id, err)
		}
	}
	return nil
}
