package revision

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drover"
)

const src = drover.GraphAlerts

const device = `{"@odata.type":"#microsoft.graph.security.deviceEvidence","mdeDeviceId":"4c1f","healthStatus":"active","riskScore":"high","lastIpAddress":"10.0.0.1","osBuild":1}`

const process = `{"@odata.type":"#microsoft.graph.security.processEvidence","processId":9007199254740993,"version":"1","imageFile":{"fileName":"a.exe","filePath":"c:\\x"}}`

func body(evidence ...string) string {
	return `{"id":"da1","status":"new","lastUpdateDateTime":"2026-03-02T08:03:41.5Z","evidence":[` + strings.Join(evidence, ",") + `],"comments":[{"comment":"a"},{"comment":"b"}]}`
}

func TestSame(t *testing.T) {
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	for name, tt := range map[string]struct {
		a, b string
		want bool
	}{
		"white space and the order of members mean nothing":        {`{"a":1,"b":[2]}`, "{ \"b\":\n[2], \"a\":1 }", true},
		"an escape means what it stands for":                       {`{"a":"A"}`, `{"\u0061":"\u0041"}`, true},
		"evidence comes in any order":                              {body(device, process), body(process, device), true},
		"evidence counts":                                          {body(device, process), body(device, device, process), false},
		"comments come in any order":                               {body(), strings.Replace(body(), `{"comment":"a"},{"comment":"b"}`, `{"comment":"b"},{"comment":"a"}`, 1), true},
		"a device's live members mean nothing":                     {body(device), body(strings.NewReplacer(`"active"`, `"inactive"`, `"high"`, `"low"`, `10.0.0.1`, `10.0.0.2`, `"osBuild":1`, `"osBuild":2`).Replace(device)), true},
		"a live member may be missing":                             {body(device), body(strings.Replace(device, `"riskScore":"high",`, "", 1)), true},
		"a device inside other evidence is one as well":            {body(`{"host":` + device + `}`), body(`{"host":` + strings.Replace(device, "active", "inactive", 1) + `}`), true},
		"a device's identity counts":                               {body(device), body(strings.Replace(device, "4c1f", "4c20", 1)), false},
		"what is live in a device counts in a process":             {body(process), body(strings.Replace(process, `"version":"1"`, `"version":"2"`, 1)), false},
		"a nested member counts":                                   {body(process), body(strings.Replace(process, "a.exe", "b.exe", 1)), false},
		"an argument list is a list":                               {body(`{"args":["a","b"]}`), body(`{"args":["b","a"]}`), false},
		"numbers are compared beyond the precision of floats":      {body(process), body(strings.Replace(process, "9007199254740993", "9007199254740992", 1)), false},
		"1, 1.0 and 10e-1 are one number":                          {`[1,1.0,-0]`, `[10e-1,1,0.0]`, true},
		"1 and -1 are two":                                         {`[1]`, `[-1]`, false},
		"a number without bounds is one with itself":               {`{"a":1e99999999999999999999}`, `{"a" :1e99999999999999999999}`, true},
		"and not with another":                                     {`{"a":1e99999999999999999999}`, `{"a" :1e99999999999999999998}`, false},
		"a number is not the text of it":                           {`{"a":1}`, `{"a":"1"}`, false},
		"null is not nothing":                                      {`{"a":null}`, `{}`, false},
		"the change time counts":                                   {body(), strings.Replace(body(), "41.5Z", "41.6Z", 1), false},
		"a name that stands twice: byte by byte":                   {`{"a":1,"a":1}`, `{"a":1, "a":1}`, false},
		"half a surrogate pair: byte by byte":                      {`{"a":"\ud800"}`, `{"a": "\ud800"}`, false},
		"what is no UTF-8: byte by byte":                           {"{\"a\":\"\xff\"}", "{\"a\": \"\xff\"}", false},
		"what is nested without end: byte by byte":                 {deep, deep + " ", false},
		"and the same bytes are the same":                          {deep, deep, true},
		"what is no JSON: byte by byte":                            {`{`, `{ `, false},
		"one value and a second one: byte by byte":                 {`{} {}`, `{}  {}`, false},
		"the elements of nested arrays are not mixed between them": {`[[1,2],[3]]`, `[[1],[2,3]]`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Same(src, []byte(tt.a), []byte(tt.b)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if got := Same(src, []byte(tt.b), []byte(tt.a)); got != tt.want {
				t.Errorf("the other way round: got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRulesAreTheSources(t *testing.T) {
	a, b := []byte(`{"FullId":"x","LogOnUsers":"a"}`), []byte(`{"FullId":"x","LogOnUsers":"b"}`)
	if !Same(drover.SIEMDetections, a, b) {
		t.Error("the device of a detection is looked up: who is logged on means nothing")
	}
	if Same(drover.GraphAlerts, a, b) || Same("another", a, b) {
		t.Error("a rule of one source counts for another")
	}
	for name, tt := range map[string]struct {
		src   drover.SourceID
		a, b  string
		same  bool
		touch bool
	}{
		"tags of an incident are a set":         {drover.GraphIncidents, `{"id":"1","customTags":["a","b"],"systemTags":["x"]}`, `{"id":"1","systemTags":["x"],"customTags":["b","a"]}`, true, false},
		"comments of an incident are a set":     {drover.GraphIncidents, `{"comments":[{"comment":"a"},{"comment":"b"}]}`, `{"comments":[{"comment":"b"},{"comment":"a"}]}`, true, false},
		"an incident's tag means nothing":       {drover.GraphIncidents, `{"id":"1","@odata.etag":"a"}`, `{"id":"1","@odata.etag":"b"}`, true, false},
		"an incident's score counts":            {drover.GraphIncidents, `{"id":"1","priorityScore":1}`, `{"id":"1","priorityScore":2}`, false, false},
		"an incident that was merged":           {drover.GraphIncidents, `{"id":"1","status":"active"}`, `{"id":"1","status":"redirected"}`, false, false},
		"a touch of an incident":                {drover.GraphIncidents, `{"id":"1","lastUpdateDateTime":"a"}`, `{"id":"1","lastUpdateDateTime":"b"}`, false, true},
		"evidence of Endpoint is a set":         {drover.MDEAlerts, `{"evidence":[{"sha1":"a"},{"sha1":"b"}],"mitreTechniques":["T1","T2"]}`, `{"evidence":[{"sha1":"b"},{"sha1":"a"}],"mitreTechniques":["T2","T1"]}`, true, false},
		"a device group of Endpoint":            {drover.MDEAlerts, `{"machineId":"a","rbacGroupName":"x"}`, `{"machineId":"a","rbacGroupName":"y"}`, true, false},
		"a device of Endpoint counts":           {drover.MDEAlerts, `{"machineId":"a"}`, `{"machineId":"b"}`, false, false},
		"evidence of Endpoint counts":           {drover.MDEAlerts, `{"evidence":[{"detectionStatus":"Detected"}]}`, `{"evidence":[{"detectionStatus":"Blocked"}]}`, false, false},
		"a touch of Endpoint":                   {drover.MDEAlerts, `{"id":"1","lastUpdateTime":"a"}`, `{"id":"1","lastUpdateTime":"b"}`, false, true},
		"Graph's time is no touch for Endpoint": {drover.MDEAlerts, `{"id":"1","lastUpdateDateTime":"a"}`, `{"id":"1","lastUpdateDateTime":"b"}`, false, false},
	} {
		if same := Same(tt.src, []byte(tt.a), []byte(tt.b)); same != tt.same {
			t.Errorf("%s: same %v", name, same)
		}
		if _, touch := Diff(tt.src, []byte(tt.a), []byte(tt.b)); touch != tt.touch {
			t.Errorf("%s: touch %v", name, touch)
		}
	}
}

func TestDiff(t *testing.T) {
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, `,"m%03d":1`, i)
	}
	for name, tt := range map[string]struct {
		a, b  string
		paths []string
		touch bool
	}{
		"nothing":                      {body(device), body(device), nil, false},
		"a member":                     {body(), strings.Replace(body(), `"new"`, `"resolved"`, 1), []string{"status"}, false},
		"only the change time":         {body(device), strings.Replace(body(device), "41.5Z", "41.6Z", 1), []string{"lastUpdateDateTime"}, true},
		"the change time and live":     {body(device), strings.Replace(strings.Replace(body(device), "41.5Z", "41.6Z", 1), "active", "inactive", 1), []string{"lastUpdateDateTime"}, true},
		"the change time and a member": {body(), strings.NewReplacer("41.5Z", "41.6Z", `"new"`, `"resolved"`).Replace(body()), []string{"lastUpdateDateTime", "status"}, false},
		"inside one piece of evidence": {body(device, process), body(strings.Replace(process, "a.exe", "b.exe", 1), device), []string{"evidence[].imageFile.fileName"}, false},
		"evidence that came":           {body(process), body(process, device), []string{"evidence[]"}, false},
		"a member that came and went":  {`{"a":1}`, `{"b":1}`, []string{"a", "b"}, false},
		"another kind":                 {`{"a":{"b":1}}`, `{"a":[1]}`, []string{"a"}, false},
		"a name that is no word":       {`{"my secret":1}`, `{"my secret":2}`, []string{"*"}, false},
		"too many":                     {`{"x":1` + many.String() + `}`, `{"x":1}`, nil, false},
		"not to be compared":           {`{`, `{}`, []string{"*"}, false},
		"a number for an object":       {`1`, `2`, []string{"*"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			paths, touch := Diff(src, []byte(tt.a), []byte(tt.b))
			if name == "too many" {
				if len(paths) != maxPaths || paths[maxPaths-1] != "*" || touch {
					t.Errorf("%d paths, the last %q", len(paths), paths[len(paths)-1])
				}
				return
			}
			if !slices.Equal(paths, tt.paths) || touch != tt.touch {
				t.Errorf("got %q %v, want %q %v", paths, touch, tt.paths, tt.touch)
			}
		})
	}
}

func TestAPathIsBounded(t *testing.T) {
	name := strings.Repeat("a", maxName)
	a := strings.Repeat(`{"`+name+`":`, 100) + `1` + strings.Repeat("}", 100)
	paths, _ := Diff(src, []byte(a), []byte(strings.Replace(a, "1", "2", 1)))
	if len(paths) != 1 || len(paths[0]) > maxPath || !strings.HasSuffix(paths[0], "*") {
		t.Errorf("got %q", paths)
	}
}

func TestUnstableNamesWhatVaries(t *testing.T) {
	got := Unstable(src, []byte(body(process)), []byte(strings.Replace(body(process), `"new"`, `"x"`, 1)), []byte(strings.Replace(body(process), "a.exe", "b", 1)))
	if want := []string{"evidence[].imageFile.fileName", "status"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Unstable(src, []byte(body())); got != nil {
		t.Errorf("one body varies in %q", got)
	}
}

// shuffle writes a value again with members and evidence in another order.
func shuffle(rng *rand.Rand, v any, in string) string {
	switch v := v.(type) {
	case map[string]any:
		names := slices.Sorted(func(yield func(string) bool) {
			for n := range v {
				if !yield(n) {
					return
				}
			}
		})
		rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		var parts []string
		for _, n := range names {
			q, _ := json.Marshal(n)
			parts = append(parts, string(q)+" : "+shuffle(rng, v[n], n))
		}
		return "{" + strings.Join(parts, " , ") + "}"
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, shuffle(rng, e, ""))
		}
		if in != "args" && in != "command" {
			rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	q, _ := json.Marshal(v)
	return string(q)
}

func decode(b []byte) (any, bool) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err == nil && !d.More()
}

// samples are alerts as served, as far as they are here.
func samples(tb testing.TB) (out [][]byte) {
	tb.Helper()
	files, _ := filepath.Glob("../../../shared/testdata/*/*.*json")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		if strings.HasSuffix(f, "ndjson") {
			out = append(out, bytes.Split(bytes.TrimSpace(b), []byte("\n"))...)
		} else {
			out = append(out, b)
		}
	}
	return append(out, []byte(body(device, process)), []byte(`{"a":[{"b":[1,2,{"c":null}]},true]}`))
}

func TestAShuffledAlertIsTheSameAndAChangedOneIsNot(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, b := range samples(t) {
		v, ok := decode(b)
		if !ok {
			t.Fatalf("not JSON: %.60s", b)
		}
		for _, src := range []drover.SourceID{drover.GraphIncidents, drover.MDEAlerts, drover.SIEMDetections} {
			if s := shuffle(rng, v, ""); !Same(src, b, []byte(s)) {
				t.Errorf("%s: shuffled and not the same: %.100s", src, b)
			}
		}
		for range 5 {
			if s := shuffle(rng, v, ""); !Same(src, b, []byte(s)) {
				t.Errorf("shuffled and not the same: %.100s", b)
			} else if paths, touch := Diff(src, b, []byte(s)); len(paths) > 0 || touch {
				t.Errorf("shuffled and different in %q: %.100s", paths, b)
			}
		}
		if m, ok := v.(map[string]any); ok {
			m["title"] = "changed by the test"
			if Same(src, b, []byte(shuffle(rng, v, ""))) {
				t.Errorf("another title and the same: %.100s", b)
			}
		}
	}
}
