package defender

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"drover"
	"drover/internal/format"
)

// TestACheckedRowIsEncodedLikeAnyOther damages rows at random: what the mark
// spares must never change a record.
func TestACheckedRowIsEncodedLikeAnyOther(t *testing.T) {
	nest := func(n int) string { return `{"id":"a","x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	rows := [][]byte{sample(t), []byte(nest(3)), []byte(nest(447)), []byte(nest(448)), []byte(nest(499)), []byte(nest(500)), []byte(nest(700)),
		[]byte("{\"id\":\"a\",\"t\":\"tab\there\"}"), []byte("{\"id\":\"a\",\"t\":\"\xff\"}"), []byte("{\"id\":\"a\",\t\"t\":1}"), []byte("{\"id\":\"a\",\n\"t\":1}"), []byte("{\"id\":\"\u2028\",\"n\":-1.5E+7,\"l\":[true,null,\"\\ud800\"]}")}
	const junk = "\"\\{}[]:,0-.e\x00\x1f\n\t\x80\xc3 tnu"
	rng := rand.New(rand.NewPCG(1, 2))
	checked, plain := 0, 0
	for n := range 20_000 {
		row := bytes.Clone(rows[n%len(rows)])
		for range n / len(rows) % 4 {
			row[rng.IntN(len(row))] = junk[rng.IntN(len(junk))]
		}
		page, err := scan([]byte("["+string(row)+"]"), graphFields)
		if err != nil {
			continue
		}
		for _, r := range page.rows {
			rev := drover.Revision{AlertID: "a", Raw: r.Raw, Sum: r.Sum}
			want, _ := format.JSON{}.Encode(nil, &rev, format.Context{})
			if r.Checked {
				rev.Flags = drover.Checked
				checked++
			}
			got, _ := format.JSON{}.Encode(nil, &rev, format.Context{})
			if !bytes.Equal(got, want) {
				t.Fatalf("%q: encoded as %q, as %q without the mark", r.Raw, got, want)
			}
			if bytes.Contains(got, []byte(`"alert":`)) {
				plain++
			}
		}
	}
	if checked == 0 || plain == 0 {
		t.Errorf("%d checked, %d as they are: nothing was tried", checked, plain)
	}
}
