package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drover/internal/format"
	"drover/internal/proof"
)

// search runs the shell search as it is printed and returns what it names:
// tenant, hour and finding.
func search(t *testing.T, script string, files ...string) (found []string) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), "sh", append([]string{script}, files...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	for l := range strings.Lines(out.String()) {
		cell := strings.Split(strings.TrimSuffix(l, "\n"), "\t")
		if len(cell) != 5 {
			t.Fatalf("the search prints %q", l)
		}
		found = append(found, cell[0][len(cell[0])-1:]+" "+cell[3][11:13]+" "+cell[4])
	}
	var exit *exec.ExitError
	code := 0
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if want := min(len(found), 1); code != want || !strings.Contains(errs.String(), "manifests looked at") {
		t.Fatalf("exit status %d, want %d: %s", code, want, errs.String())
	}
	return found
}

// record is a line with what a plant needs to know of it.
type record struct {
	line []byte
	env  struct {
		Kind, Tenant, Hour, Hash string
		EventID                  string `json:"event_id"`
		Seq, First, Last         uint64
		Count                    int
	}
}

func parse(t *testing.T, lines [][]byte) (out []record) {
	t.Helper()
	for _, l := range lines {
		r := record{line: l}
		var whole struct{ Drover *json.RawMessage }
		if err := json.Unmarshal(l, &whole); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(*whole.Drover, &r.env); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// plant spoils the records at index i, which is one of an alert unless it asks
// for another, and says what has to be found.
type plant struct {
	name string
	do   func(list []record, i int) ([]record, string)
}

func alter(old, with string) func(list []record, i int) ([]record, string) {
	return func(list []record, i int) ([]record, string) {
		l := list[i].line
		if !bytes.Contains(l, []byte(old)) {
			return nil, ""
		}
		list[i].line = bytes.Replace(l, []byte(old), []byte(with), 1)
		return list, "altered"
	}
}

var plants = []plant{
	{"a row is deleted", func(list []record, i int) ([]record, string) { return slices.Delete(list, i, i+1), "1 missing" }},
	{"a row is doubled", func(list []record, i int) ([]record, string) { return append(list, list[i]), "1 repeated" }},
	{"a row is doubled twice", func(list []record, i int) ([]record, string) { return append(list, list[i], list[i]), "2 repeated" }},
	{"a value is altered", alter(`plain`, `Plain`)},
	{"a row's last number is altered", alter(`2e5]`, `2e6]`)},
	{"a blank is put into a row", alter(`"alert":{`, `"alert":{ `)},
	{"a number is spelt in another way", alter(`67890.10`, `67890.1`)},
	{"an escape is resolved", alter(`\u00e9`, `é`)},
	{"a packed row is altered", func(list []record, i int) ([]record, string) {
		return alter(`"raw_base64":"eyJ`, `"raw_base64":"eyK`)(list, i)
	}},
	{"the hash in the envelope is altered", func(list []record, i int) ([]record, string) {
		at := bytes.Index(list[i].line, []byte(`"sha256":"`)) + len(`"sha256":"`)
		list[i].line = bytes.Clone(list[i].line)
		list[i].line[at] = map[bool]byte{true: '1', false: '0'}[list[i].line[at] == '0']
		return list, "altered"
	}},
	{"an event ID is altered", func(list []record, i int) ([]record, string) {
		l := bytes.Clone(list[i].line)
		at := bytes.Index(l, []byte(list[i].env.EventID))
		l[at] = map[bool]byte{true: '1', false: '0'}[l[at] == '0']
		list[i].line = l
		return list, "altered"
	}},
	{"a line is cut", func(list []record, i int) ([]record, string) {
		list[i].line = list[i].line[:len(list[i].line)/2]
		return list, "1 missing"
	}},
	{"a row that was never sent is put in", func(list []record, i int) ([]record, string) {
		forged := record{line: bytes.Replace(list[i].line, []byte(list[i].env.EventID), []byte(strings.Repeat("0", 32)), 1)}
		return append(list, forged), "1 that drover did not send"
	}},
	{"a row is there twice, once altered", func(list []record, i int) ([]record, string) {
		second := record{line: bytes.Replace(list[i].line, []byte(`"alert":{`), []byte(`"alert":{ `), 1)}
		if bytes.Equal(second.line, list[i].line) {
			return nil, ""
		}
		return append(list, second), "altered"
	}},
	{"a whole hour is deleted", func(list []record, i int) ([]record, string) {
		m := manifestOf(list, i)
		n := m.env.Count
		return slices.DeleteFunc(list, func(r record) bool {
			return r.env.Kind == "" && r.env.Tenant == m.env.Tenant && r.env.Seq >= m.env.First && r.env.Seq <= m.env.Last
		}), fmt.Sprint(n, " missing")
	}},
}

// manifestOf finds the manifest that covers a record, nil if none does yet.
func manifestOf(list []record, i int) *record {
	for k := range list {
		if m := &list[k]; m.env.Kind == "manifest" && m.env.Tenant == list[i].env.Tenant && m.env.First <= list[i].env.Seq && list[i].env.Seq <= m.env.Last {
			return m
		}
	}
	return nil
}

// oneLine is the hash as docs/manifests.md computes it in one line.
func oneLine(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/manifests.md")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		if strings.HasPrefix(l, "    jq ") {
			return strings.TrimSpace(l)
		}
	}
	t.Fatal("docs/manifests.md does not say how to compute the hash")
	return ""
}

// check computes the hash of a manifest with that line.
func check(t *testing.T, list []record, i int) {
	t.Helper()
	m := &list[i]
	cmd := exec.CommandContext(t.Context(), "sh", "-c", oneLine(t))
	var in bytes.Buffer
	for k := range list {
		if r := &list[k]; r.env.Kind == "" && r.env.Tenant == m.env.Tenant && m.env.First <= r.env.Seq && r.env.Seq <= m.env.Last {
			in.Write(append(bytes.Clone(r.line), '\n'))
		}
	}
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil || m.env.Hash != strings.Fields(string(out))[0] {
		t.Errorf("the hash of one line is %s (%v), the manifest's is %s", out, err, m.env.Hash)
	}
}

func TestTheSearchNamesWhatHappenedBehindDroversBackAndNothingElse(t *testing.T) {
	for _, tool := range []string{"jq", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			proof.NotHere(t, "manifest.search", "%s is not installed", tool)
		}
	}
	p := play(t)
	text, err := format.ManifestSearch("shell", format.SearchAt{Root: filepath.Join(p.dir, "out")})
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(p.dir, "search.sh")
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if found := search(t, script); len(found) > 0 {
		t.Errorf("the files as they are: %q", found)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	named, planted, hours := 0, 0, 0
	for place, lines := range map[string][][]byte{"file": p.archive, "splunk": p.soc} {
		clean := parse(t, lines)
		if found, manifests, alerts, err := Verify(lines, place == "splunk"); err != nil || len(found) > 0 || manifests != 10 || alerts != 390 {
			t.Errorf("%s: %d manifests of %d alerts, %q, %v", place, manifests, alerts, found, err)
		}
		told := make(map[string]int)
		alerts := make(map[string]int)
		for i := range clean {
			if clean[i].env.Kind == "manifest" {
				told[clean[i].env.EventID]++
			} else {
				alerts[clean[i].env.EventID]++
			}
		}
		repeats := len(clean) - len(told) - len(alerts)
		if len(told) != 10 || len(alerts) != 390 || place == "file" && repeats > 0 || place == "splunk" && repeats == 0 {
			t.Errorf("%s: %d manifests, %d alerts, %d repeats", place, len(told), len(alerts), repeats)
		}
		hours += len(told)
		run := func(list []record) []string {
			name := filepath.Join(p.dir, "records")
			var b bytes.Buffer
			for i := range list {
				b.Write(list[i].line)
				b.WriteByte('\n')
			}
			if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			return search(t, script, name)
		}
		if found := run(clean); len(found) > 0 {
			t.Errorf("%s, as it is: %q", place, found)
		}
		shuffled := slices.Clone(clean)
		rng.Shuffle(len(shuffled), func(i, k int) { shuffled[i], shuffled[k] = shuffled[k], shuffled[i] })
		if found := run(shuffled); len(found) > 0 {
			t.Errorf("%s, in any order: %q", place, found)
		}
		for _, pl := range plants {
			var list []record
			var i int
			var want string
			for list == nil { // a row to which it can be done
				i = rng.IntN(len(clean))
				if clean[i].env.Kind == "" && manifestOf(clean, i) != nil {
					list, want = pl.do(slices.Clone(clean), i)
				}
			}
			m := manifestOf(clean, i)
			want = m.env.Tenant[len(m.env.Tenant)-1:] + " " + m.env.Hour[11:13] + " " + want
			planted++
			if found := run(list); len(found) != 1 || found[0] != want {
				t.Errorf("%s: %s: found %q, want %q", place, pl.name, found, want)
				continue
			}
			named++
		}
		// A manifest in the middle that is deleted is missed by the next one.
		i := slices.IndexFunc(clean, func(r record) bool { return r.env.Kind == "manifest" && r.env.Hour[11:13] == "01" })
		check(t, clean, i)
		m := clean[i]
		found := run(slices.DeleteFunc(slices.Clone(clean), func(r record) bool { return r.env.EventID == m.env.EventID }))
		planted++
		if want := m.env.Tenant[len(m.env.Tenant)-1:] + " 02 a manifest before this one is missing"; len(found) != 1 || found[0] != want {
			t.Errorf("%s: a manifest is deleted: found %q, want %q", place, found, want)
		} else {
			named++
		}
	}
	proof.Ran(t, "manifest.search", "%d times rows were deleted, doubled, altered or put in, in files and at the pretend Splunk: named by tenant and hour %d, others named 0; %d clean hours, false alarms 0", planted, named, hours)
}
