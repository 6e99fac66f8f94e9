package sim

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"drover/internal/ledger"
	"drover/internal/oracle"
)

// told is what the truth log tells beside what the oracle reads there.
type told struct {
	early   int            // requests before a Retry-After had passed, with no restart between
	special map[string]int // rows that must not be delivered, by kind
	issued  []string       // every state that the cloud came to show, without when it was looked at
	rules   []string       // every fault that was set
}

// remembers is how long before an early request a restart excuses it: a new
// process knows nothing of a pause, and none that is dealt is longer.
const remembers = 10 * time.Minute

// listen reads the truth log.
func (w *world) listen(path string) told {
	f, err := os.Open(path)
	w.must(err)
	defer func() { _ = f.Close() }()
	out := told{special: make(map[string]int)}
	met := make(map[string]bool)
	var killed time.Time
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Bytes()
		if bytes.HasPrefix(line, []byte(`{"t":"served"`)) || bytes.HasPrefix(line, []byte(`{"t":"request"`)) {
			continue
		}
		var e struct {
			T, Tenant, Source, ID, Kind, Changed string
			Rev                                  int
			At, From, To                         time.Time
			VisibleAt                            time.Time `json:"visible_at"`
		}
		w.must(json.Unmarshal(line, &e))
		switch e.T {
		case "mark":
			if e.Kind == "kill" {
				killed = e.At
			}
		case "early":
			if e.At.Sub(killed) > remembers {
				out.early++
			}
		case "row":
			if item := e.Tenant + e.Source + e.ID; !met[item] {
				met[item] = true
				out.special[e.Kind]++
			}
		case "issued":
			out.issued = append(out.issued, fmt.Sprint(e.Tenant, e.Source, e.ID, e.Rev, e.Changed, e.VisibleAt))
		case "fault":
			out.rules = append(out.rules, fmt.Sprint(e.Kind, e.Tenant, e.From, e.To))
		}
	}
	w.must(lines.Err())
	slices.Sort(out.issued)
	return out
}

// digest is one number for a list.
func digest(list []string) string {
	sum := sha256.Sum256([]byte(strings.Join(list, "\n")))
	return fmt.Sprintf("%x", sum[:8])
}

// secrets looks for secrets in everything that the product leaves behind, and
// for every tenant's mark in the files of the others.
func (w *world) secrets(v *verdict, files []oracle.Log) {
	key, err := os.ReadFile(w.key)
	w.must(err)
	secrets := []oracle.Secret{{Name: "app secret", Value: w.lab.AppSecret()}, {Name: "token of soc", Value: hecToken}, {Name: "token of soc-ack", Value: ackToken}, {Name: "master key", Value: strings.TrimSpace(string(key))}}
	for i, t := range w.seen.purse {
		secrets = append(secrets, oracle.Secret{Name: fmt.Sprint("access token ", i), Value: t})
	}
	ledgerFiles, err := filepath.Glob(filepath.Join(w.dir, "ledger", "*"))
	w.must(err)
	said := oracle.Files(append(ledgerFiles, filepath.Join(w.dir, "drover.log"))...)
	find := func(secrets []oracle.Secret, outputs []oracle.Log) {
		found, err := oracle.Leaks(secrets, outputs)
		w.must(err)
		v.leaks = append(v.leaks, found...)
		v.searched += len(secrets)
	}
	find(secrets, slices.Concat(said, files, oracle.Files(filepath.Join(w.dir, "export.ndjson"))))
	// Of the alerts themselves nothing stands in a log, nor in clear at rest. An
	// incident's ID is a short number, which would be found by chance.
	var alerts []oracle.Secret
	for i, n := range v.newest {
		if id := strings.Fields(n)[2]; i%(len(v.newest)/8+1) == 0 && len(id) >= 16 {
			alerts = append(alerts, oracle.Secret{Name: "alert " + n, Value: id})
		}
	}
	if len(alerts) > 0 {
		find(alerts, said)
	}
	for _, f := range files {
		var others []oracle.Secret
		for _, c := range w.lab.Customers() {
			if c.Tenant != f.Tenant {
				others = append(others, oracle.Secret{Name: "mark of " + c.Name, Value: c.Tenant})
			}
		}
		if len(others) == 0 {
			continue
		}
		found, err := oracle.Leaks(others, []oracle.Log{f})
		w.must(err)
		v.crossed = append(v.crossed, found...)
		v.walls += len(others)
	}
	v.asides = make(map[string]int)
	for _, a := range w.aside {
		v.asides[a.Reason]++
	}
}

// setAside lists what the ledger has set aside.
func (w *world) setAside() []ledger.Aside {
	list, err := w.p.store.SetAside(context.Background(), ledger.AsideFilter{})
	w.must(err)
	return list
}
