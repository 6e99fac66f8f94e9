package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drover/internal/lab/api"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/lab/truth"
)

const (
	contoso  = "11111111-0000-4000-8000-000000000001"
	fabrikam = "22222222-0000-4000-8000-000000000002"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// cloud is the APIs over an estate, with a clock that stands still until
// somebody moves it. A token is "tenant app role role".
type cloud struct {
	*testing.T
	now    time.Time
	estate *estate.Estate
	faults *fault.Dealer
	log    *bytes.Buffer
	api    *api.API
	conns  atomic.Int64
}

func newCloud(t *testing.T, sw api.Switches, stories ...estate.Options) *cloud {
	c := &cloud{T: t, now: noon, log: new(bytes.Buffer)}
	clock := func() time.Time { return c.now }
	log := truth.New(c.log, clock)
	c.faults = fault.New(1, clock, log.Event)
	c.estate = estate.New(1, c.now, nil)
	for _, s := range stories {
		c.estate.Add(s)
	}
	c.api = api.New(api.Options{Estate: c.estate, Faults: c.faults, Truth: log, Clock: clock, Switches: sw,
		Verify: func(raw string) (api.Caller, error) {
			words := strings.Fields(strings.ReplaceAll(raw, "_", " "))
			if len(words) < 2 {
				return api.Caller{}, errors.New("IDX14100: JWT is not well formed.")
			}
			return api.Caller{Tenant: words[0], App: words[1], Audience: "for all", Roles: words[2:]}, nil
		},
		Region:        func(string) string { return "eu" },
		GraphAudience: func(_, a string) bool { return a == "for all" },
		SIEMAudience:  func(_, a string) bool { return a == "for all" },
		MDEAudience:   func(_, a string, strict bool) bool { return a == "for all" && !strict },
	})
	return c
}

const reader = contoso + "_app_SecurityAlert.Read.All_SecurityIncident.Read.All_Alert.Read.All"

// ask sends one request, with headers as name and value in turn.
func (c *cloud) ask(target string, headers ...string) *http.Response {
	c.Helper()
	return c.do(http.MethodGet, target, headers...)
}

func (c *cloud) do(method, target string, headers ...string) *http.Response {
	c.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Authorization", "Bearer "+reader)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if e := recover(); e != nil && e != http.ErrAbortHandler { //nolint:errorlint // that value, as net/http compares it
				panic(e)
			}
		}()
		switch path := strings.ToLower(r.URL.Path); {
		case strings.HasPrefix(r.Host, "mde."), strings.Contains(path, "/api/v1.0/"):
			c.api.MDE(w, r)
		case strings.Contains(path, "/api/"):
			c.api.SIEM(w, r)
		default:
			c.api.Graph(w, r)
		}
	}()
	return w.Result()
}

const alerts = "https://graph.lab.test/v1.0/security/alerts_v2"

// query asks for alerts with options as name and value in turn.
func (c *cloud) query(options ...string) *http.Response {
	c.Helper()
	v := url.Values{}
	for i := 0; i < len(options); i += 2 {
		v.Set(options[i], options[i+1])
	}
	return c.ask(alerts + "?" + v.Encode())
}

// page is an answer of alerts_v2.
type page struct {
	Context string            `json:"@odata.context"`
	Count   *int              `json:"@odata.count"`
	Next    string            `json:"@odata.nextLink"`
	Value   []json.RawMessage `json:"value"`
}

func (c *cloud) page(resp *http.Response) (p page) {
	c.Helper()
	if resp.StatusCode != http.StatusOK {
		c.Fatalf("status %d: %s", resp.StatusCode, text(resp))
	}
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		c.Fatal(err)
	}
	return p
}

// walk follows nextLinks to the end and calls f behind each page. What headers
// the first request had, the others must have.
func (c *cloud) walk(resp *http.Response, f func(page), headers ...string) (rows []json.RawMessage) {
	c.Helper()
	for range 10_000 {
		p := c.page(resp)
		rows = append(rows, p.Value...)
		if f != nil {
			f(p)
		}
		if p.Next == "" {
			return rows
		}
		resp = c.ask(p.Next, headers...)
	}
	c.Fatal("the links do not end")
	return nil
}

func text(resp *http.Response) string {
	var b bytes.Buffer
	_, _ = b.ReadFrom(resp.Body)
	return b.String()
}

// alert is what tests look at in a row.
type alert struct {
	ID             string    `json:"id"`
	TenantID       string    `json:"tenantId"`
	Severity       string    `json:"severity"`
	Status         string    `json:"status"`
	ServiceSource  string    `json:"serviceSource"`
	Classification *string   `json:"classification"`
	Determination  *string   `json:"determination"`
	AssignedTo     *string   `json:"assignedTo"`
	Created        time.Time `json:"createdDateTime"`
	Changed        time.Time `json:"lastUpdateDateTime"`
	Updated        time.Time `json:"lastUpdateTime"` // of Defender for Endpoint
}

// changed is the change time, whatever the API calls it.
func (a alert) changed() time.Time {
	if a.Changed.IsZero() {
		return a.Updated
	}
	return a.Changed
}

func (c *cloud) alerts(rows []json.RawMessage) []alert {
	c.Helper()
	list := make([]alert, len(rows))
	for i, raw := range rows {
		if err := json.Unmarshal(raw, &list[i]); err != nil {
			c.Fatalf("%v in %s", err, raw)
		}
	}
	return list
}

// events returns the lines of the truth log of one kind.
func (c *cloud) events(kind string) (list []map[string]any) {
	c.Helper()
	for line := range strings.Lines(c.log.String()) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			c.Fatalf("%v in %s", err, line)
		}
		if e["t"] == kind {
			list = append(list, e)
		}
	}
	return list
}

func sum(raw []byte) string { return fmt.Sprintf("%x", sha256.Sum256(raw)) }
