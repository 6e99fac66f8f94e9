//go:build soak

package defender

import (
	"math/rand/v2"
	"testing"

	"drover/internal/proof"
	"drover/internal/rig/composed"
)

func TestTenMillionAnswersAreScannedRight(t *testing.T) {
	names := []string{"id", "lastUpdateDateTime", "createdDateTime", "tenantId", "id", "aadTenantId", "severity", "status", "other"}
	around := []string{"value", "error", "@odata.count", "@odata.nextLink", "@odata.context"}
	n := composed.Each(t, composed.TenMillion, func(t *testing.T, rng *rand.Rand) {
		var page []byte
		member := func() {
			page = append(composed.Text(rng, page, around), ':')
			page = append(composed.JSON(rng, page, rng.IntN(2), around), ',')
		}
		bare := rng.IntN(4) == 0
		if !bare {
			page = append(page, '{')
			for range rng.IntN(3) * rng.IntN(2) {
				member()
			}
			page = append(page, `"value":`...)
		}
		page = append(page, '[')
		for i := range rng.IntN(4) {
			if i > 0 {
				page = append(page, ',')
			}
			if rng.IntN(32) == 0 { // about where the open brackets fill a word, and where a row is deep
				page = append(composed.Nested(rng, append(page, `{"id":"n","x":`...), []int{62, 126, 446}[rng.IntN(8)/3]+rng.IntN(6), names), '}')
				continue
			}
			if rng.IntN(4) > 0 {
				page = composed.Object(rng, page, 1+rng.IntN(3), names)
			} else {
				page = composed.JSON(rng, page, 1+rng.IntN(3), names)
			}
		}
		page = append(page, ']')
		if !bare {
			for range rng.IntN(2) * rng.IntN(2) {
				page = append(page, ',')
				member()
				page = page[:len(page)-1]
			}
			page = append(page, '}')
		}
		scansRight(t, composed.Damage(rng, page, "[", "]", "{", "}", ",", ":", `"`, "\\", "\\u", "\x00", "null", "\xef\xbb\xbf"))
	})
	proof.Ran(t, "fuzz.scan", "%d composed answers, findings 0", n)
}
