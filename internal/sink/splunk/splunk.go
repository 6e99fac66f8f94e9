// Package splunk is the sink for Splunk's HTTP Event Collector (reference
// sink-protocols §2).
//
// It is an append sink: Splunk keeps everything that it is sent. A repeat
// follows only a lost answer, a crash while sending, or an acknowledgement
// that never came, and carries the same event ID, in the indexed field
// drover.event_id and in the event. Without acknowledgement "taken" means
// received; with it, indexed.
package splunk

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"drover"
	"drover/internal/httpx"
)

// Target is where a tenant's records go within one Splunk.
type Target struct {
	Token                           func() (drover.Secret, error)
	TokenName                       string // names the token in logs and lanes; never the token
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
	MaxBytes int           // of a request before compression, 1,000,000 by default
	NoGzip   bool
}

// Sink sends events to one Splunk.
type Sink struct {
	opt  Options
	base string
	jar  http.CookieJar

	mu    sync.Mutex
	lanes map[string]*lane
}

// lane is one token and index, with a channel of its own.
type lane struct {
	target  Target
	channel string
	limit   int // learned: bytes of a request
}

// New builds the sink; it connects nowhere.
func New(opt Options) (*Sink, error) {
	u, err := url.Parse(opt.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" || u.RawQuery != "" || u.User != nil {
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
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(opt.URL, "/")
	if !strings.Contains(u.Path, "/services/collector") {
		base += "/services/collector"
	}
	return &Sink{opt: opt, base: base, jar: jar, lanes: make(map[string]*lane)}, nil
}

// Lane is the token and the index: what may share a request.
func (s *Sink) Lane(t drover.Tenant) string {
	target := s.opt.Target(t)
	sum := sha256.Sum256([]byte(target.TokenName + "\x00" + target.Index + "\x00" + target.Host + "\x00" + target.Source + "\x00" + target.Sourcetype))
	name := target.TokenName + "-" + hex.EncodeToString(sum[:4])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes[name] == nil {
		s.lanes[name] = &lane{target: target, channel: newGUID(), limit: s.opt.MaxBytes}
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

// answer is what HEC says.
type answer struct {
	Text    string          `json:"text"`
	Code    *int            `json:"code"`
	Invalid *int            `json:"invalid-event-number"`
	AckID   *uint64         `json:"ackId"`
	Acks    map[string]bool `json:"acks"`
}

// Deliver sends the batch in requests that fit, in order.
func (s *Sink) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	s.mu.Lock()
	l := s.lanes[b.Lane]
	s.mu.Unlock()
	if l == nil {
		return drover.Taken{}, &drover.Error{Op: "send to Splunk", Kind: drover.Denied, Err: errors.New("the lane belongs to no tenant of this configuration")}
	}
	d := &delivery{s: s, l: l, recs: b.Records}
	err := d.run(ctx)
	return d.taken, err
}

// delivery sends one batch. Everything before taken.N is done.
type delivery struct {
	s     *Sink
	l     *lane
	recs  []drover.Record
	taken drover.Taken
	most  int // records of the next request at most; 0: as many as fit
}

func (d *delivery) run(ctx context.Context) error {
	for d.taken.N < len(d.recs) {
		n, body := d.request()
		if n == 0 {
			d.refuse("larger than a request may be")
			continue
		}
		done, err := d.send(ctx, n, body)
		d.taken.N += done
		if err != nil {
			return err
		}
	}
	return nil
}

// refuse sets the next record aside.
func (d *delivery) refuse(why string) {
	d.taken.Refused = append(d.taken.Refused, drover.Refusal{Index: d.taken.N, Reason: why})
	d.taken.N++
	d.most = 0
}

// request puts together the next records that fit.
func (d *delivery) request() (n int, body []byte) {
	for i := d.taken.N; i < len(d.recs); i++ {
		if d.most > 0 && n >= d.most {
			break
		}
		mark := len(body)
		body = d.event(body, &d.recs[i])
		if len(body) > d.l.limit {
			return n, body[:mark]
		}
		n++
	}
	return n, body
}

// event appends one event object. Splunk refuses a time in scientific
// notation, so it is written digit by digit.
func (d *delivery) event(b []byte, r *drover.Record) []byte {
	b = append(b, '{')
	if r.Time.Known() {
		t := r.Time.Time()
		b = append(b, `"time":`...)
		b = strconv.AppendInt(b, t.Unix(), 10)
		b = append(b, '.')
		b = append(b, fmt.Sprintf("%07d", t.Nanosecond()/100)...)
		b = append(b, ',')
	}
	t := &d.l.target
	for _, m := range []struct{ name, value string }{{"host", t.Host}, {"source", t.Source}, {"sourcetype", t.Sourcetype}, {"index", t.Index}} {
		if m.value != "" {
			v, _ := json.Marshal(m.value)
			b = append(append(append(append(append(b, '"'), m.name...), `":`...), v...), ',')
		}
	}
	b = append(b, `"fields":{"drover.event_id":"`...)
	b = append(b, r.EventID...)
	b = append(b, `","drover.tenant":"`...)
	b = append(b, r.Tenant...)
	b = append(b, `","drover.customer":"`...)
	b = append(b, r.Customer...)
	b = append(b, `"},"event":`...)
	b = append(b, r.Body...)
	return append(b, '}')
}

// send makes one request of n records and returns how many of them are done.
func (d *delivery) send(ctx context.Context, n int, body []byte) (done int, err error) {
	res, err := d.s.post(ctx, d.l, "/event", body)
	if err != nil {
		return 0, err
	}
	var a answer
	if json.Unmarshal(res.Body, &a) != nil || a.Code == nil {
		a.Code = nil
	}
	switch {
	case res.Status == http.StatusOK && a.Code != nil && (*a.Code == 0 || *a.Code == 24 || *a.Code == 25):
		if d.s.opt.Ack {
			if a.AckID == nil {
				return 0, failure(drover.Denied, res, &a, "acknowledgement is switched on here, and off at the token: make both the same")
			}
			if err := d.s.confirm(ctx, d.l, *a.AckID); err != nil {
				return 0, err
			}
		}
		d.most = 0
		return n, nil
	case res.Status == http.StatusOK:
		return 0, failure(drover.Transient, res, &a, "the answer is not Splunk's; is a proxy in between?")
	case res.Status == http.StatusRequestEntityTooLarge:
		return d.tooLarge(n, len(body))
	case res.Status == http.StatusBadRequest && a.Code != nil:
		return d.badRequest(ctx, res, &a, n, len(body))
	}
	return 0, refusal(res, &a)
}

// tooLarge learns a smaller size, or sets a single record aside.
func (d *delivery) tooLarge(n, size int) (int, error) {
	if n == 1 {
		d.refuse("larger than this Splunk takes")
		return 0, nil
	}
	d.l.limit = max(size/2, 1000)
	return 0, nil
}

// badRequest handles 400: the events before the numbered one are in, the
// numbered one never will be (reference sink-protocols §2).
func (d *delivery) badRequest(ctx context.Context, res *httpx.Response, a *answer, n, size int) (int, error) {
	at := -1
	if a.Invalid != nil && *a.Invalid >= 0 && *a.Invalid < n {
		at = *a.Invalid
	}
	switch *a.Code {
	case 5, 6, 12, 13, 15:
		switch {
		case at == 0 && *a.Code == 6 && n > 1:
			return d.tooLarge(n, size) // Splunk Cloud says this of a body that is too large
		case at >= 0:
			if d.s.opt.Ack && at > 0 {
				if a.AckID == nil {
					return 0, failure(drover.Transient, res, a, "")
				}
				if err := d.s.confirm(ctx, d.l, *a.AckID); err != nil {
					return 0, err
				}
			}
			// d.refuse counts from what is done.
			d.taken.N += at
			d.refuse("Splunk: " + code(a))
			return 0, nil
		case n == 1:
			d.refuse("Splunk: " + code(a))
			return 0, nil
		default:
			d.most = max(n/2, 1)
			return 0, nil
		}
	case 7:
		// The number names the object behind the bad one.
		done := 0
		if at > 1 && !d.s.opt.Ack {
			done = at - 1
		}
		return done, failure(drover.Denied, res, a, "the index is not there, or not allowed for this token: allow it, or change index: in the config")
	}
	return 0, refusal(res, a)
}

// refusal says what an answer means that is neither success nor about single
// events.
func refusal(res *httpx.Response, a *answer) error {
	hint := map[int]string{1: "the token is disabled", 2: "no token was sent", 3: "the token's header is malformed", 4: "the token is not known: check token_file", 10: "the token wants a channel: set ack: true",
		11: "the token refuses the channel", 14: "the token has acknowledgement switched off: set ack: false", 16: "the token in a URL is not used by drover", 28: "the token wants a channel: set ack: true"}
	if a.Code != nil {
		if h, ok := hint[*a.Code]; ok {
			return failure(drover.Denied, res, a, h)
		}
		switch *a.Code {
		case 8, 9, 18, 19, 20, 23, 26, 27:
			kind := drover.Transient
			if res.Status == http.StatusTooManyRequests {
				kind = drover.Throttled
			}
			return failure(kind, res, a, "")
		}
	}
	h := ""
	if res.Status == http.StatusUnauthorized || res.Status == http.StatusForbidden || res.Status == http.StatusNotFound {
		h = "check the url and the token of this sink"
	}
	return failure(httpx.KindOf(res.Status), res, a, h)
}

func failure(kind drover.Kind, res *httpx.Response, a *answer, hint string) error {
	e := &drover.Error{Op: "send to Splunk", Kind: kind, Hint: hint, Code: code(a), Err: fmt.Errorf("status %d, %s", res.Status, code(a))}
	if wait, ok := httpx.RetryAfter(res.Header, time.Now()); ok && (kind == drover.Throttled || kind == drover.Transient) {
		e.Kind, e.Wait = drover.Throttled, wait
	}
	return e
}

func code(a *answer) string {
	if a.Code == nil {
		return "no code"
	}
	return "code " + strconv.Itoa(*a.Code)
}

// maxAnswer bounds HEC's answers; real ones are some hundred bytes.
const maxAnswer = 1 << 20

var zips = sync.Pool{New: func() any { z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed); return z }}

// post makes a request of the lane.
func (s *Sink) post(ctx context.Context, l *lane, path string, body []byte) (*httpx.Response, error) {
	token, err := l.target.Token()
	if err != nil {
		return nil, &drover.Error{Op: "send to Splunk", Kind: drover.Denied, Err: err}
	}
	h := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Splunk " + token.Reveal()}}
	if s.opt.Ack {
		h.Set("X-Splunk-Request-Channel", l.channel)
	}
	u, err := url.Parse(s.base)
	if err != nil {
		return nil, err
	}
	for _, c := range s.jar.Cookies(u) {
		h.Add("Cookie", c.String())
	}
	if !s.opt.NoGzip && len(body) > 1000 {
		var buf bytes.Buffer
		z := zips.Get().(*gzip.Writer)
		z.Reset(&buf)
		_, werr := z.Write(body)
		if err := errors.Join(werr, z.Close()); err != nil {
			return nil, err
		}
		zips.Put(z)
		body = buf.Bytes()
		h.Set("Content-Encoding", "gzip")
	}
	res, err := s.opt.HTTP.Do(ctx, httpx.Request{Method: http.MethodPost, URL: s.base + path, Origin: s.base, Header: h, Body: body, MaxBody: maxAnswer})
	if err != nil {
		return nil, &drover.Error{Op: "send to Splunk", Kind: drover.Transient, Err: err}
	}
	if set := res.Header.Values("Set-Cookie"); len(set) > 0 {
		s.jar.SetCookies(u, (&http.Response{Header: res.Header}).Cookies())
	}
	return res, nil
}

// confirm waits until Splunk says that a request is indexed. It says so once;
// an answer that is lost leaves the outcome unknown.
func (s *Sink) confirm(ctx context.Context, l *lane, id uint64) error {
	key := strconv.FormatUint(id, 10)
	body := []byte(`{"acks":[` + key + `]}`)
	end := time.Now().Add(s.opt.AckWait)
	for pause := min(s.opt.AckEvery, 250*time.Millisecond); ; pause = min(2*pause, s.opt.AckEvery) {
		res, err := s.post(ctx, l, "/ack", body)
		if err != nil {
			return err
		}
		var a answer
		if res.Status != http.StatusOK {
			_ = json.Unmarshal(res.Body, &a)
			return refusal(res, &a)
		}
		if json.Unmarshal(res.Body, &a) == nil && a.Acks[key] {
			return nil
		}
		if !time.Now().Before(end) {
			return &drover.Error{Op: "wait for Splunk's acknowledgement", Kind: drover.Transient, Err: fmt.Errorf("none came in %s", s.opt.AckWait)}
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// Check asks for HEC's health.
func (s *Sink) Check(ctx context.Context) (string, error) {
	res, err := s.opt.HTTP.Do(ctx, httpx.Request{URL: s.base + "/health", MaxBody: maxAnswer})
	if err != nil {
		return "", &drover.Error{Op: "check Splunk", Kind: drover.Transient, Err: err, Hint: "is the url right, and Splunk's certificate trusted (ca_file)?"}
	}
	if res.Status != http.StatusOK {
		var a answer
		_ = json.Unmarshal(res.Body, &a)
		return "", refusal(res, &a)
	}
	if s.opt.Ack {
		return "indexed before it counts; a repeat follows only a lost answer or a crash, with the same drover.event_id", nil
	}
	return "received before it counts, not indexed: Splunk may lose it when an indexer dies (ack: true closes that); a repeat follows only a lost answer or a crash, with the same drover.event_id", nil
}

// Close has nothing to release.
func (s *Sink) Close() error { return nil }
