package plant

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"drover/internal/oracle"
)

// Promise 3: nobody else's.
var wallPlants = []Plant{
	{"a row is delivered under another customer", 3, func(r *Run) Want {
		x, to := r.middle(victim, plain), r.Tenants[1]
		i := r.firstOf(x)
		y := *x
		y.Tenant, y.Customer = to.ID, to.Slug
		y.seal()
		r.HEC[i].Record, r.HEC[i].Token = &y, "token-"+to.Slug
		return Want{oracle.Foreign, to.ID, HECPlace}
	}},
	{"a row of a third tenant, named in the row, is delivered", 3, func(r *Run) Want {
		f := &r.Files[2*victim+1]
		f.Lines = append(f.Lines, Line{Record: &r.Foreign})
		return Want{oracle.Foreign, r.Foreign.Tenant, FilePlace}
	}},
	{"a row of Defender for Endpoint that names another tenant is delivered", 3, func(r *Run) Want {
		f := &r.Files[2*victim+1]
		f.Lines = append(f.Lines, Line{Record: &r.ForeignEndpoint})
		return Want{oracle.Foreign, r.ForeignEndpoint.Tenant, FilePlace}
	}},
	{"a row that names another tenant is taken into the ledger", 3, func(r *Run) Want {
		r.Ledger = append(r.Ledger, Line{Record: &r.Foreign})
		return Want{oracle.Foreign, r.Foreign.Tenant, LedgerPlace}
	}},
	{"a foreign row is dropped and not listed", 3, func(r *Run) Want {
		r.Ledger = slices.DeleteFunc(r.Ledger, func(l Line) bool { return strings.Contains(l.Text, `"foreign row"`) })
		return Want{oracle.NotShown, r.Tenants[victim].ID, ""}
	}},
	{"a row stands in another tenant's file", 3, func(r *Run) Want {
		x := r.middle(1, plain)
		r.dropFile(is(x))
		f := &r.Files[2*2+1]
		f.Lines = append(f.Lines, Line{Record: x})
		return Want{oracle.Foreign, r.Tenants[2].ID, FilePlace}
	}},
	{"a batch mixes tenants: a row goes out with another tenant's token", 3, func(r *Run) Want {
		i := r.firstOf(r.middle(1, plain))
		r.HEC[i].Token = "token-" + r.Tenants[2].Slug
		return Want{oracle.Foreign, r.Tenants[2].ID, HECPlace}
	}},
	{"a row is sent to another tenant, who refuses it", 3, func(r *Run) Want {
		e := r.HEC[r.firstOf(r.middle(1, plain))]
		e.Token, e.Kept, e.Answered, e.N = "token-"+r.Tenants[2].Slug, false, false, r.HEC[len(r.HEC)-1].N+1
		r.HEC = append(r.HEC, e)
		return Want{oracle.Foreign, r.Tenants[2].ID, HECPlace}
	}},
	{"a row that names no tenant is not marked", 3, func(r *Run) Want {
		x := r.middle(victim, func(y *Record) bool { return y.Unnamed })
		y := *x
		y.Unnamed = false
		r.swap(x, &y)
		return Want{oracle.Unmarked, x.Tenant, FilePlace}
	}},
	{"a row without identity is delivered", 3, func(r *Run) Want {
		f := &r.Files[2*victim+1]
		f.Lines = append(f.Lines, Line{Record: &r.Bad})
		return Want{oracle.Refusable, r.Bad.Tenant, FilePlace}
	}},
	{"the mark of one tenant's alerts is on another tenant's page", 3, func(r *Run) Want {
		i := slices.IndexFunc(r.Outputs, func(o Output) bool { return o.Tenant == r.Tenants[1].ID })
		r.Outputs[i].Text += "<td>" + r.Marks[r.Tenants[2].ID] + "</td>"
		return Want{oracle.Leak, r.Tenants[1].ID, r.Outputs[i].Name}
	}},
}

// spoilRow changes the bytes of one row at the file sink.
func spoilRow(old, with string) func(*Run) Want {
	return func(r *Run) Want {
		x := r.middle(victim, func(y *Record) bool { return plain(y) && strings.Contains(y.Raw, old) })
		y := *x
		y.Raw = strings.Replace(x.Raw, old, with, 1)
		y.Sum = hash(y.Raw)
		r.swap(x, &y)
		return Want{oracle.Altered, x.Tenant, FilePlace}
	}
}

// spoilLines edits the text of the file sink around one record.
func spoilLines(fn func(l *Line, next *Line)) func(*Run) Want {
	return func(r *Run) Want {
		f := &r.Files[2*victim+1]
		for i := range f.Lines[2 : len(f.Lines)-1] {
			if l, next := &f.Lines[i+2], &f.Lines[i+3]; plain(l.Record) && plain(next.Record) {
				fn(l, next)
				return Want{oracle.Torn, f.Tenant, FilePlace}
			}
		}
		return Want{}
	}
}

// Same bytes (invariant I3), whole lines.
var bytesPlants = []Plant{
	{"white space in a row is lost", 0, spoilRow(`"status": "new"`, `"status":"new"`)},
	{"an escape is rewritten as the character", 0, spoilRow(`\u2014`, `—`)},
	{"a character is rewritten as an escape", 0, spoilRow(`\"`, `\u0022`)},
	{"a number went through a float", 0, spoilRow(`"n":1.50e+3`, `"n":1500`)},
	{"members of a row are sorted", 0, func(r *Run) Want {
		x := r.middle(victim, plain)
		var m map[string]any
		if json.Unmarshal([]byte(x.Raw), &m) != nil {
			return Want{}
		}
		b, err := json.Marshal(m)
		if err != nil {
			return Want{}
		}
		return spoilRow(x.Raw, string(b))(r)
	}},
	{"a blank is behind the row, and in its hash", 0, func(r *Run) Want {
		x := r.middle(victim, plain)
		y := *x
		y.Sum = hash(x.Raw + " ")
		r.swap(x, &y)
		return Want{oracle.Altered, x.Tenant, FilePlace}
	}},
	{"a row that does not fit a line is repaired instead of packed", 0, func(r *Run) Want {
		x := r.middle(victim, func(y *Record) bool { return strings.Contains(y.Raw, "\r\n") })
		y := *x
		y.Raw = strings.ReplaceAll(x.Raw, "\r\n", "")
		y.Sum = hash(y.Raw)
		r.swap(x, &y)
		return Want{oracle.Altered, x.Tenant, FilePlace}
	}},
	{"a change time loses its last digit", 0, func(r *Run) Want {
		x := r.middle(victim, func(y *Record) bool { return plain(y) && y.Changed.Nanosecond()/100%10 != 0 })
		y := *x
		y.Changed = x.Changed.Truncate(1000)
		r.swap(x, &y)
		return Want{oracle.Altered, x.Tenant, FilePlace}
	}},
	{"an incident is given the change time of an alert in it", 0, func(r *Run) Want {
		x := r.middle(victim, of("graph.incidents"))
		y := *x
		y.Changed = time.Date(2026, 3, 2, 7, 0, 0, 0, time.UTC)
		r.swap(x, &y)
		return Want{oracle.Altered, x.Tenant, FilePlace}
	}},
	{"a row of Defender for Endpoint is said to be Graph's", 0, func(r *Run) Want {
		x := r.middle(victim, of("mde.alerts"))
		y := *x
		y.Source, y.ID = "graph.alerts", "da"+x.ID
		r.swap(x, &y)
		return Want{oracle.Altered, x.Tenant, FilePlace}
	}},
	{"a record names another alert", 0, func(r *Run) Want {
		x := r.middle(victim, plain)
		y := *x
		y.ID += "0"
		r.swap(x, &y)
		return Want{oracle.Altered, x.Tenant, FilePlace}
	}},
	{"a line in the middle of a file is torn", 0, spoilLines(func(l, _ *Line) { l.Text = l.text()[:100] + "\n" })},
	{"a torn line and the next one stand on one line", 0, spoilLines(func(l, next *Line) {
		l.Text = l.text()[:len(l.text())-30]
		next.Text = next.text() + "\n"
	})},
	{"two records stand on one line", 0, spoilLines(func(l, _ *Line) { l.Text = l.text() })},
	{"the hash in the ledger is another", 0, func(r *Run) Want {
		x := r.middle(1, plain)
		i := slices.IndexFunc(r.Ledger, func(l Line) bool { return l.Record == x })
		y := *x
		y.Sum = hash("something else")
		r.Ledger[i].Record = &y
		return Want{oracle.Altered, x.Tenant, LedgerPlace}
	}},
}

// leak writes a secret into the log of the product.
func leak(secret int, spell func(string) string) func(*Run) Want {
	return func(r *Run) Want {
		i := slices.IndexFunc(r.Outputs, func(o Output) bool { return o.Name == "drover.log" })
		text := r.Outputs[i].Text
		r.Outputs[i].Text = text[:len(text)/2] + "level=DEBUG body=" + spell(r.Secrets[secret].Value) + "\n" + text[len(text)/2:]
		return Want{oracle.Leak, "", "drover.log"}
	}
}

// Promise 6: nothing said that is secret.
var secretPlants = []Plant{
	{"a secret stands in the log", 6, leak(0, func(s string) string { return s })},
	{"a secret stands in the log, as JSON", 6, leak(0, func(s string) string { b, _ := json.Marshal(s); return string(b) })},
	{"a secret stands in a form body", 6, leak(0, url.QueryEscape)},
	{"a secret stands in basic authorization", 6, leak(0, func(s string) string { return base64.StdEncoding.EncodeToString([]byte("drover:" + s)) })},
	{"a secret stands in base64 for addresses", 6, leak(0, func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("ab" + s + "c")) })},
	{"a secret stands in a hex dump", 6, leak(1, func(s string) string { return hex.EncodeToString([]byte(s)) })},
	{"16 bytes of a token stand in an error", 6, leak(1, func(s string) string { return s[13:29] + "…" })},
	{"a token stands in a metric", 6, func(r *Run) Want {
		i := slices.IndexFunc(r.Outputs, func(o Output) bool { return o.Name == "metrics" })
		r.Outputs[i].Text += fmt.Sprintf("drover_requests_total{token=%q} 1\n", r.Secrets[1].Value)
		return Want{oracle.Leak, "", "metrics"}
	}},
	{"a body stands in the log", 6, func(r *Run) Want {
		i := slices.IndexFunc(r.Outputs, func(o Output) bool { return o.Name == "drover.log" })
		r.Outputs[i].Text += "level=ERROR row=" + r.middle(1, plain).Raw + "\n"
		return Want{oracle.Leak, "", "drover.log"}
	}},
}
