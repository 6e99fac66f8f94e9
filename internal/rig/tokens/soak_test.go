//go:build soak

package tokens

import "testing"

// TestTenThousandKillsLockNoTenantOut is the long form of the two tests of every
// commit.
func TestTenThousandKillsLockNoTenantOut(t *testing.T) {
	cutBoth(t, 5_000, 2, 3)
	killBoth(t, 500, 2)
}
