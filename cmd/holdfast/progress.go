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
// for each step anywhere else.
type progress struct {
	out   io.Writer
	label string
	total int
	done  int
	bars  *mpb.Progress
	bar   *mpb.Bar
}

func newProgress(out io.Writer, label string, total int) *progress {
	p := &progress{out: out, label: label, total: total, done: -1}
	if terminal(out) {
		p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40), mpb.WithRefreshRate(100*time.Millisecond))
		p.bar = p.bars.AddBar(int64(total),
			mpb.PrependDecorators(decor.Name("   "+label+" ")),
			mpb.AppendDecorators(decor.CountersNoUnit("%d of %d "), decor.Elapsed(decor.ET_STYLE_GO)))
	}
	return p
}

// set says that done of the total are finished.
func (p *progress) set(done int) {
	if done == p.done {
		return
	}
	p.done = done
	if p.bar != nil {
		p.bar.SetCurrent(int64(done))
		return
	}
	fmt.Fprintf(p.out, "   %s %d of %d\n", p.label, done, p.total)
}

// close leaves the last state standing.
func (p *progress) close() {
	if p.bar == nil {
		return
	}
	if p.done < p.total {
		p.bar.Abort(false)
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
