package simtenant

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
)

// LimitOptions have the tenant refuse what is more than Microsoft allows an
// application to ask for. All applications are counted as one. The zero value
// refuses nothing.
type LimitOptions struct {
	Licences  int `json:"licences,omitempty"`  // the tenant has bought, by which Microsoft's limits go; 0 is no limit
	PerMinute int `json:"perMinute,omitempty"` // resource units, in place of those by the licences
	PerDay    int `json:"perDay,omitempty"`    // the same for a day
	GBPerHour int `json:"gbPerHour,omitempty"` // that are handed out; in place of 400
}

// resolve fills in what goes by the licences.
func (o LimitOptions) resolve() LimitOptions {
	if o.Licences <= 0 && o.PerMinute == 0 && o.PerDay == 0 && o.GBPerHour == 0 {
		return LimitOptions{}
	}
	if o.Licences > 0 {
		tier := 0
		for _, most := range []int{1000, 5000, 15_000, 50_000} {
			if o.Licences > most {
				tier++
			}
		}
		o.PerMinute = orElse(o.PerMinute, 1250*(tier+1))
		o.PerDay = orElse(o.PerDay, 1_200_000*(tier+1))
		o.GBPerHour = orElse(o.GBPerHour, 400)
	}
	return o
}

// limits counts what was asked of each tenant.
type limits struct {
	mu sync.Mutex
	by map[backup.TenantID]*asked
}

type asked struct {
	minute int64 // that units are of, since 1970
	units  int64
	day    window // units
	bytes  window // handed out
}

// toldAt is from which part of a minute's units on answers say how many are left.
const toldAt = 0.8

// enter counts a call to a tenant's drives, and refuses it if there were too many.
func (l *limits) enter(w http.ResponseWriter, s *Service, t backup.TenantID, units int64) error {
	o := s.faults.options().Limits.resolve()
	if o == (LimitOptions{}) || units == 0 {
		return nil
	}
	now := s.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.of(t)
	if minute := now.Unix() / 60; a.minute != minute {
		a.minute, a.units = minute, 0
	}
	// What is refused counts as well.
	a.units += units
	a.day.add(now, 24*time.Hour, units)
	reset := 60 - now.Unix()%60
	if most := int64(o.PerMinute); most > 0 {
		if float64(a.units) >= toldAt*float64(most) {
			tell(w.Header(), most, most-a.units, reset)
		}
		if a.units > most {
			return throttled("activityLimitReached", "The request has been throttled.", time.Duration(reset)*time.Second)
		}
	}
	if most := int64(o.PerDay); most > 0 && a.day.sum(now, 24*time.Hour) > most {
		return unlike(w, throttled("activityLimitReached", "The request has been throttled.", a.day.wait(now, 24*time.Hour, most)))
	}
	if most := int64(o.GBPerHour) << 30; most > 0 && a.bytes.sum(now, time.Hour) > most {
		return unlike(w, throttled("activityLimitReached", "The request has been throttled.", a.bytes.wait(now, time.Hour, most)))
	}
	return nil
}

// unlike takes from an answer what is only said of the limit of a minute.
func unlike(w http.ResponseWriter, err error) error {
	for name := range w.Header() {
		if strings.HasPrefix(strings.ToLower(name), "ratelimit-") {
			w.Header().Del(name)
		}
	}
	return err
}

func tell(h http.Header, most, left, reset int64) {
	for name, n := range map[string]int64{"RateLimit-Limit": most, "RateLimit-Remaining": max(left, 0), "RateLimit-Reset": reset} {
		h.Set(name, strconv.FormatInt(n, 10))
	}
}

// handed counts bytes that were handed out.
func (l *limits) handed(s *Service, t backup.TenantID, n int64) {
	if s.faults.options().Limits.resolve() == (LimitOptions{}) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(t).bytes.add(s.clock(), time.Hour, n)
}

func (l *limits) of(t backup.TenantID) *asked {
	if l.by == nil {
		l.by = map[backup.TenantID]*asked{}
	}
	if l.by[t] == nil {
		l.by[t] = &asked{}
	}
	return l.by[t]
}

// unitsOf returns what a call to Graph costs in resource units: calls to the
// directory and to mailboxes have limits of their own.
func unitsOf(r *http.Request, rest string) int64 {
	path := strings.ToLower(strings.Trim(rest, "/"))
	first, below, _ := strings.Cut(path, "/")
	switch name, _, _ := strings.Cut(first, "("); name {
	case "drives", "sites", "shares", "me":
	case "users", "groups":
		if _, below, _ = strings.Cut(below, "/"); below != "drive" && below != "drives" && !strings.HasPrefix(below, "drive/") && !strings.HasPrefix(below, "drives/") {
			return 0
		}
	default:
		return 0
	}
	last := path[strings.LastIndexByte(path, '/')+1:]
	last, _, _ = strings.Cut(last, "(")
	q := r.URL.Query()
	switch {
	case strings.Contains(path, "/permissions"), last == "invite", last == "createlink", strings.Contains(strings.ToLower(q.Get("$expand")+q.Get("expand")), "permissions"):
		return 5
	case r.Method != http.MethodGet:
		return 2
	case last == "delta" && !q.Has("token") && !strings.Contains(path, "token="), last == "children", last == "drives", last == "versions", last == "search", last == "lists":
		return 2
	}
	return 1
}
