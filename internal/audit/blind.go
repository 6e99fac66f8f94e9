package audit

import (
	"slices"

	"drover"
)

// everywhere is what no audit can see, whatever it reads.
var everywhere = []string{
	"What the API does not show to the reader's account, or shows to nobody: this is a comparison with the API, not with the customer's machines.",
	"States that were overwritten between two reads of the collector. The API shows the newest state of an alert alone; that an older one was never read leaves no trace.",
	"What is older than the source's retention of 180 days, and alerts that Microsoft has removed since.",
	"What became of a record behind a sink that cannot be read back: there the ledger's note that the receiver took it is compared, not the receiver's store.",
	"Records in files that were taken away since.",
}

// blind lists in plain words what no audit of these sources can see.
func blind(ids []drover.SourceID) []string {
	out := slices.Clone(everywhere)
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		if s := sources[id]; s != nil {
			out = append(out, s.cannotSee...)
		}
	}
	return out
}
