//go:build soak

package revision

import (
	"math/rand/v2"
	"testing"

	"drover/internal/proof"
	"drover/internal/rig/composed"
)

func TestTenMillionBodiesAreTheSameIfTheyMeanTheSame(t *testing.T) {
	names := []string{"a", "b", "args", "command", "evidence", "@odata.type", "@odata.etag", "resourceAccessEvents", "deviceDnsName", "healthStatus", "mdeDeviceId", "version", "loggedOnUsers", "rbacGroupName", "LogOnUsers", "lastUpdateDateTime"}
	n := composed.Each(t, composed.TenMillion, func(t *testing.T, rng *rand.Rand) {
		compose := composed.Object
		if rng.IntN(3) == 0 {
			compose = composed.JSON
		}
		a := composed.Damage(rng, compose(rng, nil, 1+rng.IntN(3), names), "[", "]", "{", "}", ",", ":", `"`, "\\", "0", "e")
		fuzzSame(t, a, composed.Damage(rng, a, "0", ".0", " ", "1"), rng.Uint64())
	})
	proof.Ran(t, "fuzz.same", "%d composed bodies, each against three others, findings 0", n)
}
