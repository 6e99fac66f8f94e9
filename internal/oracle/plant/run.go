// Package plant proves that the oracle sees. It makes a recorded run of a
// product that keeps its promises, spoils a copy in one way after the other,
// and its test wants each planted bug named: the right kind of finding, for
// the right tenant, and no other tenant blamed.
//
// The list is Plants. A bug that was once missed in the product is planted here
// first.
package plant

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"drover/internal/oracle"
)

// Names of the places of a Run, and of the outputs that are searched for
// secrets.
const (
	FilePlace   = "files"
	HECPlace    = "hec"
	LedgerPlace = "ledger"
)

// Record is a revision as a correct product keeps and sends it.
type Record struct {
	Tenant, Customer, Source, ID string
	Rev                          int // in the truth log; -1 for a row that was dealt on purpose
	Poll                         int // the read that brought it
	Seq, Ordinal                 int
	Changed                      time.Time
	Raw                          string
	Sum                          string // what the envelope says of Raw
	Event                        string
	Late, Unnamed                bool
}

// seal sets hash and event ID from what they are made of.
func (r *Record) seal() {
	r.Sum = hash(r.Raw)
	id := sha256.Sum256(fmt.Append(nil, r.Tenant, "\x00", r.Source, "\x00", r.ID, "\x00", r.Changed.UnixNano(), "\x00", r.Ordinal))
	r.Event = hex.EncodeToString(id[:16])
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// text is the record in format json.
func (r *Record) text() string {
	marks := ""
	if r.Late {
		marks += `,"late":true`
	}
	if r.Unnamed {
		marks += `,"unnamed":true`
	}
	row := `"alert":` + r.Raw
	if strings.ContainsAny(r.Raw, "\r\n") {
		row = `"raw_base64":"` + base64.StdEncoding.EncodeToString([]byte(r.Raw)) + `"`
	}
	return fmt.Sprintf(`{"drover":{"event_id":"%s","tenant":"%s","customer":"%s","source":"%s","alert_id":"%s","changed":"%s","ordinal":%d,"seq":%d,"incarnation":"0a1b2c3d","sha256":"%s"%s},%s}`,
		r.Event, r.Tenant, r.Customer, r.Source, r.ID, r.Changed.Format("2006-01-02T15:04:05.0000000Z"), r.Ordinal, r.Seq, r.Sum, marks, row)
}

// ledgerText is the record as the ledger exports it.
func (r *Record) ledgerText() string {
	flags := []string{}
	if r.Late {
		flags = append(flags, `"late"`)
	}
	if r.Unnamed {
		flags = append(flags, `"unnamed"`)
	}
	return fmt.Sprintf(`{"t":"revision","tenant":"%s","source":"%s","alert_id":"%s","changed":"%s","ordinal":%d,"seq":%d,"sha256":"%s","event_id":"%s","flags":[%s]}`,
		r.Tenant, r.Source, r.ID, r.Changed.Format("2006-01-02T15:04:05.0000000Z"), r.Ordinal, r.Seq, r.Sum, r.Event, strings.Join(flags, ","))
}

// Line is one line of a place: a record, or any other text.
type Line struct {
	*Record
	Text string // stands instead of the record if it is set
}

// Event is one event at the receiver.
type Event struct {
	*Record
	Token          string // name of the token
	N, I           int
	At             time.Time
	Kept, Answered bool
}

// File is one file of the file sink, for one tenant.
type File struct {
	Name, Tenant string
	Lines        []Line
}

// Output is something that people and machines can read: a log, a page.
type Output struct {
	Name, Tenant, Text string
}

// Run is all that a run leaves behind.
type Run struct {
	Tenants []Tenant
	Truth   []string
	Files   []File
	HEC     []Event
	Ledger  []Line
	Outputs []Output
	Secrets []oracle.Secret
	Marks   map[string]string // a text that stands in each alert of a tenant, and nowhere else

	Variants map[string]string // other bytes of a revision: record event ID → row
	Foreign  Record            // a row that names another tenant, as it would be sent
	// ForeignEndpoint is one of the API that calls the tenant otherwise.
	ForeignEndpoint Record
	Bad             Record // a row without usable identity
	Kill            time.Time
}

// Tenant is one customer of a Run.
type Tenant struct {
	ID, Slug string
}

// Clone copies a run so that it can be spoiled.
func (r *Run) Clone() *Run {
	c := *r
	c.Truth = slices.Clone(r.Truth)
	copies := make(map[*Record]*Record)
	dup := func(rec *Record) *Record {
		if rec == nil {
			return nil
		}
		if copies[rec] == nil {
			d := *rec
			copies[rec] = &d
		}
		return copies[rec]
	}
	c.Files = slices.Clone(r.Files)
	for i := range c.Files {
		c.Files[i].Lines = slices.Clone(c.Files[i].Lines)
		for k := range c.Files[i].Lines {
			c.Files[i].Lines[k].Record = dup(c.Files[i].Lines[k].Record)
		}
	}
	c.HEC = slices.Clone(r.HEC)
	for i := range c.HEC {
		c.HEC[i].Record = dup(c.HEC[i].Record)
	}
	c.Ledger = slices.Clone(r.Ledger)
	for i := range c.Ledger {
		c.Ledger[i].Record = dup(c.Ledger[i].Record)
	}
	c.Outputs = slices.Clone(r.Outputs)
	return &c
}

// Input is the run as the oracle reads it.
func (r *Run) Input() oracle.Input {
	in := oracle.Input{Truth: []oracle.Log{oracle.Text("truth.ndjson", []byte(strings.Join(r.Truth, "\n")+"\n"))}}
	files := oracle.Place{Name: FilePlace, Kind: oracle.KindFile}
	for _, f := range r.Files {
		var b strings.Builder
		for _, l := range f.Lines {
			text := l.Text
			if text == "" {
				text = l.text() + "\n"
			}
			b.WriteString(text)
		}
		files.Logs = append(files.Logs, oracle.Text(f.Name, []byte(b.String())).Bound(f.Tenant))
	}
	tokens := make(map[string]string)
	for _, t := range r.Tenants {
		tokens["token-"+t.Slug] = t.ID
	}
	var hec, ledger strings.Builder
	for _, e := range r.HEC {
		fmt.Fprintf(&hec, `{"t":"event","at":"%s","n":%d,"i":%d,"token_name":"%s","channel":"","host":"","source":"drover","sourcetype":"","index":"main","time":"%d.0","kept":%t,"answered":%t,"event":%s}`+"\n",
			e.At.Format(time.RFC3339Nano), e.N, e.I, e.Token, e.Changed.Unix(), e.Kept, e.Answered, e.text())
	}
	for _, l := range r.Ledger {
		text := l.Text
		if text == "" {
			text = l.ledgerText()
		}
		ledger.WriteString(text + "\n")
	}
	in.Sinks = []oracle.Place{files,
		{Name: HECPlace, Kind: oracle.KindHEC, Logs: []oracle.Log{oracle.Text("hec.ndjson", []byte(hec.String()))}, Tokens: tokens},
		{Name: LedgerPlace, Kind: oracle.KindLedger, Logs: []oracle.Log{oracle.Text("ledger.ndjson", []byte(ledger.String()))}},
	}
	return in
}

// Judge judges the run, and searches its outputs: for secrets, and for the
// marks of other tenants.
func (r *Run) Judge() (*oracle.Verdict, error) {
	v, err := oracle.Judge(r.Input())
	if err != nil {
		return nil, err
	}
	for _, t := range append([]Tenant{{}}, r.Tenants...) {
		secrets := slices.Clone(r.Secrets)
		for _, o := range r.Tenants {
			if o.ID != t.ID { // a tenant's own mark may stand in its own outputs
				secrets = append(secrets, oracle.Secret{Name: "mark of " + o.Slug, Value: r.Marks[o.ID]})
			}
		}
		var outputs []oracle.Log
		for _, o := range r.Outputs {
			if o.Tenant == t.ID {
				l := oracle.Text(o.Name, []byte(o.Text))
				l.Tenant = o.Tenant
				outputs = append(outputs, l)
			}
		}
		found, err := oracle.Leaks(secrets, outputs)
		if err != nil {
			return nil, err
		}
		v.AddLeaks(found)
	}
	return v, nil
}
