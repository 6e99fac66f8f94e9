package revision

import (
	"slices"
	"testing"

	"drover"
)

func TestAnAlertIsLookedUpUnderEverySpelling(t *testing.T) {
	for name, tt := range map[string]struct {
		from   drover.SourceID
		id, as string
		want   bool
	}{
		"MDE as Graph":                  {drover.MDEAlerts, "da637551227677560813_-961444813", "da637551227677560813_-961444813", true},
		"MDE without the prefix":        {drover.MDEAlerts, "5f0a4c1e-90b2-4d0e-8a55-3f1f0d0b7711_1", "da5f0a4c1e-90b2-4d0e-8a55-3f1f0d0b7711_1", true},
		"a custom detection":            {drover.MDEAlerts, "5f0a4c1e-90b2-4d0e-8a55-3f1f0d0b7711_1", "ed5f0a4c1e-90b2-4d0e-8a55-3f1f0d0b7711_1", true},
		"Graph without the prefix":      {drover.MDEAlerts, "da5f0a4c1e-90b2-4d0e-8a55-3f1f0d0b7711_1", "5f0a4c1e-90b2-4d0e-8a55-3f1f0d0b7711_1", true},
		"a detection":                   {drover.SIEMDetections, "da637370718981685665_16349121:R4xEdgAvZhY=", "da637370718981685665_16349121", true},
		"a detection of the early days": {drover.SIEMDetections, "636210704265059241_673569822:AA", "da636210704265059241_673569822", true},
		"another alert":                 {drover.MDEAlerts, "da637551227677560813_-961444813", "da637551227677560813_961444813", false},
		"one that begins alike":         {drover.SIEMDetections, "da1_1:x", "da1_12", false},
	} {
		if got := slices.Contains(Spellings(tt.from, tt.id), tt.as); got != tt.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
