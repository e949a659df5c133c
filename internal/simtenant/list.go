package simtenant

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// createTeamList makes a library of a team site: a folder of its libraries.
func (s *Service) createTeamList(r *request, p place, taken error) error {
	all, err := s.lists(p.site)
	if err != nil {
		return err
	}
	for _, other := range all {
		if strings.EqualFold(other.library, p.library) {
			return taken
		}
	}
	root := s.rootOf(p)
	if err := root.MkdirAll(path.Dir(p.folder()), 0o755); err != nil {
		return onDisk(fmt.Errorf("make list: %w", err))
	}
	err = root.Mkdir(p.folder(), 0o755)
	if errors.Is(err, fs.ErrExist) {
		return taken
	}
	if err != nil {
		return onDisk(fmt.Errorf("make list: %w", err))
	}
	if p, err = s.placeByList(p.site, p.library); err != nil {
		return err
	}
	v := listView(p)
	v["@odata.context"] = r.base + "/$metadata#sites('" + p.fullID() + "')/lists/$entity"
	return replyGraph(r.w, http.StatusCreated, v)
}
