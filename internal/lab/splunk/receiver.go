package splunk

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Size limits of a request body, uncompressed bytes, as they are found in the
// field (reference sink-protocols §2).
const (
	LimitOld     = 1_000_000   // Enterprise, old versions; the harsher one, and the default
	LimitCurrent = 838_860_800 // Enterprise, current versions
	LimitCloud   = 5_242_880   // Cloud: the most that was never refused
)

// Options configure a Receiver. The zero value is a small, correct Enterprise
// collector without tokens.
type Options struct {
	Tokens []Token
	Cloud  bool // oversize is 400/6 naming object 0; missing channel is 28

	MaxContentLength int64         // bytes after decompression; 0: LimitOld, or LimitCloud
	MaxRequests      int           // requests that may hold a body at once; more get 503/9; 0: 64
	AckDelay         time.Duration // from indexed until confirmed
	MaxIdle          time.Duration // an unused channel is forgotten; 0: 600 s, below 0: never
	MaxChannels      int           // 0: 1,000,000
	MaxPending       int           // unconfirmed ids of a channel; 0: 1,000,000
	MaxPendingAll    int           // unconfirmed ids of a node; 0: 10,000,000
	Nodes            int           // indexers behind one address, each with its own ids; 0: 1

	Log       io.Writer // the receiver log; nil: none. Written one request at a time
	KeepBytes int       // bytes of events kept in memory for Events; 0: 64 MiB when Log is nil, else none

	Now   func() time.Time                           // nil: time.Now
	Sleep func(context.Context, time.Duration) error // nil: a timer
}

// Receiver is the collector, an http.Handler. All methods are safe for
// concurrent use.
type Receiver struct {
	opt Options

	mu        sync.Mutex
	settled   *sync.Cond // signalled when settling falls
	settling  int        // requests answered and not yet in the log
	tokens    []*token
	nodes     []*node
	turn      uint64
	faults    []*Fault
	lastFault int
	requests  uint64
	bodies    int
	kept      memory
	count     Counters
	logErr    error
}

// Counters say what happened so far.
type Counters struct {
	Requests          uint64            `json:"requests"`
	Events            uint64            `json:"events"`     // read from requests
	Kept              uint64            `json:"kept"`       // indexed
	Unanswered        uint64            `json:"unanswered"` // indexed, and the sender was not told
	Swallowed         uint64            `json:"swallowed"`  // not indexed, and the sender was told they were
	Bytes             uint64            `json:"bytes"`      // of bodies, as received
	Confirmed         uint64            `json:"confirmed"`  // acknowledgement ids told true
	ChannelsForgotten uint64            `json:"channels_forgotten"`
	Restarts          uint64            `json:"restarts"`
	Codes             map[int]uint64    `json:"codes"` // answers by code; -1 stands for other pages
	Faults            map[string]uint64 `json:"faults"`
}

// New returns a receiver. It starts nothing.
func New(opt Options) (*Receiver, error) {
	setDefault(&opt.MaxContentLength, LimitOld)
	if opt.Cloud && opt.MaxContentLength == LimitOld {
		opt.MaxContentLength = LimitCloud
	}
	setDefault(&opt.MaxRequests, 64)
	setDefault(&opt.MaxIdle, 600*time.Second)
	setDefault(&opt.MaxChannels, 1_000_000)
	setDefault(&opt.MaxPending, 1_000_000)
	setDefault(&opt.MaxPendingAll, 10_000_000)
	setDefault(&opt.Nodes, 1)
	if opt.Log == nil {
		setDefault(&opt.KeepBytes, 64<<20)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Sleep == nil {
		opt.Sleep = sleep
	}
	r := &Receiver{opt: opt, nodes: newNodes(opt.Nodes)}
	r.settled = sync.NewCond(&r.mu)
	r.count.Codes, r.count.Faults = make(map[int]uint64), make(map[string]uint64)
	for _, t := range opt.Tokens {
		if err := r.PutToken(t); err != nil {
			return nil, err
		}
	}
	r.opt.Tokens = nil // values are held hashed only
	if opt.Log != nil {
		// Request numbers begin anew with each start.
		if _, err := fmt.Fprintf(opt.Log, `{"t":"start","at":%q}`+"\n", stamp(opt.Now())); err != nil {
			return nil, fmt.Errorf("write receiver log: %w", err)
		}
	}
	return r, nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if r.out() {
		// No connection was made in an outage; one from before is cut.
		panic(http.ErrAbortHandler)
	}
	x := &exchange{r: r, w: w, req: req, at: r.opt.Now()}
	var handle func()
	method := http.MethodPost
	switch req.URL.Path {
	case "/services/collector", "/services/collector/event", "/services/collector/event/1.0":
		x.point, handle = "events", func() { x.events(false) }
	case "/services/collector/raw", "/services/collector/raw/1.0":
		x.point, handle = "events", func() { x.events(true) }
	case "/services/collector/ack", "/services/collector/ack/1.0":
		x.point, handle = "ack", x.acks
	case "/services/collector/health", "/services/collector/health/1.0":
		x.point, handle, method = "health", x.health, http.MethodGet
	default:
		x.begin()
		x.finish(page(http.StatusNotFound, "application/json", `{"text":"The requested URL was not found on this server.","code":404}`))
		return
	}
	x.begin()
	if req.Method != method {
		x.finish(page(http.StatusMethodNotAllowed, "application/json", `{"text":"The requested URL does not take this method.","code":405}`))
		return
	}
	handle()
}

// Counters returns the counts so far.
func (r *Receiver) Counters() Counters {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.count
	c.Codes, c.Faults = make(map[int]uint64), make(map[string]uint64)
	for k, v := range r.count.Codes {
		c.Codes[k] = v
	}
	for k, v := range r.count.Faults {
		c.Faults[k] = v
	}
	return c
}

// Settle waits until every request whose answer was sent is in the log, and
// returns the first error of writing the log.
func (r *Receiver) Settle() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.settling > 0 {
		r.settled.Wait()
	}
	return r.logErr
}

// Events returns the newest events kept in memory, in the order of the log,
// and how many older ones had to be let go.
func (r *Receiver) Events() (events []Event, dropped uint64) {
	_ = r.Settle() // an error of the log file does not touch what is in memory
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Event(nil), r.kept.events...), r.kept.dropped
}
