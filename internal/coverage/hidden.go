package coverage

import "slices"

// hidden is what none of the APIs shows (reference graph-security §1).
var hidden = []string{
	"Alerts that Defender XDR has put into no incident.",
	"Alerts that a tuning rule of the customer suppresses.",
	"Alerts of alert policies in plans that are too small for them to reach Defender XDR.",
	"Sentinel's alerts, unless the workspace is connected to the Defender portal.",
	"Events of Exchange with a low signal.",
	"Alerts of Intune.",
	"Entra ID Protection below high risk, unless the customer has changed the alert service settings.",
}

// NotShown lists in plain words what no API of these shows, so that being
// covered does not promise it.
func NotShown() []string { return slices.Clone(hidden) }
