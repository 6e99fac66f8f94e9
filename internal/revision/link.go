package revision

import (
	"strings"

	"drover"
)

// prefixes stand before the ID of an Endpoint alert in some APIs and not in
// others: da by itself, ed for a custom detection (reference graph-security).
var prefixes = [...]string{"da", "ed"}

// Spellings lists the IDs under which other sources may tell the alert that a
// source tells under an ID. They are for looking up, and never stand for an
// alert: what is not found under one of them may still be the same.
func Spellings(from drover.SourceID, id string) []string {
	if from == drover.SIEMDetections {
		id, _, _ = strings.Cut(id, ":") // AlertId ":" IocUniqueId
	}
	all := []string{id}
	for _, p := range prefixes {
		all = append(all, p+id)
		if bare, ok := strings.CutPrefix(id, p); ok {
			all = append(all, bare)
		}
	}
	return all
}
