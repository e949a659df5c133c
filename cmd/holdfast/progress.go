package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// A progress shows how far something has come: a bar on a terminal, and a line
// for each twentieth anywhere else, where a million lines would fill a log.
type progress struct {
	out   io.Writer
	label string
	total int
	done  int
	told  int // the twentieths that lines told of, and one
	bars  *mpb.Progress
	bar   *mpb.Bar
}

// newProgress begins at nothing of total. A total of 0 is not known yet: nothing
// shows until grow says it.
func newProgress(out io.Writer, label string, total int) *progress {
	p := &progress{out: out, label: label, done: -1}
	p.grow(total)
	return p
}

// grow says that the total is another now.
func (p *progress) grow(total int) {
	if total == p.total {
		return
	}
	p.total, p.done, p.told = total, -1, 0
	switch {
	case p.bar != nil:
		p.bar.SetTotal(int64(total), false)
	case terminal(p.out):
		p.bars = mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(40), mpb.WithRefreshRate(100*time.Millisecond))
		// A bar that begins without a total is over when close says so, not when
		// it is full.
		p.bar = p.bars.AddBar(0,
			mpb.PrependDecorators(decor.Name("   "+p.label+" ")),
			mpb.AppendDecorators(decor.CountersNoUnit("%d of %d "), decor.Elapsed(decor.ET_STYLE_GO)))
		p.bar.SetTotal(int64(total), false)
	}
}

// set says that done of the total are finished.
func (p *progress) set(done int) {
	if done == p.done || p.total == 0 {
		return
	}
	p.done = done
	if p.bar != nil {
		p.bar.SetCurrent(int64(done))
		return
	}
	if part := 1 + int(int64(done)*20/int64(p.total)); part != p.told {
		p.told = part
		fmt.Fprintf(p.out, "   %s %d of %d\n", p.label, done, p.total)
	}
}

// close leaves the last state standing.
func (p *progress) close() {
	if p.bar == nil {
		return
	}
	if p.done < p.total {
		p.bar.Abort(false)
	} else {
		p.bar.SetTotal(int64(p.total), true)
	}
	p.bars.Wait()
}

// terminal reports whether out is one that a person looks at.
func terminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
