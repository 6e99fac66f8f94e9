package audit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/httpx"
	"drover/internal/ledger"
)

const tenantID = drover.TenantID("3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60")

var begin = mustParse("2026-03-02T08:00:00Z")

func mustParse(s string) drover.Instant {
	i, err := drover.ParseInstant(s)
	if err != nil {
		panic(err)
	}
	return i
}

// api pretends to be one of the APIs: rows by creation time, answers of limited
// size, the newest rows first, a link if it gives any.
type api struct {
	src   *source
	rows  []string
	at    []drover.Instant
	limit int                          // rows of an answer
	links bool                         // and a link to the rest
	mute  bool                         // no count
	cut   func(rows []string) []string // other than to the newest
	asked []string
}

func (a *api) add(n int, every time.Duration) {
	for i := range n {
		at := begin.Add(time.Duration(i) * every)
		a.rows = append(a.rows, fmt.Sprintf(`{%q:"a%d",%q:%q,%q:%q,"severity":"high","serviceSource":"one"}`, a.src.names.id, i, a.src.names.changed, at.String(), a.src.names.created, at.String()))
		a.at = append(a.at, at)
	}
}

var bounds = regexp.MustCompile(`(ge|lt) (\S+)`)

func (a *api) Do(_ context.Context, r httpx.Request) (*httpx.Response, error) {
	a.asked = append(a.asked, r.URL)
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	if rest, single := strings.CutPrefix(u.Path, a.src.path+"/"); single {
		for _, row := range a.rows {
			if strings.Contains(row, `:"`+rest+`",`) {
				return &httpx.Response{Status: 200, Body: []byte(`{"@odata.context":"x",` + row[1:])}, nil
			}
		}
		return &httpx.Response{Status: 404, Body: []byte(`{"error":{"code":"x"}}`)}, nil
	}
	filter := q.Get("$filter")
	var rows []string
	if id, single := strings.CutPrefix(filter, "id eq "); single {
		for _, row := range a.rows {
			if strings.Contains(row, `:"`+strings.Trim(id, "'")+`",`) {
				rows = append(rows, row)
			}
		}
	} else {
		b := bounds.FindAllStringSubmatch(filter, 2)
		from, to := mustParse(b[0][2]), mustParse(b[1][2])
		for i, at := range a.at {
			if at >= from && at < to {
				rows = append(rows, a.rows[i])
			}
		}
	}
	slices.Reverse(rows)
	all, skip, next := len(rows), 0, ""
	_, _ = fmt.Sscan(q.Get("$skip"), &skip)
	rows = rows[min(skip, len(rows)):]
	if a.cut != nil {
		rows = a.cut(rows)
	}
	if len(rows) > a.limit {
		rows = rows[:a.limit]
		if a.links {
			q.Set("$skip", fmt.Sprint(skip+a.limit))
			u.RawQuery = q.Encode()
			next = fmt.Sprintf(`,"@odata.nextLink":%q`, u.String())
		}
	}
	count := ""
	if q.Get("$count") == "true" && !a.mute {
		count = fmt.Sprintf(`,"@odata.count":%d`, all)
	}
	return &httpx.Response{Status: 200, Body: []byte(`{"value":[` + strings.Join(rows, ",") + `]` + next + count + `}`)}, nil
}

// shelfless is a ledger that holds what it is given.
type shelfless struct {
	Store
	feed drover.Feed
	revs []drover.Revision
	keys []ledger.Key
	gaps []drover.Gap

	counted int // rows by its daily counts
}

func (s *shelfless) hold(src *source, rows []string) {
	for i, raw := range rows {
		r := src.row([]byte(raw), tenantID)
		rev := drover.Revision{Feed: s.feed, Seq: uint64(i + 1), AlertID: r.id, Changed: r.changed, Created: r.created, Raw: []byte(raw), Sum: sha256.Sum256([]byte(raw))}
		s.revs = append(s.revs, rev)
		s.counted++
		s.keys = append(s.keys, ledger.Key{Changed: r.changed, Created: r.created, Alert: ledger.AlertHash(r.id), Sum: rev.Sum, Seq: rev.Seq})
	}
}
func (s *shelfless) Identity() ledger.Identity {
	return ledger.Identity{ID: "ledger", Incarnation: "1"}
}
func (s *shelfless) Feeds(context.Context) ([]ledger.FeedState, error) {
	return []ledger.FeedState{{Feed: s.feed, Head: uint64(len(s.keys)), Cursor: drover.Cursor{Source: s.feed.Source, Through: begin.Add(1000 * time.Hour)}, Whole: drover.NoInstant}}, nil
}
func (s *shelfless) ListTenants(context.Context) ([]drover.Tenant, error) {
	return []drover.Tenant{{ID: tenantID, Name: "contoso", Customer: "contoso", State: drover.Active, Sources: []drover.SourceID{s.feed.Source}, Start: begin.Add(-time.Hour)}}, nil
}
func (s *shelfless) Keys(_ context.Context, _ drover.Feed, span drover.Span, _ bool) (out []ledger.Key, _ error) {
	for _, k := range s.keys {
		if span.Contains(k.Changed) {
			out = append(out, k)
		}
	}
	return out, nil
}
func (s *shelfless) Body(_ context.Context, _ drover.Feed, seq uint64) (drover.Revision, error) {
	if seq < 1 || seq > uint64(len(s.revs)) {
		return drover.Revision{}, ledger.ErrNotFound
	}
	return s.revs[seq-1], nil
}
func (s *shelfless) Gaps(context.Context, ledger.GapFilter) ([]drover.Gap, error) {
	return slices.Clone(s.gaps), nil
}
func (s *shelfless) SetAside(context.Context, ledger.AsideFilter) ([]ledger.Aside, error) {
	return nil, nil
}

func (s *shelfless) Counts(context.Context, drover.TenantID) ([]ledger.DayCount, error) {
	return []ledger.DayCount{{Day: "2026-03-09", Source: s.feed.Source, What: "revisions", N: int64(s.counted)}, {Day: "2026-03-09", Source: s.feed.Source, Sink: "soc", What: "taken", N: 5}}, nil
}

type noTokens struct{}

func (noTokens) Token(context.Context, drover.Tenant, drover.SourceID) (drover.Secret, error) {
	return drover.NewSecret("t"), nil
}
func (noTokens) Invalidate(drover.Tenant, drover.SourceID, drover.Secret) {}

type bytesAlone struct{}

func (bytesAlone) Same(_ drover.SourceID, a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && fmt.Sprint(x) == fmt.Sprint(y)
}

func (a *api) audit(t *testing.T, s *shelfless) *Report {
	t.Helper()
	r, err := New(Options{Store: s, HTTP: func(drover.Tenant) (Doer, error) { return a, nil }, Tokens: noTokens{}, Compare: bytesAlone{},
		Host: func(drover.Tenant, drover.SourceID) (string, error) { return "https://api.test", nil },
		Now:  func() time.Time { return begin.Add(1000 * time.Hour).Time() }}).Run(t.Context(), Order{Tenants: []drover.TenantID{tenantID}, From: begin, To: begin.Add(900 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Each source is read whole whatever its answers are cut at, and what its
// ledger lacks is found.
func TestEverySourceOfItsKindIsReadWholeAndWhatIsMissingIsFound(t *testing.T) {
	for _, src := range []*source{&graphAlerts, &graphIncidents, &mdeAlerts} {
		for name, limit := range map[string]int{"whole": 5000, "cut at 40": 40, "cut at 7": 7} {
			for _, how := range []struct{ links, mute bool }{{true, false}, {false, false}, {false, true}} {
				t.Run(fmt.Sprintf("%s, %s, links %v, no count %v", src.id, name, how.links, how.mute), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						a := &api{src: src, limit: limit, links: how.links, mute: how.mute}
						a.add(200, 11*time.Minute)
						s := &shelfless{feed: drover.Feed{Tenant: tenantID, Source: src.id}}
						s.hold(src, a.rows)
						if r := a.audit(t, s); r.Verdict != Agree || r.Feeds[0].Counts.API != 200 || r.Feeds[0].Counts.Same != 200 {
							t.Errorf("%s: %v %+v", r.Verdict, r.Feeds[0].CannotTell, r.Feeds[0].Counts)
						}
						s.keys = append(s.keys[:100:100], s.keys[103:]...)
						r := a.audit(t, s)
						if r.Verdict != Differ || r.Feeds[0].Counts.Unexplained != 3 || r.Feeds[0].Differences[0].AlertID != "a100" {
							t.Errorf("%s: %+v", r.Verdict, r.Feeds[0].Differences)
						}
					})
				})
			}
		}
	}
}

// An answer that is cut at some number of rows, whichever it shows, hides none:
// also where all lie close together in a wide window.
func TestAWindowThatIsCutIsFoundOutWhicheverRowsItShows(t *testing.T) {
	const most = 9
	for how, cut := range map[string]func([]string) []string{
		"the newest": func(r []string) []string { return r[:min(most, len(r))] },
		"the oldest": func(r []string) []string { return r[max(0, len(r)-most):] },
		"the middle": func(r []string) []string { return r[max(0, len(r)-most)/2:][:min(most, len(r))] },
		"both ends": func(r []string) []string {
			return slices.Concat(r[:min(most/2, len(r))], r[max(min(most/2, len(r)), len(r)-most+most/2):])
		},
		"some": func(r []string) []string {
			r = slices.Clone(r)
			rand.New(rand.NewPCG(uint64(len(r)), 1)).Shuffle(len(r), func(i, j int) { r[i], r[j] = r[j], r[i] })
			return r[:min(most, len(r))]
		},
	} {
		for where, every := range map[string]time.Duration{"spread": 3 * time.Hour, "close together": 7 * time.Second} {
			t.Run(how+", "+where, func(t *testing.T) {
				a := &api{src: &mdeAlerts, limit: 5000, cut: cut}
				a.add(150, every)
				s := &shelfless{feed: drover.Feed{Tenant: tenantID, Source: drover.MDEAlerts}} // which has none of them
				if r := a.audit(t, s); r.Feeds[0].Counts.API != 150 || r.Verdict != Differ {
					t.Errorf("%s: %d of 150 rows by %d requests", r.Verdict, r.Feeds[0].Counts.API, len(a.asked))
				}
			})
		}
	}
}

// The API says how many rows it has no more than how wide a window may be: rows
// that are few take few requests, and no answer holds very many.
func TestWindowsAreAsWideAsTheirRowsAllow(t *testing.T) {
	for name, tt := range map[string]struct{ rows, known, most, requests int }{
		"none":                                {0, 0, 0, 13},
		"a few":                               {600, 600, 600, 13},
		"thousands":                           {5000, 5000, 1500, 30},
		"thousands of which is known of none": {5000, 0, 4000, 40},
	} {
		a := &api{src: &mdeAlerts, limit: 5000}
		biggest := 0
		a.cut = func(r []string) []string {
			biggest = max(biggest, len(r))
			return r
		}
		if tt.rows > 0 {
			a.add(tt.rows, 890*time.Hour/time.Duration(tt.rows))
		}
		s := &shelfless{feed: drover.Feed{Tenant: tenantID, Source: drover.MDEAlerts}}
		s.hold(&mdeAlerts, a.rows)
		s.counted = tt.known
		if r := a.audit(t, s); r.Verdict != Agree || r.Feeds[0].Counts.API != tt.rows || len(a.asked) > tt.requests || biggest > tt.most {
			t.Errorf("%s: %s, %d rows by %d requests, %d in an answer", name, r.Verdict, r.Feeds[0].Counts.API, len(a.asked), biggest)
		}
	}
}

// More rows of one instant than an answer holds, and no link: nothing but the
// count tells that there are more.
func TestRowsThatNoAnswerShowsAreNotTakenForNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{src: &graphAlerts, limit: 10}
		a.add(30, 0)
		s := &shelfless{feed: drover.Feed{Tenant: tenantID, Source: drover.GraphAlerts}}
		s.hold(&graphAlerts, a.rows)
		s.keys = s.keys[5:] // of the rows that are never shown
		if r := a.audit(t, s); r.Verdict != CannotTell || !strings.Contains(fmt.Sprint(r.Feeds[0].CannotTell), "says that there are 30 rows") {
			t.Errorf("%s: %v %+v", r.Verdict, r.Feeds[0].CannotTell, r.Feeds[0].Differences)
		}
	})
}

func TestAGapOfOneProductExplainsNoOthersRows(t *testing.T) {
	for provider, want := range map[string]Verdict{"": Agree, "one": Agree, "two": Differ} {
		synctest.Test(t, func(t *testing.T) {
			a := &api{src: &graphAlerts, limit: 100, links: true}
			a.add(20, time.Hour)
			s := &shelfless{feed: drover.Feed{Tenant: tenantID, Source: drover.GraphAlerts}}
			s.hold(&graphAlerts, a.rows[:15])
			s.gaps = []drover.Gap{{ID: 1, Feed: s.feed, Provider: provider, State: drover.GapOpen, Span: drover.Span{From: begin.Add(14 * time.Hour), To: begin.Add(40 * time.Hour)}}}
			if r := a.audit(t, s); r.Verdict != want {
				t.Errorf("%q: %s", provider, r.Verdict)
			}
			s.gaps[0].State = drover.GapClosed
			if r := a.audit(t, s); r.Verdict != Differ {
				t.Errorf("closed: %s", r.Verdict)
			}
		})
	}
}

// Where the call for one row knows nothing of a row that the list shows, the
// row is still there.
func TestOneWordOfTheAPIDoesNotExplainARowAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := graphAlerts
		lost.one = func(string) string { return "/nothing-has-this-id" }
		sources[lost.id] = &lost
		defer func() { sources[lost.id] = &graphAlerts }()
		a := &api{src: &lost, limit: 100, links: true}
		a.add(20, time.Hour)
		s := &shelfless{feed: drover.Feed{Tenant: tenantID, Source: lost.id}}
		s.hold(&lost, a.rows[:15])
		if r := a.audit(t, s); r.Verdict != Differ || r.Feeds[0].Counts.Unexplained != 5 {
			t.Errorf("%s: %+v", r.Verdict, r.Feeds[0].Differences)
		}
	})
}
