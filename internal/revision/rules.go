package revision

import (
	"slices"
	"strings"

	"drover"
)

// rules say what of a source's rows means nothing for whether two of them are
// the same. A path is member names with slashes between; "[]" stands
// for the elements of an array, "**" for any number of steps.
type rules struct {
	// time is the member that carries the change time.
	time string
	// volatile paths are filled in when the row is read, not when the alert
	// changes.
	volatile []pattern
	// device members are volatile in every object, at any depth, that
	// describes a device.
	device []string
	// ordered are arrays whose order means something; all others are sets in
	// which an element may stand more than once.
	ordered []pattern
}

// pattern is a path, step by step.
type pattern []string

func patterns(paths ...string) (out []pattern) {
	for _, p := range paths {
		out = append(out, strings.Split(p, "/"))
	}
	return out
}

// table holds the rules by source.
var table = map[drover.SourceID]*rules{
	// A device in an alert's evidence is looked up when the alert is read:
	// these members say how it is now, whatever it was then (reference
	// graph-security §7, faults-and-invariants P11). What identifies it
	// (mdeDeviceId, names, osPlatform) stays. Comments are a set, as each has
	// its own time. An argument list is a list.
	drover.GraphAlerts: {
		time:     "lastUpdateDateTime",
		volatile: patterns("@odata.etag", "@odata.context", "**/resourceAccessEvents"),
		device: []string{"healthStatus", "riskScore", "defenderAvStatus", "onboardingStatus", "lastIpAddress", "lastExternalIpAddress",
			"ipInterfaces", "loggedOnUsers", "osBuild", "version", "rbacGroupId", "rbacGroupName", "firstSeenDateTime"},
		ordered: patterns("**/args", "**/command"),
	},
	// Of an incident nothing is looked up; comments and tags are sets.
	drover.GraphIncidents: {
		time:     "lastUpdateDateTime",
		volatile: patterns("@odata.etag", "@odata.context"),
	},
	// The device of an alert stands in flat members: what identifies it counts,
	// the group it is filed under is looked up. An element of the evidence keeps
	// what was seen then (reference mde-api §4).
	drover.MDEAlerts: {
		time:     "lastUpdateTime",
		volatile: patterns("@odata.etag", "@odata.context", "rbacGroupName"),
	},
	// A detection is an immutable record (reference siem-api §1); what its
	// device is called and where it is filed is looked up.
	drover.SIEMDetections: {
		time:     "LastProcessedTimeUtc",
		volatile: patterns("LogOnUsers", "InternalIPv4List", "InternalIPv6List", "MachineGroup", "DeviceCreatedMachineTags", "CloudCreatedMachineTags"),
	},
}

// rulesOf returns the rules of a source; one that is not in the table has
// none, and all of its members count.
func rulesOf(src drover.SourceID) *rules {
	if r := table[src]; r != nil {
		return r
	}
	return &rules{}
}

// leavesOut reports whether the member name, at path, of object o means
// nothing.
func (r *rules) leavesOut(o *node, name string, path []string) bool {
	if slices.Contains(r.device, name) && isDevice(o) {
		return true
	}
	return slices.ContainsFunc(r.volatile, func(p pattern) bool { return matches(p, path) })
}

func (r *rules) isOrdered(path []string) bool {
	return slices.ContainsFunc(r.ordered, func(p pattern) bool { return matches(p, path) })
}

// isDevice reports whether an object is a deviceEvidence: by its type, or where
// that is missing by a member that only devices have.
func isDevice(o *node) bool {
	if t := o.member("@odata.type"); t != nil {
		return t.kind == '"' && strings.HasSuffix(t.text, ".deviceEvidence")
	}
	return o.member("deviceDnsName") != nil || o.member("healthStatus") != nil && o.member("mdeDeviceId") != nil
}

// matches compares a path with a pattern, in which "**" stands for any number
// of steps.
func matches(pattern pattern, path []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for i := range len(path) + 1 {
				if matches(pattern[1:], path[i:]) {
					return true
				}
			}
			return false
		}
		if len(path) == 0 || pattern[0] != path[0] {
			return false
		}
		pattern, path = pattern[1:], path[1:]
	}
	return len(path) == 0
}
