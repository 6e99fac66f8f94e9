package estate

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"
)

// unixTicks is 1970 in .NET's 100 ns since the year 1.
const unixTicks = 621355968000000000

// Device groups and tags of detections.
var (
	groups = []string{"", "UKMachines", "FranceMachines", "Servers & more"}
	tags   = []string{"", "kiosk", "vip"}
)

// detections writes the SIEM API's rows from the same alerts: one to three per
// alert, some of them days after the first (reference siem-api §1, §9).
func (w *writer) detections(from, to *list) {
	for _, r := range from.later {
		if r.Rev > 0 || r.Kind != "" {
			continue
		}
		// The number before the line is a .NET tick count, the one behind it may be
		// negative.
		alert := fmt.Sprintf("da%d_%d", unixTicks+r.Created.UnixNano()/100, int32(w.m.r.Uint32())) //nolint:gosec // so it is meant
		for part := range 1 + w.m.r.IntN(3) {
			processed := r.Created.Add(time.Duration(1+w.m.r.IntN(300)) * time.Second)
			if part > 0 && w.m.r.IntN(8) == 0 {
				processed = processed.Add(time.Duration(w.m.r.IntN(72)) * time.Hour)
			}
			processed = processed.Add(time.Duration(w.m.r.IntN(1e7)) * 100).Truncate(100)
			hash := sha256.Sum256([]byte(w.m.hex(42)))
			ioc := base64.StdEncoding.EncodeToString(hash[:])
			d := &Row{ID: alert + ":" + ioc, Created: r.Created, Changed: processed, tenant: w.opt.ID, severity: w.m.pick("Informational", "Low", "Medium", "High"), tpl: r.tpl, pieces: part}
			d.group, d.deviceTag, d.cloudTag = groups[len(to.later)%len(groups)], tags[len(to.later)/2%len(tags)], tags[len(to.later)/3%len(tags)]
			w.pushAt(to, d, processed.Add(time.Duration(w.m.r.IntN(900))*time.Millisecond))
			if w.opt.Reprocess && w.m.r.IntN(10) == 0 {
				again := *d
				again.Rev = 1
				again.Changed = processed.Add(time.Duration(30+w.m.r.IntN(600)) * time.Second)
				w.pushAt(to, &again, again.Changed)
			}
		}
	}
}

// Shape is how detections are written: the documents contradict each other and
// the years changed it (reference siem-api §4).
type Shape struct {
	Fields   int  // of the generation: 33 (2017), 46 (2018), 48 (2019), else 50 (2020)
	Nulls    bool // null where there is no value, as in 2017; else ""
	Commas   bool // lists are separated by ", "; else by ";"
	OldNames bool // BuiltInMachineTags and UserDefinedMachineTags, IoaDefinitiondId
}

// Kinds of a detection's values.
const (
	asText = iota
	asNumber
	asBool
)

// fields of a detection in the order of the 2020 sample, and the generation
// that first had each.
var fields = []struct {
	name  string
	since int
	kind  int
	value func(r *Row, alert, ioc string) string
}{
	{"AlertTime", 33, asText, func(r *Row, _, _ string) string { return Text(r.Created) }},
	{"ComputerDnsName", 33, asText, always("ws-0042.contoso.example")},
	{"AlertTitle", 33, asText, always("Suspicious activity")},
	{"Category", 33, asText, always("Malware")},
	{"Severity", 33, asText, func(r *Row, _, _ string) string { return r.severity }},
	{"AlertId", 33, asText, func(_ *Row, alert, _ string) string { return alert }},
	{"Actor", 33, asText, always("")},
	{"LinkToWDATP", 33, asText, func(_ *Row, alert, _ string) string { return "https://securitycenter.windows.com/alert/" + alert }},
	{"IocName", 33, asText, always("")},
	{"IocValue", 33, asText, always("")},
	{"CreatorIocName", 33, asText, always("")},
	{"CreatorIocValue", 33, asText, always("")},
	{"Sha1", 33, asText, always("")},
	{"FileName", 33, asText, always("Robocopy.exe")},
	{"FilePath", 33, asText, always(`C:\\Windows\\System32`)},
	{"IpAddress", 33, asText, always("198.51.100.7")},
	{"Url", 33, asText, always("")},
	{"IoaDefinitionId", 33, asText, always("b20af1d2-5990-4672-87f1-acc2a8ff7725")},
	{"UserName", 33, asText, always("user1")},
	{"AlertPart", 33, asNumber, func(r *Row, _, _ string) string { return strconv.Itoa(r.pieces) }},
	{"FullId", 33, asText, func(r *Row, _, _ string) string { return r.ID }},
	{"LastProcessedTimeUtc", 33, asText, func(r *Row, _, _ string) string { return r.Text }},
	{"ThreatCategory", 33, asText, always("")},
	{"ThreatFamily", 33, asText, always("")},
	{"ThreatName", 33, asText, always("")},
	{"RemediationAction", 33, asText, always("")},
	{"RemediationIsSuccess", 33, asBool, always("")},
	{"Source", 33, asText, always("EDR")},
	{"Md5", 33, asText, always("")},
	{"Sha256", 33, asText, always("")},
	{"WasExecutingWhileDetected", 33, asBool, func(r *Row, _, _ string) string { return []string{"", "true", "false"}[r.pieces%3] }},
	{"UserDomain", 46, asText, always("CONTOSO")},
	{"LogOnUsers", 46, asText, always(`W10\\Administrator`)},
	{"MachineDomain", 46, asText, always("contoso.example")},
	{"MachineName", 46, asText, always("ws-0042")},
	{"InternalIPv4List", 46, asText, always("10.4.18.162;127.0.0.1")},
	{"InternalIPv6List", 46, asText, always("2001:db8::1;::1")},
	{"FileHash", 46, asText, always("")},
	{"DeviceID", 46, asText, always("deadbeef000040830ee54503926f556dcaf82bb0")},
	{"MachineGroup", 46, asText, func(r *Row, _, _ string) string { return r.group }},
	{"Description", 46, asText, always("Test Alert")},
	{"DeviceCreatedMachineTags", 46, asText, func(r *Row, _, _ string) string { return r.deviceTag }},
	{"CloudCreatedMachineTags", 46, asText, func(r *Row, _, _ string) string { return r.cloudTag }},
	{"CommandLine", 46, asText, always("")},
	{"IncidentLinkToWDATP", 48, asText, func(_ *Row, alert, _ string) string {
		return "https://securitycenter.windows.com/incidents/byalert?alertId=" + alert + "&source=SIEM"
	}},
	{"ReportID", 48, asNumber, always("1053729833")},
	{"LinkToMTP", 50, asText, func(_ *Row, alert, _ string) string { return "https://security.microsoft.com/alert/" + alert }},
	{"IncidentLinkToMTP", 50, asText, func(_ *Row, alert, _ string) string {
		return "https://security.microsoft.com/incidents/byalert?alertId=" + alert + "&source=SIEM"
	}},
	{"ExternalId", 33, asText, always("31DD0A845DDA4059FDEDE031014645350AECABD3")},
	{"IocUniqueId", 33, asText, func(_ *Row, _, ioc string) string { return ioc }},
}

func always(v string) func(*Row, string, string) string {
	return func(*Row, string, string) string { return v }
}

var oldNames = map[string]string{"DeviceCreatedMachineTags": "BuiltInMachineTags", "CloudCreatedMachineTags": "UserDefinedMachineTags", "IoaDefinitionId": "IoaDefinitiondId"}

// RenderDetection appends a row of the SIEM API.
func (e *Estate) RenderDetection(dst []byte, r *Row, s Shape) []byte {
	if r.Raw != nil {
		return append(dst, r.Raw...)
	}
	alert, ioc := r.ID, ""
	for i := range len(r.ID) {
		if r.ID[i] == ':' {
			alert, ioc = r.ID[:i], r.ID[i+1:]
			break
		}
	}
	if s.Fields == 0 {
		s.Fields = 50
	}
	sep := byte('{')
	for _, f := range fields {
		if f.since > s.Fields {
			continue
		}
		name := f.name
		if old := oldNames[name]; s.OldNames && old != "" {
			name = old
		}
		dst = append(dst, sep, '"')
		dst = append(append(dst, name...), `":`...)
		sep = ','
		switch v := f.value(r, alert, ioc); {
		case v == "" && (f.kind == asBool || s.Nulls):
			dst = append(dst, "null"...)
		case f.kind != asText:
			dst = append(dst, v...)
		default:
			dst = append(dst, '"')
			for i := range len(v) {
				dst = append(dst, v[i])
				if v[i] == ';' && s.Commas {
					dst = append(dst[:len(dst)-1], ", "...)
				}
			}
			dst = append(dst, '"')
		}
	}
	return append(dst, '}')
}
