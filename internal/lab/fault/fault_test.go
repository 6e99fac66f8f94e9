package fault_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"drover/internal/lab/fault"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func TestARuleHitsWhomWhenAndHowOftenItSays(t *testing.T) {
	type hits struct {
		n int // of 1000 requests of each of two tenants at each of four APIs
	}
	for name, tt := range map[string]struct {
		rule fault.Rule
		want int
	}{
		"everybody at both APIs":            {fault.Rule{Kind: fault.Reset}, 4000},
		"one tenant":                        {fault.Rule{Kind: fault.Reset, Tenant: "a"}, 2000},
		"one API":                           {fault.Rule{Kind: fault.Reset, API: "siem"}, 2000},
		"the token endpoint":                {fault.Rule{Kind: fault.Reset, API: "token"}, 2000},
		"connections":                       {fault.Rule{Kind: fault.Reset, API: "conn"}, 2000},
		"a kind that is Graph's alone":      {fault.Rule{Kind: fault.Clamp, Param: 1}, 2000},
		"so many times":                     {fault.Rule{Kind: fault.Reset, Count: 7}, 7},
		"not at first":                      {fault.Rule{Kind: fault.Reset, Skip: 3990}, 10},
		"not yet":                           {fault.Rule{Kind: fault.Reset, From: noon.Add(time.Second)}, 0},
		"no more":                           {fault.Rule{Kind: fault.Reset, To: noon}, 0},
		"from now":                          {fault.Rule{Kind: fault.Reset, From: noon, To: noon.Add(1)}, 4000},
		"not at first, and then so many":    {fault.Rule{Kind: fault.Reset, Skip: 3, Count: 5}, 5},
		"a share, until there were so many": {fault.Rule{Kind: fault.Reset, Share: 0.5, Count: 20}, 20},
	} {
		d := fault.New(1, func() time.Time { return noon }, nil)
		d.Set(tt.rule)
		got := hits{}
		for range 1000 {
			for _, api := range []string{"graph", "siem", "token", "conn"} {
				for _, tenant := range []string{"a", "b"} {
					got.n += len(d.Deal(api, tenant))
				}
			}
		}
		if got.n != tt.want || d.Hits()[tt.rule.Kind] != tt.want {
			t.Errorf("%s: %d hits, %d counted, want %d", name, got.n, d.Hits()[tt.rule.Kind], tt.want)
		}
	}
}

func TestAShareIsAShareAndTheSameForTheSameSeed(t *testing.T) {
	run := func(seed uint64) (which string, n int) {
		d := fault.New(seed, func() time.Time { return noon }, nil)
		d.Set(fault.Rule{Kind: fault.Reset, Share: 0.3})
		for range 10_000 {
			if len(d.Deal("graph", "a")) > 0 {
				n++
				which += "x"
			} else {
				which += "."
			}
		}
		return which, n
	}
	a, n := run(1)
	b, _ := run(1)
	c, _ := run(2)
	if n < 2800 || n > 3200 || a != b || a == c {
		t.Errorf("%d hits of 10,000; same seed, same hits: %v; another seed, others: %v", n, a == b, a != c)
	}
}

func TestARequestBeforeTheWaitIsOverIsNoted(t *testing.T) {
	now, early := noon, 0
	d := fault.New(1, func() time.Time { return now }, func(kind string, _ ...any) {
		if kind == "early" {
			early++
		}
	})
	d.Set(fault.Rule{Kind: fault.Status, Param: 429, RetryAfter: "10", Obey: 10 * time.Second, Count: 1})
	d.Deal("graph", "a")
	d.Deal("graph", "b")
	d.Deal("siem", "a")
	now = now.Add(9 * time.Second)
	d.Deal("graph", "a")
	now = now.Add(time.Second)
	d.Deal("graph", "a")
	if early != 1 {
		t.Errorf("%d noted", early)
	}
}

func TestTheDeskAddsReplacesAndRemovesRules(t *testing.T) {
	now := noon
	d := fault.New(1, func() time.Time { return now }, nil)
	do := func(method, target, body string) (status int, rules []map[string]any, text string) {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
		_ = json.Unmarshal(w.Body.Bytes(), &rules)
		return w.Code, rules, w.Body.String()
	}
	if status, _, text := do(http.MethodGet, "/", ""); status != 200 || text != "[]\n" {
		t.Errorf("no rules: %d %q", status, text)
	}
	status, rules, text := do(http.MethodPost, "/", `[{"kind":"status","param":429,"retry_after":"5","obey":"5s","share":0.5},{"kind":"cut","param":500,"for":"1m","tenant":"a"}]`)
	if status != 200 || len(rules) != 2 || rules[0]["obey"] != "5s" || rules[0]["id"] != 1.0 || rules[1]["to"] != "2026-03-02T12:01:00Z" || rules[1]["hits"] != 0.0 {
		t.Fatalf("%d %s", status, text)
	}
	d.Deal("graph", "a")
	if _, rules, _ = do(http.MethodGet, "/", ""); rules[1]["hits"] != 1.0 {
		t.Errorf("hits are not shown: %v", rules[1])
	}
	now = now.Add(time.Minute)
	if dealt := d.Deal("graph", "a"); len(dealt) == 2 {
		t.Error("the rule outlived its time")
	}
	// What is shown can be sent back.
	_, _, text = do(http.MethodGet, "/", "")
	if status, rules, _ = do(http.MethodPut, "/", text); status != 200 || len(rules) != 2 {
		t.Errorf("sent back: %d, %d rules", status, len(rules))
	}
	if status, rules, _ = do(http.MethodDelete, "/?id=4", ""); status != 200 || len(rules) != 1 || rules[0]["id"] != 3.0 {
		t.Errorf("one removed: %d %v", status, rules)
	}
	if status, _, _ = do(http.MethodDelete, "/?id=4", ""); status != 404 {
		t.Errorf("removed twice: %d", status)
	}
	for name, body := range map[string]string{
		"no array":                                   `{"kind":"cut"}`,
		"an unknown kind":                            `[{"kind":"cutt"}]`,
		"an unknown member":                          `[{"kind":"cut","parm":1}]`,
		"a duration of no form":                      `[{"kind":"cut","for":"one minute"}]`,
		"a status that is none":                      `[{"kind":"status","param":42}]`,
		"a place where it cannot be dealt":           `[{"kind":"clamp","param":1,"api":"token"}]`,
		"a kind of the token endpoint with no place": `[{"kind":"aadsts","param":50034}]`,
		"a bad row of no name":                       `[{"kind":"bad_row","value":"worse"}]`,
		"a share above one":                          `[{"kind":"cut","share":30}]`,
		"one good and one bad":                       `[{"kind":"cut"},{"kind":"x"}]`,
	} {
		if status, _, text := do(http.MethodPost, "/", body); status != 400 || len(text) < 20 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if _, rules, _ = do(http.MethodGet, "/", ""); len(rules) != 1 {
		t.Errorf("a refused request changed the rules: %v", rules)
	}
	if status, rules, _ = do(http.MethodDelete, "/", ""); status != 200 || len(rules) != 0 {
		t.Errorf("all removed: %d %v", status, rules)
	}
	if status, _, _ = do(http.MethodPatch, "/", ""); status != 405 {
		t.Errorf("PATCH: %d", status)
	}
}

func TestARuleThatCannotBeDealtIsAMistakeOfTheCaller(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a misspelt kind was taken and would never have hit")
		}
	}()
	fault.New(1, time.Now, nil).Set(fault.Rule{Kind: "statsu"})
}
