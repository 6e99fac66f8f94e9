package drover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestAFeedIsNamedByTenantAndSource(t *testing.T) {
	f := Feed{contoso, GraphAlerts}
	if f.String() != string(contoso)+"/graph.alerts" {
		t.Error(f)
	}
	seen := map[string]Feed{}
	for _, tenant := range []TenantID{contoso, fabrikam} {
		for _, source := range []SourceID{GraphAlerts, SIEMDetections} {
			f := Feed{tenant, source}
			if other, ok := seen[f.String()]; ok {
				t.Errorf("%v and %v share a name", f, other)
			}
			seen[f.String()] = f
		}
	}
}

func TestTheWordsThatAreStoredNeverChange(t *testing.T) {
	for got, want := range map[string]string{
		string(GraphAlerts): "graph.alerts", string(SIEMDetections): "siem.detections",
		string(GapOpen): "open", string(GapClosed): "closed", string(GapAcknowledged): "acknowledged",
		string(Active): "active", string(Paused): "paused", string(Removed): "removed",
	} {
		if got != want {
			t.Errorf("%q was %q", got, want)
		}
	}
	var kinds []string
	for k := Kind(0); k < 7; k++ {
		kinds = append(kinds, k.String())
	}
	if got := strings.Join(kinds, " "); got != "unknown transient throttled denied refused broken unknown" {
		t.Error(got)
	}
}

func TestACursorIsWrittenAndReadBackTheSame(t *testing.T) {
	for _, c := range []Cursor{{}, {GraphAlerts, 1, NoInstant}, {SIEMDetections, 3, 8257538215033333}} {
		b, err := json.Marshal(c)
		var back Cursor
		if err != nil || json.Unmarshal(b, &back) != nil || back != c {
			t.Errorf("%+v became %s, %+v, %v", c, b, back, err)
		}
	}
}

func TestAnErrorTellsItsKindWaitAndHintThroughEveryWrapping(t *testing.T) {
	inner := &Error{Op: "get a token", Tenant: contoso, Kind: Throttled, Wait: time.Minute, Code: "429", Hint: "wait", Err: io.ErrUnexpectedEOF}
	for name, err := range map[string]error{
		"itself":   inner,
		"wrapped":  fmt.Errorf("a: %w", fmt.Errorf("b: %w", inner)),
		"joined":   errors.Join(errors.New("x"), inner),
		"as cause": fmt.Errorf("a: %w", &Error{Op: "read alerts", Kind: Throttled, Wait: time.Minute, Err: inner}),
	} {
		if KindOf(err) != Throttled || WaitOf(err) != time.Minute || HintOf(err) != "wait" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %s, %s, %q", name, KindOf(err), WaitOf(err), HintOf(err))
		}
	}
	if got := inner.Error(); got != "tenant "+string(contoso)+": get a token: unexpected EOF" {
		t.Error(got)
	}
	if got := (&Error{Op: "open the ledger"}).Error(); got != "open the ledger" {
		t.Error(got)
	}
	plain := errors.New("x")
	if KindOf(plain) != Transient || WaitOf(plain) != 0 || HintOf(plain) != "" || HintOf(nil) != "" || HintOf(&Error{Op: "x"}) != "" {
		t.Error("an error of nobody's may pass, and says nothing")
	}
}
