package oracle

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	tenantA = "aaaaaaaa-0000-4000-8000-000000000001"
	tenantB = "bbbbbbbb-0000-4000-8000-000000000002"
)

// book writes logs the way the parts that the oracle watches do.
type book struct {
	takesAll                 bool
	truth, file, hec, ledger []string
}

var zero = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

func at(seconds int) string {
	return zero.Add(time.Duration(seconds) * time.Second).Format(time.RFC3339Nano)
}

func row(rev int) string { return fmt.Sprintf(`{"id":"a1","rev":%d}`, rev) }

func newBook() *book {
	return &book{truth: []string{`{"t":"start","at":"` + at(0) + `","seed":7}`, `{"t":"tenant","at":"` + at(0) + `","tenant":"` + strings.ToUpper(tenantA) + `","customer":"contoso"}`}}
}

// serve shows revision rev of alert a1, changed rev seconds after the start.
func (b *book) serve(rev, when int) {
	b.truth = append(b.truth, fmt.Sprintf(`{"t":"served","at":"%s","tenant":"%s","source":"graph.alerts","id":"a1","rev":%d,"changed":"%s","sha256":"%x"}`, at(when), tenantA, rev, at(rev), sha256.Sum256([]byte(row(rev)))))
}

func (b *book) kill(when int) {
	b.truth = append(b.truth, `{"t":"mark","at":"`+at(when)+`","kind":"kill"}`)
}

func (b *book) end(newest int) {
	b.truth = append(b.truth, fmt.Sprintf(`{"t":"end","at":"%s","newest":[{"tenant":"%s","source":"graph.alerts","id":"a1","rev":%d}]}`, at(1000), tenantA, newest))
}

func (b *book) record(rev int) string {
	return fmt.Sprintf(`{"drover":{"event_id":"%032x","tenant":"%s","customer":"contoso","source":"graph.alerts","alert_id":"a1","changed":"%s","ordinal":0,"seq":%d,"incarnation":"i","sha256":"%x"},"alert":%s}`,
		rev+1, tenantA, at(rev), rev+1, sha256.Sum256([]byte(row(rev))), row(rev))
}

// send writes a line of the receiver log.
func (b *book) send(rev, n, when int, answered bool, more string) {
	b.hec = append(b.hec, fmt.Sprintf(`{"t":"event","at":"%s","n":%d,"i":0,"token_name":"t","channel":"","host":"","source":"","sourcetype":"","index":"main","time":""%s,"kept":true,"answered":%t,"event":%s}`, at(when), n, more, answered, b.record(rev)))
}

func text3(lines []string) []byte {
	if len(lines) == 0 {
		return nil
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

func (b *book) judge(t *testing.T, places ...string) *Verdict {
	t.Helper()
	in := Input{Truth: []Log{Text("truth", text3(b.truth))}}
	for _, name := range places {
		switch name {
		case "file":
			in.Sinks = append(in.Sinks, Place{Name: name, Kind: KindFile, Logs: []Log{Text("out", text3(b.file))}, TakesAll: b.takesAll})
		case "hec":
			in.Sinks = append(in.Sinks, Place{Name: name, Kind: KindHEC, Logs: []Log{Text("hec.log", text3(b.hec))}})
		case "ledger":
			in.Sinks = append(in.Sinks, Place{Name: name, Kind: KindLedger, Logs: []Log{Text("ledger", text3(b.ledger))}})
		}
	}
	v, err := Judge(in)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A run that reads some of the sources owes nothing of the others, and what it
// delivers of them is judged all the same.
func TestOnlyTheSourcesOfTheRunAreOwed(t *testing.T) {
	b := newBook()
	b.serve(0, 1)
	b.truth = append(b.truth, fmt.Sprintf(`{"t":"newest","at":"%s","tenant":"%s","source":"mde.alerts","id":"m1","rev":0}`, at(9), tenantA))
	b.end(0)
	b.file = []string{b.record(0)}
	for name, tt := range map[string]struct {
		sources []string
		lost    int
	}{
		"every source": {nil, 1}, "the one that was read": {[]string{"graph.alerts"}, 0}, "both": {[]string{"graph.alerts", "mde.alerts"}, 1}, "the other": {[]string{"mde.alerts"}, 1},
	} {
		in := Input{Truth: []Log{Text("truth", text3(b.truth))}, Sources: tt.sources, Sinks: []Place{{Name: "file", Kind: KindFile, Logs: []Log{Text("out", text3(b.file))}}}}
		v, err := Judge(in)
		if err != nil {
			t.Fatal(err)
		}
		if v.Sum("").Lost != tt.lost || len(v.Findings) != tt.lost {
			t.Errorf("%s: %+v", name, v.Findings)
		}
		in.Sinks[0].Logs[0] = Text("out", text3([]string{b.record(0), b.record(0)}))
		if v, err = Judge(in); err != nil || len(v.Found(Repeated)) != 1 {
			t.Errorf("%s: a repeat is not named: %v %+v", name, err, v)
		}
	}
}

func TestWhatAWillingSinkIsSaidToRefuseIsLost(t *testing.T) {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(row(0))))
	for _, sink := range []string{`"sink":"file",`, ``} {
		b := newBook()
		b.serve(0, 5)
		b.end(0)
		b.takesAll = true
		b.ledger = []string{`{"t":"set_aside","tenant":"` + tenantA + `","source":"graph.alerts",` + sink + `"reason":"refused","sha256":"` + sum + `"}`}
		want := 1
		if sink == "" {
			want = 0 // at reading: the sink has nothing to do with it
		}
		if s := b.judge(t, "file", "ledger").Sum("file"); s.Lost != want {
			t.Errorf("set aside at %q: %d lost, want %d", sink, s.Lost, want)
		}
	}
}

func TestARepeatAtTheReceiverNeedsACause(t *testing.T) {
	for name, tt := range map[string]struct {
		write                  func(b *book)
		explained, unexplained int
	}{
		"an answer was lost":                  {func(b *book) { b.send(0, 1, 10, false, ""); b.send(0, 2, 12, true, "") }, 1, 0},
		"no answer was lost":                  {func(b *book) { b.send(0, 1, 10, true, ""); b.send(0, 2, 12, true, "") }, 0, 1},
		"one lost answer, two repeats":        {func(b *book) { b.send(0, 1, 10, false, ""); b.send(0, 2, 12, true, ""); b.send(0, 3, 14, true, "") }, 1, 1},
		"the answer to the last one was lost": {func(b *book) { b.send(0, 1, 10, true, ""); b.send(0, 2, 12, false, "") }, 0, 1},
		"lines stand in the order of answers": {func(b *book) { b.send(0, 2, 12, true, ""); b.send(0, 1, 10, false, `,"done":"`+at(40)+`"`) }, 1, 0},
		"a kill right behind the answer":      {func(b *book) { b.kill(12); b.send(0, 1, 10, true, ""); b.send(0, 2, 20, true, "") }, 1, 0},
		"a kill right behind a slow answer":   {func(b *book) { b.kill(42); b.send(0, 1, 10, true, `,"done":"`+at(40)+`"`); b.send(0, 2, 50, true, "") }, 1, 0},
		"a kill long after the answer":        {func(b *book) { b.kill(18); b.send(0, 1, 10, true, ""); b.send(0, 2, 20, true, "") }, 0, 1},
		"a kill behind both":                  {func(b *book) { b.kill(23); b.send(0, 1, 10, true, ""); b.send(0, 2, 20, true, "") }, 0, 1},
		"an acknowledgement that never came":  {func(b *book) { b.send(0, 1, 10, true, `,"ack":0`); b.send(0, 2, 400, true, `,"ack":1`) }, 1, 0},
		"an acknowledgement that came": {func(b *book) {
			b.send(0, 1, 10, true, `,"ack":0`)
			b.ack(1, 15, true)
			b.send(0, 2, 400, true, `,"ack":1`)
		}, 0, 1},
		"an acknowledgement whose answer was lost": {func(b *book) {
			b.send(0, 1, 10, true, `,"ack":0`)
			b.ack(1, 15, false)
			b.send(0, 2, 400, true, `,"ack":1`)
		}, 1, 0},
		"a kill right behind the acknowledgement": {func(b *book) {
			b.kill(17)
			b.send(0, 1, 10, true, `,"ack":0`)
			b.ack(1, 15, true)
			b.send(0, 2, 40, true, `,"ack":1`)
		}, 1, 0},
		"numbers of requests begin anew with the start": {func(b *book) { b.start(); b.send(0, 5, 10, false, ""); b.start(); b.send(0, 1, 90, true, "") }, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook()
			b.serve(0, 5)
			tt.write(b)
			b.end(0)
			v := b.judge(t, "hec")
			s := v.Sum("hec")
			if s.Explained != tt.explained || s.Unexplained != tt.unexplained || s.Repeated != tt.explained+tt.unexplained || v.OK() != (tt.unexplained == 0) {
				t.Errorf("got %d explained, %d not, %d in all, OK %v", s.Explained, s.Unexplained, s.Repeated, v.OK())
			}
		})
	}
}

func (b *book) ack(n, when int, answered bool) {
	b.hec = append(b.hec, fmt.Sprintf(`{"t":"ack","at":"%s","n":%d,"token_name":"t","channel":"c","ack":0,"answered":%t}`, at(when), n, answered))
}

func (b *book) start() { b.hec = append(b.hec, `{"t":"start","at":"`+at(0)+`"}`) }

func TestOnlyWhatAKillCanHaveSwallowedIsExcused(t *testing.T) {
	for name, tt := range map[string]struct {
		write         func(b *book)
		lost, excused int
	}{
		"shown just before the kill, and superseded": {func(b *book) { b.serve(0, 97); b.kill(100); b.serve(1, 200); b.end(1) }, 0, 1},
		"shown long before the kill":                 {func(b *book) { b.serve(0, 94); b.kill(100); b.serve(1, 200); b.end(1) }, 1, 0},
		"shown before the kill and after it":         {func(b *book) { b.serve(0, 97); b.kill(100); b.serve(0, 110); b.serve(1, 200); b.end(1) }, 1, 0},
		"shown before two kills": {func(b *book) {
			b.serve(0, 97)
			b.kill(100)
			b.serve(0, 119)
			b.kill(120)
			b.serve(1, 200)
			b.end(1)
		}, 0, 1},
		"the newest of its alert":               {func(b *book) { b.serve(1, 50); b.serve(0, 97); b.kill(100); b.end(0) }, 1, 0},
		"the newest, without an end in the log": {func(b *book) { b.serve(1, 97); b.kill(100) }, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook()
			tt.write(b)
			b.file = append(b.file, b.record(1))
			if strings.HasSuffix(name, "in the log") {
				b.file = nil
			}
			v := b.judge(t, "file")
			if s := v.Sum("file"); s.Lost != tt.lost || s.Excused != tt.excused {
				t.Errorf("got %d lost, %d excused; findings %+v", s.Lost, s.Excused, v.Findings)
			}
		})
	}
}

func TestTheNewestAtTheEndIsOwedThoughNoAnswerShowedIt(t *testing.T) {
	b := newBook()
	b.serve(0, 5)
	b.end(1)
	b.file = append(b.file, b.record(0))
	v := b.judge(t, "file")
	if lost := v.Found(Lost); len(lost) != 1 || lost[0].Examples[0].Rev != 1 || lost[0].Examples[0].Detail != "the newest at the end, and no whole answer showed it" || lost[0].Customer != "contoso" {
		t.Errorf("got %+v", v.Findings)
	}
}

func TestWhatIsListedIsNotLost(t *testing.T) {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(row(0))))
	for name, tt := range map[string]struct {
		ledger                string
		lost, aside, inGap    int
		alsoAt                string
		gapClosed, openInFile int
	}{
		"set aside at this sink":       {`{"t":"set_aside","tenant":"` + tenantA + `","source":"graph.alerts","sink":"file","reason":"too large","sha256":"` + sum + `"}`, 0, 1, 0, "", 0, 0},
		"set aside when it was read":   {`{"t":"set_aside","tenant":"` + tenantA + `","source":"graph.alerts","reason":"no identity","sha256":"` + sum + `"}`, 0, 1, 0, "", 0, 0},
		"set aside at another sink":    {`{"t":"set_aside","tenant":"` + tenantA + `","source":"graph.alerts","sink":"hec","reason":"too large","sha256":"` + sum + `"}`, 1, 0, 0, "", 0, 0},
		"set aside of another tenant":  {`{"t":"set_aside","tenant":"` + tenantB + `","source":"graph.alerts","sink":"file","reason":"too large","sha256":"` + sum + `"}`, 1, 0, 0, "", 0, 0},
		"in an open gap":               {`{"t":"gap","tenant":"` + tenantA + `","source":"graph.alerts","from":"` + at(0) + `","to":"` + at(1) + `","cause":"x","state":"open"}`, 0, 0, 1, "", 0, 1},
		"in an acknowledged gap":       {`{"t":"gap","tenant":"` + tenantA + `","source":"graph.alerts","from":"` + at(0) + `","to":"` + at(1) + `","cause":"x","state":"acknowledged"}`, 0, 0, 1, "", 0, 0},
		"in a gap of another sink":     {`{"t":"gap","tenant":"` + tenantA + `","source":"graph.alerts","sink":"hec","from":"` + at(0) + `","to":"` + at(1) + `","cause":"x","state":"open"}`, 1, 0, 0, "", 0, 1},
		"in a gap of another source":   {`{"t":"gap","tenant":"` + tenantA + `","source":"mde.alerts","from":"` + at(0) + `","to":"` + at(1) + `","cause":"x","state":"open"}`, 1, 0, 0, "", 0, 1},
		"outside the gap":              {`{"t":"gap","tenant":"` + tenantA + `","source":"graph.alerts","from":"` + at(1) + `","to":"` + at(2) + `","cause":"x","state":"open"}`, 1, 0, 0, "", 0, 1},
		"in a gap that is said closed": {`{"t":"gap","tenant":"` + tenantA + `","source":"graph.alerts","from":"` + at(0) + `","to":"` + at(1) + `","cause":"x","state":"closed"}`, 1, 0, 0, "", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook()
			b.serve(0, 5)
			b.end(0)
			b.ledger = []string{tt.ledger}
			v := b.judge(t, "file", "ledger")
			gaps := 0
			for _, c := range v.Customers {
				gaps += c.OpenGaps
			}
			closed := 0
			for _, f := range v.Found(GapClosed) {
				if f.Place == "file" {
					closed += f.Count
				}
			}
			if s := v.Sum("file"); s.Lost != tt.lost || s.SetAside != tt.aside || s.InGap != tt.inGap || closed != tt.gapClosed || gaps != tt.openInFile {
				t.Errorf("got %+v, %d closed over, %d open", s, closed, gaps)
			}
		})
	}
}

func TestAPlaceOwesOnlyWhatIsRoutedToIt(t *testing.T) {
	b := newBook()
	b.serve(0, 1)
	b.end(0)
	in := func(lines ...string) Input {
		return Input{Truth: []Log{Text("truth", text3(b.truth))}, Sinks: []Place{{Name: "file", Kind: KindFile, Logs: []Log{Text("out", text3(lines))}, Tenants: []string{strings.ToUpper(tenantB)}}}}
	}
	if v, err := Judge(in()); err != nil || !v.OK() {
		t.Errorf("nothing is owed: %v %+v", err, v.Findings)
	}
	v, err := Judge(in(b.record(0)))
	if err != nil || len(v.Found(Foreign)) != 1 || v.Findings[0].Tenant != tenantA {
		t.Errorf("nothing may be there: %v %+v", err, v.Findings)
	}
}

func TestPackedAndRepeatedStatesAreToldApart(t *testing.T) {
	b := newBook()
	raw := "{\"id\":\"a1\",\r\n\"x\":\"\xff\"}"
	sum := sha256.Sum256([]byte(raw))
	b.truth = append(b.truth, fmt.Sprintf(`{"t":"served","at":"%s","tenant":"%s","source":"graph.alerts","id":"a1","rev":0,"changed":"%s","sha256":"%x"}`, at(1), tenantA, at(0), sum),
		// A state that returns: other revision, same bytes.
		fmt.Sprintf(`{"t":"served","at":"%s","tenant":"%s","source":"graph.alerts","id":"a1","rev":2,"changed":"%s","sha256":"%x"}`, at(9), tenantA, at(0), sum))
	b.end(2)
	line := func(event string, seq int, with string) string {
		return fmt.Sprintf(`{"drover":{"event_id":"%s","tenant":"%s","customer":"contoso","source":"graph.alerts","alert_id":"a1","changed":"%s","seq":%d,"incarnation":"i","sha256":"%x"},%s"raw_base64":"%s"}`,
			event, tenantA, at(0), seq, sum, with, base64.StdEncoding.EncodeToString([]byte(raw)))
	}
	b.file = []string{line(strings.Repeat("1", 32), 1, ""), line(strings.Repeat("2", 32), 2, `"alert":{"id":"a1","x":"compacted"},`)}
	v := b.judge(t, "file")
	if s := v.Sum("file"); !v.OK() || s.Present != 2 || s.Repeated != 0 {
		t.Errorf("got %+v %+v", s, v.Findings)
	}
	b.file = append(b.file, line(strings.Repeat("1", 32), 1, ""))
	if v := b.judge(t, "file"); len(v.Found(Repeated)) != 1 || len(v.Found(EventID)) != 0 {
		t.Errorf("a repeat of the first: %+v", v.Findings)
	}
}

func TestTornEndsAreReportedAndTornMiddlesAreFindings(t *testing.T) {
	dir := t.TempDir()
	b := newBook()
	b.serve(0, 1)
	b.serve(1, 2)
	b.end(1)
	b.truth = append(b.truth, `{"t":"request","at":"`+at(1001)[:5])
	write := func(name string, data []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	truth := write("truth.ndjson", []byte(strings.Join(b.truth, "\n")))
	old, err := os.Create(filepath.Join(dir, "a.000000.ndjson.gz"))
	if err != nil {
		t.Fatal(err)
	}
	zw := gzip.NewWriter(old)
	if _, err := fmt.Fprintln(zw, b.record(0)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	write("a.ndjson", []byte(b.record(1)+"\n"+b.record(1)[:70]))
	logs, err := Glob(filepath.Join(dir, "a*"))
	if err != nil || len(logs) != 2 || !strings.HasSuffix(logs[0].Name, ".gz") {
		t.Fatalf("glob: %v %v", logs, err)
	}
	judge := func() *Verdict {
		t.Helper()
		v, err := Judge(Input{Truth: Files(truth), Sinks: []Place{{Name: "file", Kind: KindFile, Logs: logs}}})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := judge()
	notes := strings.Join(v.Notes, "\n")
	if !v.OK() || !strings.Contains(notes, "truth.ndjson ends in a torn line of 26 bytes") || !strings.Contains(notes, "a.ndjson ends in a torn line of 70 bytes") {
		t.Errorf("OK %v, findings %+v, notes:\n%s", v.OK(), v.Findings, notes)
	}
	write("a.ndjson", []byte(b.record(1)[:70]+"\n"+b.record(1)+"\n"))
	if v := judge(); len(v.Found(Torn)) != 1 || len(v.Findings) != 1 || v.Findings[0].Examples[0].Where != filepath.Join(dir, "a.ndjson")+":1" {
		t.Errorf("findings %+v", v.Findings)
	}
}

func TestAJudgeThatCannotReadSaysSo(t *testing.T) {
	for name, in := range map[string]Input{
		"no truth":             {},
		"truth is not there":   {Truth: Files(filepath.Join(t.TempDir(), "none"))},
		"truth is no JSON":     {Truth: []Log{Text("truth", []byte("hello\n"))}},
		"a place of no kind":   {Truth: []Log{Text("truth", nil)}, Sinks: []Place{{Name: "x", Kind: "kafka"}}},
		"two places, one name": {Truth: []Log{Text("truth", nil)}, Sinks: []Place{{Name: "x", Kind: KindFile}, {Name: "x", Kind: KindHEC}}},
		"a place is not there": {Truth: []Log{Text("truth", nil)}, Sinks: []Place{{Name: "x", Kind: KindFile, Logs: Files(filepath.Join(t.TempDir(), "none"))}}},
	} {
		if _, err := Judge(in); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTheTableFitsATerminalAndTheResultALine(t *testing.T) {
	b := newBook()
	b.truth = append(b.truth,
		`{"t":"request","at":"`+at(1)+`","n":1,"tenant":"`+tenantA+`","source":"token","status":200,"rows":0,"fault":""}`,
		`{"t":"request","at":"`+at(2)+`","n":2,"tenant":"`+tenantA+`","source":"graph.alerts","status":429,"rows":0,"fault":"throttle","retry_after":"5"}`,
		`{"t":"early","at":"`+at(3)+`","tenant":"`+tenantA+`","n":3,"until":"`+at(7)+`"}`,
		`{"t":"tenant","at":"`+at(0)+`","tenant":"`+tenantB+`","customer":"a-customer-whose-name-is-far-too-long-for-a-column-of-any-table-there-is"}`)
	for rev := range 1200 {
		b.truth = append(b.truth, fmt.Sprintf(`{"t":"issued","at":"%s","tenant":"%s","source":"graph.alerts","id":"a1","rev":%d,"changed":"%s","visible_at":"%s"}`, at(0), tenantA, rev, at(rev), at(rev)))
		b.serve(rev, rev+1)
		if rev != 700 {
			b.file = append(b.file, b.record(rev))
			b.send(rev, rev+1, rev+2, true, "")
		}
	}
	b.kill(5000)
	b.end(1199)
	v := b.judge(t, "file", "hec")
	v.Labels = map[string]string{"commit": "abc", "ok": "a label takes no name that is used"}
	var out strings.Builder
	if err := v.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	want := `customer                              place  shown  taken  lost  repeated  no cause  foreign  altered  order  aside  gaps
`
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for _, l := range lines {
		if n := len([]rune(l)); n > tableWidth {
			t.Errorf("%d columns: %s", n, l)
		}
	}
	if got := strings.Fields(lines[0]); strings.Join(got, " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("header %q", lines[0])
	}
	if got := strings.Join(strings.Fields(lines[3]), " "); got != "contoso file 1,200 1,199 1 0 0 0 0 0 0 0" {
		t.Errorf("line of a customer: %q in\n%s", got, out.String())
	}
	if got, want := lines[len(lines)-1], "total: shown 1,200, lost 2, repeated 0, foreign 0, early 1: BROKEN"; got != want {
		t.Errorf("last line %q, want %q", got, want)
	}
	var r struct {
		OK                                                             bool
		Commit                                                         string
		Seed, Issued, Served, Lost, Crashes, Early, Requests, Findings int
		TokenCalls                                                     int `json:"token_calls"`
		Faults                                                         map[string]int
		Sinks                                                          map[string]struct {
			Taken, Pending int
			LagP50         int `json:"lag_p50_ms"`
		}
	}
	if err := json.Unmarshal([]byte(v.ResultLine()), &r); err != nil {
		t.Fatal(err)
	}
	if r.OK || r.Commit != "abc" || r.Seed != 7 || r.Issued != 1200 || r.Served != 1200 || r.Lost != 2 || r.Crashes != 1 || r.Early != 1 || r.Requests != 2 || r.TokenCalls != 1 || r.Findings != 2 ||
		r.Faults["throttle"] != 1 || r.Sinks["hec"].Taken != 1199 || r.Sinks["file"].Pending != 1 || r.Sinks["hec"].LagP50 != 2000 {
		t.Errorf("result line %s", v.ResultLine())
	}
	if strings.Contains(v.ResultLine(), "\n") {
		t.Error("the result has several lines")
	}
	var full strings.Builder
	if err := v.WriteJSON(&full); err != nil || !json.Valid([]byte(full.String())) || !strings.Contains(full.String(), `"ok": false`) {
		t.Errorf("JSON: %v", err)
	}
}

func TestNamesFromFilesDoNotReachTheTerminalRaw(t *testing.T) {
	b := newBook()
	b.truth = append(b.truth, `{"t":"tenant","at":"`+at(0)+`","tenant":"`+tenantB+`","customer":"evil\u001b[31m\u202e"}`)
	b.serve(0, 1)
	b.file = append(b.file, "\x1b]0;title\x07")
	v := b.judge(t, "file")
	var out strings.Builder
	if err := v.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\u202e\x07") {
		t.Errorf("control characters in %q", out.String())
	}
}

// manifestOf is a record that says what tenant was given.
func manifestOf(tenant string) string {
	return fmt.Sprintf(`{"drover":{"event_id":"%032x","kind":"manifest","tenant":"%s","customer":"contoso","source":"graph.alerts","hour":"%s","first":1,"last":1,"count":1,"hash":""}}`, 77, tenant, at(0))
}

func TestAManifestStandsForNoAlert(t *testing.T) {
	for name, tt := range map[string]struct {
		extra         string
		torn, foreign int
	}{
		"a manifest":                          {manifestOf(tenantA), 0, 0},
		"a manifest of a tenant nobody has":   {manifestOf(tenantB), 0, 1},
		"a record of another kind":            {strings.Replace(manifestOf(tenantA), `"manifest"`, `"other"`, 1), 1, 0},
		"a record without an alert or a kind": {strings.Replace(manifestOf(tenantA), `"kind":"manifest",`, ``, 1), 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook()
			b.serve(0, 5)
			b.end(0)
			b.file = []string{b.record(0), tt.extra}
			b.send(0, 1, 10, true, "")
			b.hec = append(b.hec, strings.Replace(b.hec[0], b.record(0), tt.extra, 1))
			v := b.judge(t, "file", "hec")
			for _, place := range []string{"file", "hec"} {
				torn := 0
				for _, f := range v.Findings {
					if f.Place == place && f.Fault == Torn {
						torn += f.Count
					}
				}
				if s := v.Sum(place); s.Present != 1 || s.Taken != 1 || s.Lost != 0 || s.Repeated != 0 || s.Foreign != tt.foreign || torn != tt.torn {
					t.Errorf("%s: %+v, %d torn", place, s, torn)
				}
			}
			if noted := strings.Contains(strings.Join(v.Notes, " "), "manifests"); noted != (tt.torn == 0) {
				t.Errorf("notes: %q", v.Notes)
			}
		})
	}
}
