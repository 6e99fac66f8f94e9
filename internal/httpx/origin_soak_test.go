//go:build soak

package httpx

import (
	"math/rand/v2"
	"slices"
	"testing"

	"drover/internal/proof"
	"drover/internal/rig/composed"
)

func TestTenMillionLinksStayAtHome(t *testing.T) {
	pieces := []string{"/..", "/.", "/%2e%2E/", "//", "/", "\\", "@", "u:p@", ":443", ":80", ":", "#", "?", ";", "\t", "\r\n", "\x00", "%2f", "%5c", "%25", "%00", ".", "%", "\u3002", "\uff0f", "https://", "http:", "evil.example", "graph.microsoft.com", "[::1]", "xn--"}
	links := slices.Concat(home, home, foreign)
	n := composed.Each(t, composed.TenMillion, func(t *testing.T, rng *rand.Rand) {
		link := links[rng.IntN(len(links))]
		if len(link) > 1000 && rng.IntN(1000) > 0 {
			link = collection // the one that is too long is slow
		}
		staysHome(t, string(composed.Damage(rng, []byte(link), pieces...)))
	})
	proof.Ran(t, "fuzz.links", "%d composed links, findings 0", n)
}
