package estate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// changeTime is what a source calls the change time of a row.
var changeTime = map[string]string{Graph: "lastUpdateDateTime", Incidents: "lastUpdateDateTime", MDE: "lastUpdateTime", SIEM: "LastProcessedTimeUtc"}

// Content names what a state says at a source beside its change time, by 32 hex
// digits: two states of an alert that have the same differ in that time alone.
// What varies from read to read (the order of evidence, a live address, a size)
// is not in it. Of a row that was given as bytes all other members count.
func (e *Estate) Content(source string, r *Row) string {
	var b []byte
	switch {
	case r.Raw != nil:
		b = without(r.Raw, changeTime[source])
	case source == SIEM:
		b = untimed(e.RenderDetection(nil, r, Shape{}), changeTime[source])
	default:
		b = untimed(e.render(source, r), changeTime[source])
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:16])
}

// untimed cuts the value of a member out of a row that was made here: there its
// first place is the row's own.
func untimed(row []byte, member string) []byte {
	head, rest, ok := bytes.Cut(row, []byte(`"`+member+`":"`))
	if !ok {
		return row
	}
	_, tail, _ := bytes.Cut(rest, []byte(`"`))
	return append(head[:len(head):len(head)], tail...)
}

// without is a row of any origin without a member of its own; the others stand
// in the order of their names. What is no object stays as it is.
func without(row []byte, member string) []byte {
	var m map[string]json.RawMessage
	if json.Unmarshal(row, &m) != nil {
		return row
	}
	delete(m, member)
	b, err := json.Marshal(m)
	if err != nil {
		return row
	}
	return b
}

// Touch gives an alert that is visible a new change time, and changes nothing
// else.
func (e *Estate) Touch(tenant, id string, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.step(e.list(tenant, Graph), id, at, false, func(*Row) {})
}
