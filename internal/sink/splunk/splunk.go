// Package splunk is the sink for Splunk's HTTP Event Collector (reference
// sink-protocols §2).
//
// It is an append sink: Splunk keeps everything that it is sent. A repeat
// follows only a lost answer, a crash or stop while sending, or an
// acknowledgement that never came, and carries the same event ID, in the
// indexed field drover.event_id and in the event. Without acknowledgement
// "taken" means received; with it, indexed.
package splunk

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"drover"
	"drover/internal/httpx"
)

// Target is where a tenant's records go within one Splunk.
type Target struct {
	Token func() (drover.Secret, error)
	// TokenName says where the token is kept, never what it is. Two tokens have
	// two names: what shares one may share a request.
	TokenName                       string
	Index, Host, Source, Sourcetype string
}

// Options of a Sink. URL, HTTP and Target are required.
type Options struct {
	URL  string // https://splunk.example:8088
	HTTP interface {
		Do(ctx context.Context, r httpx.Request) (*httpx.Response, error)
	}
	Target   func(t drover.Tenant) Target
	Ack      bool          // the token has indexer acknowledgement switched on
	AckEvery time.Duration // between polls, 10 s by default
	AckWait  time.Duration // until a batch is sent again, 5 min by default
	MaxBytes int           // of a request before compression, 1,000,000 by default; a larger record goes alone
}

// Sink sends events to one Splunk.
type Sink struct {
	opt  Options
	base string // without a slash at the end

	mu    sync.Mutex
	lanes map[string]*lane
}

// lane is one token and index, with a channel of its own. One goroutine at a
// time sends on it.
type lane struct {
	token   func() (drover.Secret, error)
	meta    []byte // members that all its events share
	channel string
	cookies cookies
	limit   int       // bytes of a request: configured, or what was learned
	probed  bool      // Splunk has acknowledgement switched on for the token
	slow    time.Time // no request before: Splunk's queues are nearly full
}

// New builds the sink; it connects nowhere.
func New(opt Options) (*Sink, error) {
	u, err := url.Parse(opt.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("splunk_hec: url must be an https URL such as https://splunk.example:8088, without user, query or token")
	}
	if opt.AckEvery <= 0 {
		opt.AckEvery = 10 * time.Second
	}
	if opt.AckWait <= 0 {
		opt.AckWait = 5 * time.Minute
	}
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = 1_000_000
	}
	return &Sink{opt: opt, base: baseOf(opt.URL), lanes: make(map[string]*lane)}, nil
}

const collector = "/services/collector"

// baseOf is the collector's address, whichever of its endpoints was given.
func baseOf(address string) string {
	address = strings.TrimRight(address, "/")
	if before, _, found := strings.Cut(address, collector); found {
		address = before
	}
	return address + collector
}

// Lane is the token and what all events share: what may stand in one request.
func (s *Sink) Lane(t drover.Tenant) string {
	target := s.opt.Target(t)
	sum := sha256.Sum256([]byte(strings.Join([]string{target.TokenName, target.Index, target.Host, target.Source, target.Sourcetype}, "\x00")))
	name := path.Base(target.TokenName) + "-" + hex.EncodeToString(sum[:8])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes[name] == nil {
		s.lanes[name] = &lane{token: target.Token, meta: meta(&target), channel: newGUID(), limit: s.opt.MaxBytes}
	}
	return name
}

func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	x := hex.EncodeToString(b[:])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

// Check asks for the collector's health, which needs no token and writes
// nothing.
func (s *Sink) Check(ctx context.Context) (string, error) {
	const op = "check Splunk"
	res, err := s.opt.HTTP.Do(ctx, httpx.Request{URL: s.base + "/health", MaxBody: maxAnswer})
	if err != nil {
		return "", unreached(op, err)
	}
	a := read(res)
	if res.Status != http.StatusOK || !a.is(17) {
		return "", a.failure(op)
	}
	if s.opt.Ack {
		return "indexed before it counts; a repeat follows only a lost answer, a crash, or an acknowledgement that never came, with the same drover.event_id", nil
	}
	return "received before it counts, not indexed: Splunk may lose it when an indexer dies (ack: true closes that); a repeat follows only a lost answer or a crash, with the same drover.event_id", nil
}

// Close has nothing to release.
func (s *Sink) Close() error { return nil }
