package engine

import (
	"hash/fnv"
	"time"

	"holdfast/internal/backup"
)

// quietShare is how long a drive is left alone, as a share of how long nothing has
// changed in it: what was quiet for an hour may be so for ten minutes more.
const quietShare = 6

// pace returns after how long a drive is visited again in which nothing has changed
// for so long. It is the interval at least, and so much less than what is promised
// of its points as a visit may be late. A drive with a problem is not quiet.
func (e *Engine) pace(quiet time.Duration, problem *backup.Problem) time.Duration {
	most := max(e.Interval, e.RPO-e.Interval)
	if problem != nil {
		return e.Interval
	}
	return min(max(e.Interval, quiet/quietShare), most)
}

// nextVisit returns when the drive of which a point was made is visited again. That
// counts from the point's time, and not from when it was finished, where the next
// could come too late for what is promised.
func (e *Engine) nextVisit(made protected, key string) time.Time {
	if made.Every <= e.Interval {
		return e.next(e.Interval, key)
	}
	h := fnv.New32a()
	h.Write([]byte(key))
	early := made.Every / 20 * time.Duration(h.Sum32()%1000) / 1000 // so that not all come at once
	return made.Point.At.Add(made.Every - early)
}

// changedAt returns when something was last found changed in the drive, of which
// this run has made a tree.
func (p *protection) changedAt(tree string) time.Time {
	if tree != p.state.Tree || p.state.Changed.IsZero() {
		return p.at
	}
	return p.state.Changed
}
