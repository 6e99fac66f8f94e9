// Package seeds says which stories a rig tells: its usual ones, or those of
// DROVER_SEEDS.
package seeds

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// List returns the seeds of DROVER_SEEDS, such as 7 or 1,5-9; own is false, and
// they are the usual ones, if it is not set.
func List(usual ...uint64) (list []uint64, own bool, err error) {
	text := os.Getenv("DROVER_SEEDS")
	if text == "" {
		return usual, false, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(from, 10, 64)
		b := a
		if err == nil && isRange {
			b, err = strconv.ParseUint(to, 10, 64)
		}
		if err != nil {
			return nil, true, fmt.Errorf("DROVER_SEEDS holds seeds such as 7 or 1,5-9, not %q", text)
		}
		for ; a <= b; a++ {
			list = append(list, a)
		}
	}
	return list, true, nil
}
