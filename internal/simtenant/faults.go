package simtenant

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Faults is what goes wrong on purpose. It may be changed while the service
// runs; its zero value changes nothing.
type Faults struct {
	mu     sync.Mutex
	faults []*Fault
	opts   Options
	random *rand.Rand
}

// A Fault answers requests in place of the service, or spoils its answer.
type Fault struct {
	Match    func(*http.Request) bool // nil matches all
	Skip     int                      // so many matching requests pass first
	Times    int                      // how many requests are hit; 0 is without end
	Status   int                      // answered instead of the service's answer, unless zero
	Header   http.Header              // of that answer, for instance Retry-After
	Body     string                   // of that answer; empty is an empty body
	Delay    time.Duration            // before the answer
	Truncate int64                    // if not zero, the connection breaks after so many bytes of the body
}

// Options are habits of the real service that clients must survive.
type Options struct {
	PageSize    int  `json:"pageSize,omitempty"`    // so many items are on a page of a delta or a listing; 0 is the service's own
	Shuffle     bool `json:"shuffle,omitempty"`     // the items of a delta page come in any order
	Repeat      bool `json:"repeat,omitempty"`      // a delta page begins with the last item of the page before
	EmptyPages  bool `json:"emptyPages,omitempty"`  // every full delta page is followed by an empty one
	NoAncestors bool `json:"noAncestors,omitempty"` // unchanged ancestors of changed items are left out of a delta
	OmitCTag    bool `json:"omitCTag,omitempty"`    // items of a delta carry no cTag
	OmitHash    bool `json:"omitHash,omitempty"`    // items carry no hash
	OmitPath    bool `json:"omitPath,omitempty"`    // items of a delta carry no parentReference.path
	// BareTombstones has deleted items of a delta carry neither file nor folder,
	// as in the documentation's example.
	BareTombstones bool `json:"bareTombstones,omitempty"`
	StreamContent  bool `json:"streamContent,omitempty"` // content is answered 200 with the bytes rather than 302
	// PreAuth is what opens the addresses that the service hands out. Empty: they
	// open by themselves. "retired": as from April 2027, content comes from Graph,
	// and uploads and monitors want a token of their host.
	PreAuth string `json:"preAuth,omitempty"`
	// SealGraph is whether tokens for Graph are as Entra gives them, of version 1 and
	// signed over another header than they bear, so that nobody but Graph can verify
	// one.
	SealGraph bool `json:"sealGraph,omitempty"`
	// NoSecrets is whether SharePoint refuses the tokens that applications got for
	// themselves by a secret rather than a certificate.
	NoSecrets   bool `json:"noSecrets,omitempty"`
	IgnoreRange bool `json:"ignoreRange,omitempty"` // downloads answer with everything
	FoldNames   bool `json:"foldNames,omitempty"`   // names in a folder that differ only in case or in Unicode's spelling are one
	// Strict is whether the service's own rules for names and paths hold: what it
	// refuses is refused, and names that differ only in case are one.
	Strict bool `json:"strict,omitempty"`
	// Quota is so many bytes as a drive may hold; 0 is what the disk does.
	Quota int64 `json:"quota,omitempty"`
	// CopySteps is how often a copy's monitor tells of progress before it tells of
	// the end.
	CopySteps int `json:"copySteps,omitempty"`
	// Rewrite is what the service adds to Office files that are uploaded, as
	// SharePoint does; empty leaves them alone.
	Rewrite string `json:"rewrite,omitempty"`
	// Misstate is the end of the names of files whose size and hash are stated
	// wrong for good, as those of HEIC photos are.
	Misstate string `json:"misstate,omitempty"`
	// Limits are Microsoft's published limits of what an application may ask for: by
	// licences, or by perMinute, perDay and gbPerHour.
	Limits LimitOptions `json:"limits,omitzero"`
	// Mail is the habits of mailboxes, and their limits.
	Mail MailOptions `json:"mail,omitzero"`
}

// Add puts f after the faults already there. The first that matches and is not
// used up is what a request meets.
func (f *Faults) Add(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &fault)
}

// Clear removes all faults. Options stay.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Set lets change alter the options.
func (f *Faults) Set(change func(*Options)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.opts)
}

// retired reports whether addresses open by themselves no more.
func (o Options) retired() bool { return o.PreAuth == "retired" }

// folds reports whether names that differ only in case are one.
func (o Options) folds() bool { return o.FoldNames || o.Strict }

// check says what is wrong with o.
func (o Options) check() error {
	if o.PreAuth != "" && !o.retired() {
		return fmt.Errorf("options: preAuth is empty or retired, not %q", o.PreAuth)
	}
	return nil
}

func (f *Faults) options() Options {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opts
}

// hit returns the fault that r meets, or nil, and uses it up by one.
func (f *Faults) hit(r *http.Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, fault := range f.faults {
		if fault.Match != nil && !fault.Match(r) {
			continue
		}
		if fault.Skip > 0 {
			fault.Skip--
			continue
		}
		if fault.Times == 1 {
			f.faults = append(f.faults[:i:i], f.faults[i+1:]...)
		} else if fault.Times > 1 {
			fault.Times--
		}
		out := *fault
		return &out
	}
	return nil
}

// shuffle calls swap in a random order that is the same in every run.
func (f *Faults) shuffle(n int, swap func(i, j int)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.random == nil {
		f.random = rand.New(rand.NewPCG(365, 365))
	}
	f.random.Shuffle(n, swap)
}

// answer writes a fault's own answer.
func (f *Fault) answer(w http.ResponseWriter) {
	for k, v := range f.Header {
		w.Header()[http.CanonicalHeaderKey(k)] = v
	}
	if f.Body != "" && w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(f.Status)
	w.Write([]byte(f.Body))
}

// truncated is a ResponseWriter that breaks the connection.
type truncated struct {
	http.ResponseWriter
	left int64
}

func (t *truncated) Write(p []byte) (int, error) {
	if int64(len(p)) < t.left {
		t.left -= int64(len(p))
		return t.ResponseWriter.Write(p)
	}
	t.ResponseWriter.Write(p[:t.left])
	if f, ok := t.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}
