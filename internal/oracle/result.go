package oracle

import (
	"encoding/json"
	"fmt"
	"maps"
)

// sinkResult is one place on the result line.
type sinkResult struct {
	Taken    int   `json:"taken"` // revisions
	SetAside int   `json:"set_aside"`
	Pending  int   `json:"pending"` // owed, and neither taken nor listed
	Passed   int   `json:"passed_over,omitempty"`
	LagP50   int64 `json:"lag_p50_ms,omitempty"`
	LagP99   int64 `json:"lag_p99_ms,omitempty"`
	LagMax   int64 `json:"lag_max_ms,omitempty"`
}

// ResultLine is the run in one line of JSON, for machines: what an outside
// judge can know of the fields that a rig reports (reference
// faults-and-invariants, rules for the rigs, 4). Input.Labels stand beside
// them, where they do not take a name that is used. It has no line end.
func (v *Verdict) ResultLine() string {
	line := make(map[string]any)
	for k, s := range v.Labels {
		line[k] = s
	}
	sinks := make(map[string]sinkResult)
	ledgered, visible := 0, 0
	var all At
	if len(v.Customers) > 0 {
		for _, p := range v.Customers[0].Places {
			s := v.Sum(p.Place)
			l := v.lags[p.Place]
			switch p.Kind {
			case KindLedger:
				ledgered += s.Present
			default:
				sinks[p.Place] = sinkResult{Taken: s.Present, SetAside: s.SetAside, Pending: s.Lost + s.Excused + s.InGap, Passed: s.PassedOver,
					LagP50: l.p50.Milliseconds(), LagP99: l.p99.Milliseconds(), LagMax: l.max.Milliseconds()}
			}
			if p.Kind == KindFile {
				visible += s.Repeated
			}
			if p.Kind == KindHEC {
				all.Repeated += s.Repeated
				all.Explained += s.Explained
			}
		}
	}
	s := v.Sum("")
	leaks := 0
	for _, f := range v.Found(Leak) {
		leaks += f.Count
	}
	tenants := 0
	for _, c := range v.Customers {
		if c.Shown > 0 {
			tenants++
		}
	}
	maps.Copy(line, map[string]any{
		"ok": v.OK(), "seed": v.Totals.Seed, "tenants": tenants, "span_s": int64(v.Totals.Span().Seconds()), "issued": v.Totals.Issued, "served": v.Shown(), "rows": v.Totals.Rows,
		"ledgered": ledgered, "sinks": sinks, "lost": s.Lost, "excused": s.Excused, "unwanted": s.Unwanted, "foreign": s.Foreign, "altered": s.Altered, "disorder": s.Disorder,
		"dup_raw": all.Repeated, "dup_explained": all.Explained, "dup_visible": visible, "leaks": leaks, "crashes": v.Totals.Kills, "faults": v.Totals.Faults,
		"requests": v.Totals.Requests, "early": v.Totals.Early, "token_calls": v.Totals.TokenCalls, "findings": len(v.Findings),
	})
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Sprintf(`{"ok":false,"error":%q}`, err)
	}
	return string(b)
}
