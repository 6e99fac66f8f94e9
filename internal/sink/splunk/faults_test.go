package splunk_test

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/httpx"
	lab "drover/internal/lab/splunk"
	"drover/internal/proof"
	"drover/internal/sink/sinktest"
	"drover/internal/sink/splunk"
)

// deliver does what drover's deliverer does, without its pauses: it sends what
// is left until all is done. It counts the refused.
func deliver(t *testing.T, s drover.Sink, recs []drover.Record) (refused []drover.Refusal) {
	t.Helper()
	left := recs
	for range 50 {
		taken, err := s.Deliver(t.Context(), batch(s, left))
		if verr := taken.Validate(len(left)); verr != nil {
			t.Fatal(verr)
		}
		for _, r := range taken.Refused {
			refused = append(refused, drover.Refusal{Index: r.Index + len(recs) - len(left), Reason: r.Reason})
		}
		left = left[taken.N:]
		if err == nil {
			return refused
		}
		if k := drover.KindOf(err); k != drover.Transient && k != drover.Throttled {
			t.Fatal(err)
		}
	}
	t.Fatal("it does not end")
	return nil
}

func (c *collector) set(t *testing.T, f lab.Fault) {
	t.Helper()
	if _, err := c.Set(f); err != nil {
		t.Fatal(err)
	}
}

// small makes requests of a few records, so that a batch is many of them.
func small(_ *lab.Options, o *splunk.Options) { o.MaxBytes = 5000 }

func TestALostAnswerRepeatsWhatWasTakenAndNothingElse(t *testing.T) {
	recs := sinktest.Records(sinktest.Tenants[0], 1, 60)
	faults, lost, repeats, explained := 0, 0, 0, 0
	for _, ack := range []bool{false, true} {
		for kind := range lab.Kinds() {
			if kind == "outage" || kind == "slow" || kind == "swallowed" || kind == "unconfirmed" {
				continue // without an end of their own, or a test of their own
			}
			t.Run(fmt.Sprintf("%s, ack %t", kind, ack), func(t *testing.T) {
				bubble(t, func(t *testing.T, start func(bool, ...change) *collector) {
					c := start(ack, small)
					c.set(t, lab.Fault{Kind: kind, Skip: 1, Every: 2, Count: 3})
					if refused := deliver(t, c.sink(t), recs); len(refused) > 0 {
						t.Errorf("%d set aside", len(refused))
					}
					gone, again := c.count(t, recs)
					untold := int(c.Counters().Unanswered)
					if ack && (kind == "confirmation-lost" || kind == "confirmation-absent") {
						untold = 3 * 6 // the events of three requests, of which it was not told that they are indexed
					}
					if gone > 0 || again > untold {
						t.Errorf("lost %d, %d repeats, %d explained", gone, again, untold)
					}
					lost, repeats, explained = lost+gone, repeats+again, explained+untold
				})
			})
			faults++
		}
	}
	proof.Ran(t, "D06", "%d faults of a collector, with and without acknowledgement: lost %d, repeats %d of %d whose answer was lost", faults, lost, repeats, explained)
}

func TestWithAcknowledgementNothingIsLostThatSplunkSwallows(t *testing.T) {
	recs := sinktest.Records(sinktest.Tenants[0], 1, 60)
	for _, ack := range []bool{true, false} {
		bubble(t, func(t *testing.T, start func(bool, ...change) *collector) {
			c := start(ack, small)
			c.set(t, lab.Fault{Kind: "swallowed", Skip: 1, Every: 3, Count: 3})
			deliver(t, c.sink(t), recs)
			lost, _ := c.count(t, recs)
			swallowed := int(c.Counters().Swallowed)
			switch {
			case swallowed == 0:
				t.Fatal("nothing was swallowed")
			case ack && lost > 0:
				t.Errorf("lost %d of %d swallowed", lost, swallowed)
			case !ack && lost != swallowed:
				t.Errorf("without acknowledgement lost %d, swallowed %d", lost, swallowed)
			}
			proof.Ran(t, "D11", "answered 200 and not indexed: %d events; ack %t: lost %d", swallowed, ack, lost)
		})
	}
}

func TestAnAcknowledgementThatIsForgottenCostsARepeatAndNoLoss(t *testing.T) {
	recs := sinktest.Records(sinktest.Tenants[0], 1, 30)
	for name, tt := range map[string]struct {
		forget func(t *testing.T, c *collector)
		costs  bool // the request is sent again
	}{
		"it says false until the request comes again": {func(t *testing.T, c *collector) { c.set(t, lab.Fault{Kind: "unconfirmed"}) }, true},
		"an indexer starts again":                     {func(_ *testing.T, c *collector) { c.Restart() }, true},
		"other indexers take its place":               {func(_ *testing.T, c *collector) { c.SetNodes(3) }, true},
		"the one true answer is lost":                 {func(t *testing.T, c *collector) { c.set(t, lab.Fault{Kind: "confirmation-lost", Count: 1}) }, true},
		"a sign-in page stands in its place":          {func(t *testing.T, c *collector) { c.set(t, lab.Fault{Kind: "confirmation-absent", Count: 1}) }, true},
		"it is busy for three asks":                   {func(t *testing.T, c *collector) { c.set(t, lab.Fault{Kind: "confirmation-busy", Count: 3}) }, false},
		"it says false for a minute": {func(t *testing.T, c *collector) {
			c.set(t, lab.Fault{Kind: "unconfirmed", Until: time.Now().Add(time.Minute)})
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, start func(bool, ...change) *collector) {
				c := start(true, small)
				requests, first := 0, 0
				var once sync.Once
				c.bend = func(_ http.ResponseWriter, r *http.Request) bool {
					switch {
					case strings.HasSuffix(r.URL.Path, "/event"):
						if requests++; requests == 2 {
							first = len(c.events())
							c.Unset(0)
						}
					case requests > 0:
						once.Do(func() { tt.forget(t, c) })
					}
					return false
				}
				deliver(t, c.sink(t), recs)
				lost, repeats := c.count(t, recs)
				if lost > 0 || tt.costs && repeats != first || !tt.costs && repeats > 0 {
					t.Errorf("lost %d, %d repeats; the request had %d events", lost, repeats, first)
				}
				proof.Ran(t, "D11", "%s: lost %d, repeated %d of %d", name, lost, repeats, first)
			})
		})
	}
}

func TestAnEventThatSplunkRefusesIsTheOnlyOneSetAside(t *testing.T) {
	for _, ack := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(3, 3))
		dealt, sent := 0, 0
		for range 20 {
			c := newCollector(t, ack)
			recs := sinktest.Records(sinktest.Tenants[0], 1, 40)
			var want []int
			var good []drover.Record
			for i := range recs {
				if rng.IntN(8) == 0 {
					recs[i].Body = []byte([]string{`""`, `null`, `"  "`}[rng.IntN(3)])
					want = append(want, i)
				} else {
					good = append(good, recs[i])
				}
			}
			refused := deliver(t, c.sink(t), recs)
			var got []int
			for _, r := range refused {
				got = append(got, r.Index)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("set aside %v, dealt %v", got, want)
			}
			if lost, repeats := c.count(t, good); lost > 0 || repeats > 0 {
				t.Fatalf("beside %d refused: lost %d, %d sent again though taken", len(want), lost, repeats)
			}
			dealt, sent = dealt+len(want), sent+len(good)
		}
		proof.Ran(t, "D03", "ack %t: lost 0 and sent again 0 of %d events taken beside refused ones", ack, sent)
		proof.Ran(t, "D04", "ack %t: set aside %d of %d dealt", ack, dealt, dealt)
	}
}

func TestAnIndexThatIsNotAllowedParksItsLaneAlone(t *testing.T) {
	for _, ack := range []bool{false, true} {
		c := newCollector(t, ack)
		s := c.sink(t)
		closed, open := sinktest.Tenants[0], sinktest.Tenants[1]
		token := lab.Token{Name: string(closed.Customer), Value: secretOf(closed), Indexes: []string{"another"}, UseACK: ack}
		if err := c.PutToken(token); err != nil {
			t.Fatal(err)
		}
		for from := 1; from <= 50; from += 10 {
			taken, err := s.Deliver(t.Context(), sinktest.Batch(s.Lane(closed), sinktest.Records(closed, 1, 10), nil))
			if taken.N > 0 || drover.KindOf(err) != drover.Denied || drover.HintOf(err) == "" {
				t.Fatalf("%d done, %v", taken.N, err)
			}
			if _, err := s.Deliver(t.Context(), sinktest.Batch(s.Lane(open), sinktest.Records(open, from, from+9), nil)); err != nil {
				t.Fatalf("the other lane: %v", err)
			}
		}
		token.Indexes = []string{indexOf(closed)}
		if err := c.PutToken(token); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Deliver(t.Context(), sinktest.Batch(s.Lane(closed), sinktest.Records(closed, 1, 10), nil)); err != nil {
			t.Fatalf("after it is allowed: %v", err)
		}
		lost, repeats := c.count(t, append(sinktest.Records(closed, 1, 10), sinktest.Records(open, 1, 50)...))
		if lost > 0 || repeats > 0 {
			t.Errorf("lost %d, repeated %d", lost, repeats)
		}
		proof.Ran(t, "D10", "an index refused five times, ack %t: the other token's lost %d, waited 0; after it is allowed lost %d, repeated %d", ack, lost, lost, repeats)
	}
}

// Two lanes begin at the same time behind a load balancer and are dealt two
// indexers. The order of what happens is forced: lane B gets its cookie while
// lane A waits for an acknowledgement.
func TestALaneAsksTheIndexerThatItSentTo(t *testing.T) {
	c := newCollector(t, true, func(l *lab.Options, _ *splunk.Options) { l.Nodes = 2 })
	a, b := sinktest.Tenants[0], sinktest.Tenants[1]
	posted, other := make(chan struct{}), make(chan struct{})
	var aPosted, bPosted sync.Once
	c.bend = func(w http.ResponseWriter, r *http.Request) bool {
		event := strings.HasSuffix(r.URL.Path, "/event")
		switch r.Header.Get("Authorization") {
		case "Splunk " + secretOf(a):
			if event {
				c.ServeHTTP(w, r)
				aPosted.Do(func() { close(posted) })
				return true
			}
			if len(c.events()) > 0 {
				<-other // B has its cookie; the next question shows whose A sends
			}
		case "Splunk " + secretOf(b):
			if event {
				bPosted.Do(func() { close(other) })
			} else {
				<-posted
			}
		}
		return false
	}
	// The first ask is the one before any event, the second is answered false.
	c.set(t, lab.Fault{Kind: "unconfirmed", Token: string(a.Customer), Skip: 1, Count: 1})
	s := c.sink(t)
	var wg sync.WaitGroup
	for _, x := range []drover.Tenant{a, b} {
		wg.Go(func() {
			if _, err := s.Deliver(t.Context(), sinktest.Batch(s.Lane(x), sinktest.Records(x, 1, 5), nil)); err != nil {
				t.Errorf("%s: %v", x.Name, err)
			}
		})
	}
	wg.Wait()
	lost, repeats := c.count(t, append(sinktest.Records(a, 1, 5), sinktest.Records(b, 1, 5)...))
	if lost > 0 || repeats > 0 {
		t.Errorf("lost %d, repeated %d", lost, repeats)
	}
	proof.Ran(t, "D11", "two lanes at two indexers behind one address: lost %d, repeated %d", lost, repeats)
}

// transport answers with what a test says, without a network.
type transport func(r httpx.Request) *httpx.Response

func (f transport) Do(_ context.Context, r httpx.Request) (*httpx.Response, error) { return f(r), nil }

func TestATimeIsWrittenDigitByDigit(t *testing.T) {
	var sent []byte
	s, err := splunk.New(splunk.Options{URL: "https://splunk.example:8088", MaxBytes: 64 << 20,
		HTTP: transport(func(r httpx.Request) *httpx.Response {
			sent = unzip(t, r)
			return &httpx.Response{Status: 200, Body: []byte(`{"code":0}`)}
		}),
		Target: func(drover.Tenant) splunk.Target {
			return splunk.Target{Token: func() (drover.Secret, error) { return drover.NewSecret("x"), nil }}
		}})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(4, 4))
	epoch := drover.InstantOf(time.Unix(0, 0))
	recs := make([]drover.Record, 20_000)
	for i := range recs {
		recs[i] = drover.Record{EventID: fmt.Sprint(i), Body: []byte("{}"), Time: epoch + drover.Instant(rng.Int64N(1<<(1+rng.IntN(56))))}
	}
	recs[0].Time, recs[1].Time, recs[2].Time = drover.NoInstant, epoch-1, epoch
	if _, err := s.Deliver(t.Context(), sinktest.Batch(s.Lane(drover.Tenant{}), recs, nil)); err != nil {
		t.Fatal(err)
	}
	events := strings.SplitAfter(string(sent), `"event":{}}`)
	for i := range recs {
		after, has := strings.CutPrefix(events[i], `{"time":`)
		text, _, _ := strings.Cut(after, ",")
		if i < 2 {
			if has {
				t.Errorf("%v has the time %s", recs[i].Time, text)
			}
			continue
		}
		want := new(big.Rat).SetFrac64(int64(recs[i].Time-epoch), 10_000_000)
		got, ok := new(big.Rat).SetString(text)
		if !ok || got.Cmp(want) != 0 || strings.ContainsAny(text, "eE+") {
			t.Fatalf("%v is written %q", recs[i].Time, text)
		}
	}
}

func TestAStopInTheMiddleOfABatchClaimsWhatSplunkHas(t *testing.T) {
	recs := sinktest.Records(sinktest.Tenants[0], 1, 60)
	most, total := 0, 0
	for _, ack := range []bool{false, true} {
		for stop := 1; stop <= 8; stop++ {
			c := newCollector(t, ack, small)
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			c.bend = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/event") {
					return false
				}
				if n++; n == stop {
					c.ServeHTTP(discarding{w.Header()}, r)
					cancel()
					panic(http.ErrAbortHandler)
				}
				return false
			}
			s := c.sink(t)
			taken, err := s.Deliver(ctx, batch(s, recs))
			cancel()
			if err == nil {
				t.Fatal("it was not stopped")
			}
			before := len(c.events())
			c.mu.Lock()
			c.bend = nil
			c.mu.Unlock()
			deliver(t, c.sink(t), recs[taken.N:]) // a new process
			lost, repeats := c.count(t, recs)
			if lost > 0 || repeats > before-taken.N {
				t.Errorf("stopped in request %d, ack %t: lost %d, %d repeats, %d had no answer", stop, ack, lost, repeats, before-taken.N)
			}
			most, total = max(most, repeats), total+1
		}
	}
	proof.Ran(t, "D18", "%d stops in the middle of a send: lost 0, repeated at most the one request under way (%d events)", total, most)
}

// discarding is an answer that nobody gets.
type discarding struct{ h http.Header }

func (d discarding) Header() http.Header         { return d.h }
func (d discarding) Write(b []byte) (int, error) { return len(b), nil }
func (d discarding) WriteHeader(int)             {}
