package splunk

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const (
	guid  = "0f6c8a52-3d8e-4f53-9d3b-9f6f3f6f0001"
	other = "0f6c8a52-3d8e-4f53-9d3b-9f6f3f6f0002"
)

var testTokens = []Token{
	{Name: "plain", Value: "plain-value", Indexes: []string{"main", "alerts"}},
	{Name: "acked", Value: "acked-value", UseACK: true},
	{Name: "closed", Value: "closed-value", Disabled: true},
}

// post sends a body to a path without a network.
func post(t *testing.T, r *Receiver, path, token, body string, headers ...string) (int, string) {
	t.Helper()
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	if token != "" {
		req.Header.Set("Authorization", "Splunk "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if v := recover(); v != nil && v != http.ErrAbortHandler {
				panic(v)
			} else if v != nil {
				w.Code = 0
			}
		}()
		r.ServeHTTP(w, req)
	}()
	return w.Code, w.Body.String()
}

func newReceiver(t *testing.T, opt Options) *Receiver {
	t.Helper()
	if opt.Tokens == nil {
		opt.Tokens = testTokens
	}
	r, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// bodies lists the bodies of events that were kept.
func bodies(r *Receiver) []string {
	var list []string
	events, _ := r.Events()
	for _, e := range events {
		if e.Kept {
			list = append(list, string(e.Body))
		}
	}
	return list
}

func TestEachEventIsJudgedAsTheContractSays(t *testing.T) {
	const answered = `{"text":"Success","code":0}`
	bad := func(code int, text string, n int) string {
		return fmt.Sprintf(`{"text":%q,"code":%d,"invalid-event-number":%d}`, text, code, n)
	}
	for name, tt := range map[string]struct {
		body   string
		status int
		answer string
		kept   []string
	}{
		"objects one after the other":                       {`{"event":1}{"event":"b"} {"event":{"c" : 3}}`, 200, answered, []string{`1`, `"b"`, `{"c" : 3}`}},
		"an array":                                          {` [{"event":1} , {"event":2}]`, 200, answered, []string{`1`, `2`}},
		"bytes are kept as they came":                       {`{"event":{ "é":"\u00e9<&>", "n":1.50e+3,"big":123456789012345678901 }}`, 200, answered, []string{`{ "é":"\u00e9<&>", "n":1.50e+3,"big":123456789012345678901 }`}},
		"nothing":                                           {" \n", 400, `{"text":"No data","code":5}`, nil},
		"an empty array":                                    {`[]`, 400, `{"text":"No data","code":5}`, nil},
		"broken after one: the one is indexed":              {`{"event":1}{"event":`, 400, bad(6, "Invalid data format", 1), []string{`1`}},
		"an array without its end":                          {`[{"event":1},{"event":2}`, 400, bad(6, "Invalid data format", 2), []string{`1`, `2`}},
		"a comma between objects":                           {`{"event":1},{"event":2}`, 400, bad(6, "Invalid data format", 1), []string{`1`}},
		"no object":                                         {`17`, 400, bad(6, "Invalid data format", 0), nil},
		"event missing":                                     {`{"event":1}{"time":2}{"event":3}`, 400, bad(12, "Event field is required", 1), []string{`1`}},
		"event null":                                        {`{"event":null}`, 400, bad(12, "Event field is required", 0), nil},
		"event blank":                                       {`{"event":1}{"event":2}{"event":" "}`, 400, bad(13, "Event field cannot be blank", 2), []string{`1`, `2`}},
		"time as number, string, negative":                  {`{"event":1,"time":1700000000.123}{"event":2,"time":"1700000000"}{"event":3,"time":-1.5}`, 200, answered, []string{`1`, `2`, `3`}},
		"time in scientific notation":                       {`{"event":1}{"event":2,"time":1.7e9}`, 400, bad(15, "Error in handling indexed fields", 1), []string{`1`}},
		"time in scientific notation as text":               {`{"event":2,"time":"1.7E+9"}`, 400, bad(15, "Error in handling indexed fields", 0), nil},
		"time is a word":                                    {`{"event":2,"time":"yesterday"}`, 400, bad(6, "Invalid data format", 0), nil},
		"fields of strings and lists":                       {`{"event":1,"fields":{"a":"b","c":["d","e"]}}`, 200, answered, []string{`1`}},
		"fields nested":                                     {`{"event":1}{"event":1,"fields":{"a":{"b":"c"}}}`, 400, bad(15, "Error in handling indexed fields", 1), []string{`1`}},
		"fields nested in a list":                           {`{"event":1,"fields":{"a":[["b"]]}}`, 400, bad(15, "Error in handling indexed fields", 0), nil},
		"fields not an object":                              {`{"event":1,"fields":[]}`, 400, bad(15, "Error in handling indexed fields", 0), nil},
		"an index that is allowed":                          {`{"event":1,"index":"alerts"}`, 200, answered, []string{`1`}},
		"an index that is not: the number is one too far":   {`{"event":1}{"event":2,"index":"secret"}{"event":3}`, 400, bad(7, "Incorrect index", 2), []string{`1`}},
		"an unknown key: only those before it, and success": {`{"event":1}{"event":2,"colour":"red"}{"event":3}`, 200, answered, []string{`1`}},
		"an unknown key alone":                              {`{"event":2,"colour":"red"}`, 400, `{"text":"No data","code":5}`, nil},
		"host is no string":                                 {`{"event":1,"host":7}`, 400, bad(6, "Invalid data format", 0), nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, Options{})
			status, answer := post(t, r, "/services/collector/event", "plain-value", tt.body)
			if status != tt.status || answer != tt.answer {
				t.Errorf("got %d %s, want %d %s", status, answer, tt.status, tt.answer)
			}
			if got := bodies(r); fmt.Sprint(got) != fmt.Sprint(tt.kept) {
				t.Errorf("kept %v, want %v", got, tt.kept)
			}
		})
	}
}

func TestWhoMaySendIsDecidedByTheToken(t *testing.T) {
	for name, tt := range map[string]struct {
		path, header string
		cloud        bool
		channel      string
		status, code int
	}{
		"no token":                      {"/services/collector", "", false, "", 401, 2},
		"another scheme":                {"/services/collector", "Bearer plain-value", false, "", 401, 3},
		"scheme without token":          {"/services/collector", "Splunk ", false, "", 401, 3},
		"unknown token":                 {"/services/collector", "Splunk plain-valuf", false, "", 403, 4},
		"disabled token":                {"/services/collector", "Splunk closed-value", false, "", 403, 1},
		"token in the address":          {"/services/collector?token=plain-value", "", false, "", 400, 16},
		"channel missing":               {"/services/collector/event", "Splunk acked-value", false, "", 400, 10},
		"channel missing in the cloud":  {"/services/collector/event", "Splunk acked-value", true, "", 400, 28},
		"channel is no GUID":            {"/services/collector/event/1.0", "Splunk acked-value", false, "seven", 400, 11},
		"acks without acknowledgement":  {"/services/collector/ack", "Splunk plain-value", false, guid, 400, 14},
		"acks without channel":          {"/services/collector/ack", "Splunk acked-value", false, "", 400, 10},
		"good":                          {"/services/collector", "splunk plain-value", false, "", 200, 0},
		"good with channel in address":  {"/services/collector?channel=" + guid, "Splunk acked-value", false, "", 200, 0},
		"not one of the collector's":    {"/services/collector/nothing", "Splunk plain-value", false, "", 404, 404},
		"raw lines, one event each":     {"/services/collector/raw", "Splunk plain-value", false, "", 200, 0},
		"raw lines for a foreign index": {"/services/collector/raw?index=secret", "Splunk plain-value", false, "", 400, 7},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, Options{Cloud: tt.cloud})
			var headers []string
			if tt.header != "" {
				headers = append(headers, "Authorization", tt.header)
			}
			if tt.channel != "" {
				headers = append(headers, "X-Splunk-Request-Channel", tt.channel)
			}
			status, answer := post(t, r, tt.path, "", `{"event":1}`, headers...)
			if status != tt.status || !strings.Contains(answer, fmt.Sprintf(`"code":%d`, tt.code)) {
				t.Errorf("got %d %s, want %d with code %d", status, answer, tt.status, tt.code)
			}
		})
	}
}

func TestABodyOverTheLimitIsRefusedInTheReceiversOwnWay(t *testing.T) {
	big := `{"event":"` + strings.Repeat("x", 2000) + `"}`
	zip := func(text string) *bytes.Buffer {
		var b bytes.Buffer
		zw := gzip.NewWriter(&b)
		if _, err := io.WriteString(zw, text); err != nil {
			t.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		return &b
	}
	zipped, small := zip(big), zip(`{"event":1}`)
	for name, tt := range map[string]struct {
		cloud    bool
		body     string
		encoding string
		status   int
		answer   string
	}{
		"enterprise":                         {false, big, "", 413, "too large"},
		"enterprise counts what it inflates": {false, zipped.String(), "gzip", 413, "too large"},
		"cloud names object 0":               {true, `{"event":1}` + big, "", 400, `"code":6,"invalid-event-number":0`},
		"deflate":                            {false, "x", "deflate", 415, "encoding"},
		"gzip that is none":                  {false, "{}", "gzip", 400, `"code":6`},
		"gzip cut short":                     {false, small.String()[:small.Len()-9], "gzip", 400, `"code":6`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, Options{Cloud: tt.cloud, MaxContentLength: 1000})
			status, answer := post(t, r, "/services/collector", "plain-value", tt.body, "Content-Encoding", tt.encoding)
			if status != tt.status || !strings.Contains(answer, tt.answer) || len(bodies(r)) != 0 {
				t.Errorf("got %d %s, kept %d", status, answer, len(bodies(r)))
			}
		})
	}
	r := newReceiver(t, Options{})
	if status, _ := post(t, r, "/services/collector", "plain-value", zipped.String(), "Content-Encoding", "gzip"); status != 200 || len(bodies(r)) != 1 {
		t.Errorf("gzip within the limit: %d, kept %d", status, len(bodies(r)))
	}
}

func TestAcknowledgementsAreSaidOnceAndCountedPerChannel(t *testing.T) {
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	r := newReceiver(t, Options{AckDelay: 10 * time.Second, Now: func() time.Time { return now }})
	send := func(channel string) string {
		_, answer := post(t, r, "/services/collector", "acked-value", `{"event":1}`, "X-Splunk-Request-Channel", channel)
		return answer
	}
	ask := func(channel, ids string) string {
		_, answer := post(t, r, "/services/collector/ack", "acked-value", `{"acks":[`+ids+`]}`, "X-Splunk-Request-Channel", channel)
		return answer
	}
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	expect("first id of a channel", send(guid), `{"text":"Success","code":0,"ackId":0}`)
	expect("second id", send(strings.ToUpper(guid)), `{"text":"Success","code":0,"ackId":1}`)
	expect("another channel starts at 0", send(other), `{"text":"Success","code":0,"ackId":0}`)
	expect("not yet", ask(guid, "0,1"), `{"acks":{"0":false,"1":false}}`)
	now = now.Add(10 * time.Second)
	expect("id of another channel, unknown id", ask(other, "1,7"), `{"acks":{"1":false,"7":false}}`)
	expect("true", ask(guid, "0"), `{"acks":{"0":true}}`)
	expect("said once", ask(guid, "0,1"), `{"acks":{"0":false,"1":true}}`)
	_, answer := post(t, r, "/services/collector", "acked-value", `{"event":1}{"event":""}`, "X-Splunk-Request-Channel", guid)
	expect("those before a bad one get an id", answer, `{"text":"Event field cannot be blank","code":13,"invalid-event-number":1,"ackId":2}`)
	r.Restart()
	now = now.Add(10 * time.Second)
	expect("a restart loses ids", ask(guid, "2"), `{"acks":{"2":false}}`)
	expect("a restart starts at 0", send(guid), `{"text":"Success","code":0,"ackId":0}`)
	now = now.Add(700 * time.Second)
	expect("an idle channel is forgotten", ask(guid, "0"), `{"acks":{"0":false}}`)
	if c := r.Counters(); c.ChannelsForgotten != 1 || c.Confirmed != 2 || c.Restarts != 1 {
		t.Errorf("counters: %+v", c)
	}
}

func TestABalancerWithoutItsCookieAsksAnotherNode(t *testing.T) {
	r := newReceiver(t, Options{Nodes: 2})
	srv := httptest.NewServer(r)
	defer srv.Close()
	do := func(path, body string, cookies []*http.Cookie) (string, []*http.Cookie) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Splunk acked-value")
		req.Header.Set("X-Splunk-Request-Channel", guid)
		for _, c := range cookies {
			req.AddCookie(c)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b), resp.Cookies()
	}
	_, cookies := do("/services/collector", `{"event":1}`, nil)
	if got, _ := do("/services/collector/ack", `{"acks":[0]}`, nil); !strings.Contains(got, "false") {
		t.Errorf("another node knew the id: %s", got)
	}
	if got, _ := do("/services/collector/ack", `{"acks":[0]}`, cookies); !strings.Contains(got, "true") {
		t.Errorf("its own node did not know the id: %s", got)
	}
}

func TestHealthSaysWhatTheSwitchesSay(t *testing.T) {
	r := newReceiver(t, Options{})
	get := func(token string) string {
		req := httptest.NewRequest(http.MethodGet, "/services/collector/health", nil)
		if token != "" {
			req.Header.Set("Authorization", "Splunk "+token)
		}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		return fmt.Sprint(w.Code, " ", w.Body)
	}
	for token, want := range map[string]string{"": `200 {"text":"HEC is healthy","code":17}`, "wrong": `400 {"text":"Invalid token","code":21}`, "closed-value": `400 {"text":"Token disabled","code":22}`} {
		if got := get(token); got != want {
			t.Errorf("token %q: got %s, want %s", token, got, want)
		}
	}
	for kind, code := range map[string]int{"unhealthy-queues": 18, "unhealthy-ack": 19, "unhealthy": 20, "shutting-down": 23} {
		if _, err := r.Set(Fault{Kind: kind, On: "health", Count: 1}); err != nil {
			t.Fatal(err)
		}
		if got := get(""); !strings.HasPrefix(got, "503") || !strings.Contains(got, fmt.Sprintf(`"code":%d}`, code)) {
			t.Errorf("%s: got %s", kind, got)
		}
	}
}

func TestTheLogHoldsWhatCameInAndWhatWasSaid(t *testing.T) {
	var log bytes.Buffer
	at := time.Date(2026, 3, 2, 8, 0, 0, 500, time.UTC)
	r := newReceiver(t, Options{Log: &log, Now: func() time.Time { return at }})
	post(t, r, "/services/collector", "plain-value", `{"event":{"a": 1 , "b":"<é>"},"time":1.5,"host":"h","source":"s","sourcetype":"st","fields":{"k":["v"]}}`+
		`{"event":"x","colour":1}`)
	post(t, r, "/services/collector", "plain-value", "{\"event\":{\n\"a\":2}}{\"event\":\"\"}")
	want := `{"t":"start","at":"2026-03-02T08:00:00.0000005Z"}
{"t":"event","at":"2026-03-02T08:00:00.0000005Z","n":1,"i":0,"token_name":"plain","channel":"","host":"h","source":"s","sourcetype":"st","index":"main","time":"1.5","fields":{"k":["v"]},"kept":true,"answered":true,"event":{"a": 1 , "b":"<é>"}}
{"t":"event","at":"2026-03-02T08:00:00.0000005Z","n":1,"i":1,"token_name":"plain","channel":"","host":"","source":"","sourcetype":"","index":"main","time":"","kept":false,"answered":true,"event":"x"}
{"t":"request","at":"2026-03-02T08:00:00.0000005Z","n":1,"path":"events","status":200,"code":0,"events":2,"bytes":129,"fault":"","answered":true}
{"t":"event","at":"2026-03-02T08:00:00.0000005Z","n":2,"i":0,"token_name":"plain","channel":"","host":"","source":"","sourcetype":"","index":"main","time":"","kept":true,"answered":true,"event_base64":"ewoiYSI6Mn0="}
{"t":"event","at":"2026-03-02T08:00:00.0000005Z","n":2,"i":1,"token_name":"plain","channel":"","host":"","source":"","sourcetype":"","index":"main","time":"","kept":false,"answered":false,"event":""}
{"t":"request","at":"2026-03-02T08:00:00.0000005Z","n":2,"path":"events","status":400,"code":13,"events":2,"bytes":30,"fault":"","answered":true}
`
	if log.String() != want {
		t.Errorf("got\n%s\nwant\n%s", log.String(), want)
	}
	for line := range bytes.Lines(log.Bytes()) {
		if !json.Valid(line) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	r := newReceiver(t, Options{KeepBytes: 10_000})
	for range 100 {
		post(t, r, "/services/collector", "plain-value", `{"event":"`+strings.Repeat("x", 1000)+`"}`)
	}
	events, dropped := r.Events()
	if len(events) == 0 || len(events) > 10 || uint64(len(events))+dropped != 100 {
		t.Errorf("%d kept, %d let go", len(events), dropped)
	}
	if events[len(events)-1].Request != 100 {
		t.Errorf("the newest is request %d", events[len(events)-1].Request)
	}
}
