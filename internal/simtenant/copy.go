package simtenant

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
)

// monitorPrefix is where the progress of copies is told.
const monitorPrefix = "/_sharepoint/monitor/"

// monitors are the copies that were asked for lately. They end with the
// process.
type monitors struct {
	sync.Mutex
	byID map[string]*monitor
}

type monitor struct {
	tenant   *tenant
	made     time.Time
	asked    int // how often its progress was asked for
	resource string
	failed   *refusal
}

// monitorLife is how long the outcome of a copy is told.
const monitorLife = 24 * time.Hour

// node is something to be copied: a file that is staged, or a folder.
type node struct {
	name  string
	up    *staged // nil for a folder
	below []node
}

// collect stages what is to be copied of it, as it is now.
func (d *drive) collect(ctx context.Context, it *item) (node, error) {
	n := node{name: it.name}
	if it.kind == isFile {
		f, err := d.openContent(it)
		if err != nil {
			return n, onDisk(err)
		}
		defer f.Close()
		up, err := d.svc.stageFile(newStageName(), f)
		if err != nil {
			return n, onDisk(err)
		}
		n.up = &up
		return n, nil
	}
	for _, child := range it.children {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		one, err := d.collect(ctx, child)
		if notFound(err) {
			continue // gone meanwhile
		}
		n.below = append(n.below, one) // what it staged is let go with the rest
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// unstage lets go of what was collected and not put anywhere.
func (n node) unstage(s *Service) {
	if n.up != nil {
		s.unstage(n.up.name)
	}
	for _, below := range n.below {
		below.unstage(s)
	}
}

// plant puts what was collected into a folder.
func (s *Service) plant(ctx context.Context, d *drive, parent *item, n node, how behaviour, by string) (*item, error) {
	if n.up != nil {
		it, _, err := s.put(ctx, d, wish{target: target{id: parent.id}, name: n.name, how: how, by: by}, *n.up)
		return it, err
	}
	folder, _, err := d.makeFolder(ctx, parent, n.name, how)
	if err != nil {
		return nil, err
	}
	for _, below := range n.below {
		if _, err := s.plant(ctx, d, folder, below, onConflictReplace, by); err != nil {
			return nil, err
		}
	}
	return folder, nil
}

// copyItem copies an item, within a drive or to another of the tenant. It is
// done when the call returns; the monitor tells so once it has been asked as
// often as the habits want.
func (s *Service) copyItem(r *request, p place, t target) error {
	var in struct {
		Name   string `json:"name"`
		Parent struct {
			DriveID string `json:"driveId"`
			ID      string `json:"id"`
			Path    string `json:"path"`
		} `json:"parentReference"`
		ChildrenOnly bool   `json:"childrenOnly"`
		History      bool   `json:"includeAllVersionHistory"`
		Conflict     string `json:"@microsoft.graph.conflictBehavior"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	how, err := conflict(r.query, onConflictFail, in.Conflict)
	if err != nil {
		return err
	}
	if in.ChildrenOnly || in.History {
		return badRequest("childrenOnly and includeAllVersionHistory are not supported here.").because("notSupported")
	}
	if in.Name != "" {
		if err := checkName(in.Name); err != nil {
			return err
		}
	}
	into := p
	if in.Parent.DriveID != "" {
		if into, err = s.placeByID(r.who, in.Parent.DriveID); err != nil {
			return err
		}
	}
	ctx := r.Context()
	var what node
	to := target{id: in.Parent.ID}
	defer func() { what.unstage(s) }()
	err = s.with(p, func(d *drive) error {
		it, err := d.find(ctx, t)
		if err != nil {
			return err
		}
		if it == d.root {
			return badRequest("The root cannot be copied.")
		}
		if it.kind == isFolder {
			if err := d.fresh(ctx, r.arrived); err != nil {
				return err
			}
			if it.gone {
				return noItem()
			}
		}
		if _, below, ok := strings.Cut(in.Parent.Path, "/root:"); ok && to.id == "" {
			if to, _, err = parseTarget("root:" + below); err != nil {
				return err
			}
		} else if to.id == "" && in.Parent.Path == "" && into == p {
			to.id = it.parent.id // beside itself, by another name
		}
		what, err = d.collect(ctx, it)
		return err
	})
	if err != nil {
		return err
	}
	if in.Name != "" {
		what.name = in.Name
	}
	m := &monitor{tenant: p.tenant, made: s.clock()}
	err = s.with(into, func(d *drive) error {
		parent, err := d.findTo(ctx, to, false)
		if err != nil {
			return err
		}
		if parent.kind != isFolder {
			return badRequest("What is to be copied into is not a folder.")
		}
		it, err := s.plant(ctx, d, parent, what, how, r.who.key())
		if e, ok := errors.AsType[*refusal](err); ok {
			m.failed = e
			return nil
		}
		if err == nil {
			m.resource = it.id
		}
		return err
	})
	if err != nil {
		return err
	}
	id := backup.NewID[string]()
	s.monitors.Lock()
	for old, other := range s.monitors.byID {
		if s.clock().Sub(other.made) > monitorLife {
			delete(s.monitors.byID, old)
		}
	}
	s.monitors.byID[id] = m
	s.monitors.Unlock()
	r.w.Header().Set("Location", s.address(r.Request, into, monitorPrefix, "monitor", id, urlLife))
	r.w.WriteHeader(http.StatusAccepted)
	return nil
}

// progress tells how far a copy is.
func (s *Service) progress(w http.ResponseWriter, r *http.Request) error {
	id := strings.TrimPrefix(r.URL.Path, monitorPrefix)
	of, err := s.opened(r, "monitor "+id, readFiles)
	if err != nil {
		return err
	}
	if r.Method != http.MethodGet {
		return wrongMethod(http.MethodGet)
	}
	s.monitors.Lock()
	defer s.monitors.Unlock()
	m := s.monitors.byID[id]
	if m == nil || of != nil && m.tenant != of {
		return fail(http.StatusNotFound, "itemNotFound", "There is no such operation.")
	}
	m.asked++
	v := object{"operation": "ItemCopy"}
	status := http.StatusOK
	switch steps := s.faults.options().CopySteps; {
	case m.asked <= steps:
		status = http.StatusAccepted
		v["status"], v["percentageComplete"] = "inProgress", 100*float64(m.asked-1)/float64(steps)
	case m.failed != nil:
		v["status"], v["percentageComplete"], v["errorCode"], v["statusDescription"] = "failed", 100.0, m.failed.code, m.failed.message
		v["error"] = object{"code": m.failed.code, "message": m.failed.message}
	default:
		v["status"], v["percentageComplete"], v["resourceId"] = "completed", 100.0, m.resource
	}
	return replyGraph(w, status, v)
}
