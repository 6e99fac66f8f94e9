package estate

import (
	"container/heap"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// endpointService is the serviceSource whose alerts the API of Defender for
// Endpoint shows as well.
const endpointService = "microsoftDefenderForEndpoint"

// endpoint writes the same alerts as the API of Defender for Endpoint shows
// them: those of Defender for Endpoint alone, under the ID that Graph calls
// providerAlertId. Both show a state with one change time, each when it likes.
func (w *writer) endpoint(from, to *list) {
	same := make(map[*Row]*Row)
	for _, r := range from.later {
		if r.Kind != "" || r.tpl.service != endpointService {
			continue
		}
		m := endpointRow(r)
		same[r] = m
		m.before = same[r.before] // written earlier; nil if there is none
		visible := r.Visible
		if visible.After(w.e.start) {
			visible = visible.Add(time.Duration(w.m.r.IntN(900)) * time.Millisecond)
			if !r.silent && w.m.r.Float64() < w.opt.LateShare && w.opt.LateMax > 0 {
				visible = r.Changed.Add(w.within(w.opt.LateMax))
			}
		}
		w.pushAt(to, m, visible)
	}
	w.special(to, func() *Row {
		for {
			if tpl := w.e.tpls[w.m.r.IntN(len(w.e.tpls))]; tpl.service == endpointService {
				return &Row{severity: "High", status: "New", tpl: tpl, pieces: 1}
			}
		}
	})
}

// endpointRow is a state of an alert as a row of the other API.
func endpointRow(r *Row) *Row {
	m := *r
	m.ID = r.ID[min(2, len(r.ID)):]
	m.incident = r.incidentID()
	m.severity, m.status, m.classification, m.determination = pascal(r.severity), pascal(r.status), pascal(r.classification), pascal(r.determination)
	m.before, m.older = nil, nil
	return &m
}

// mirror shows a state that was made by hand at the other API too. The estate
// is locked.
func (e *Estate) mirror(l *list, r *Row) {
	if l.source != Graph || r.Kind != "" || r.Raw != nil || r.tpl.service != endpointService {
		return
	}
	if to := e.lists[r.tenant][MDE]; to != nil && to.opt.MDE {
		m := endpointRow(r)
		if m.silent {
			m.before = to.current[m.ID]
		}
		heap.Push(&to.later, m)
	}
}

// pascal writes a word of Graph as the older APIs do.
func pascal(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// flat is what a template holds as the API of Defender for Endpoint shows it:
// values as JSON.
type flat struct {
	title, description, category, detector, threat, family, techniques, first, last, investigation string

	machine, host, group, user string
	evidence                   []string // of each piece; "" for what has no flat form
	lastEvent                  time.Time
}

// flat works it out once.
func (t *template) flat() *flat {
	t.flatOnce.Do(func() { t.flatForm = flatten(t) })
	return t.flatForm
}

func flatten(t *template) *flat {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte("{"+t.text[1:]+"}"), &m); err != nil {
		panic("estate: a template is no JSON: " + err.Error())
	}
	get := func(name string) string {
		if v := string(m[name]); v != "" {
			return v
		}
		return "null"
	}
	f := &flat{title: get("title"), description: get("description"), category: get("category"), detector: get("detectorId"), threat: get("threatDisplayName"), family: get("threatFamilyName"),
		techniques: get("mitreTechniques"), first: get("firstActivityDateTime"), last: get("lastActivityDateTime"), machine: "null", host: "null", group: "null", user: "null"}
	var state, last string
	_ = json.Unmarshal(m["investigationState"], &state)
	_ = json.Unmarshal(m["lastActivityDateTime"], &last)
	f.investigation = `"` + pascal(state) + `"`
	f.lastEvent, _ = time.Parse(time.RFC3339, last)
	for _, piece := range t.evidence {
		f.evidence = append(f.evidence, f.piece(piece))
	}
	return f
}

// evidenceFields are the members of a piece of evidence, for every type the
// same, and which member of Graph's form each is taken from.
var evidenceFields = []struct{ name, from string }{
	{"evidenceCreationTime", "createdDateTime"}, {"sha1", "fileDetails.sha1"}, {"sha256", "fileDetails.sha256"}, {"fileName", "fileDetails.fileName"}, {"filePath", "fileDetails.filePath"},
	{"processId", "processId"}, {"processCommandLine", "processCommandLine"}, {"processCreationTime", "processCreationDateTime"}, {"parentProcessId", "parentProcessId"},
	{"parentProcessCreationTime", "parentProcessCreationDateTime"}, {"parentProcessFileName", "parentProcessImageFile.fileName"}, {"parentProcessFilePath", "parentProcessImageFile.filePath"},
	{"ipAddress", "ipAddress"}, {"url", "url"}, {"registryKey", "registryKey"}, {"registryHive", "registryHive"}, {"registryValueType", "registryValueType"}, {"registryValue", "registryValue"},
	{"accountName", "userAccount.accountName"}, {"domainName", "userAccount.domainName"}, {"userSid", "userAccount.userSid"}, {"aadUserId", "userAccount.azureAdUserId"},
	{"userPrincipalName", "userAccount.userPrincipalName"}, {"detectionStatus", "detectionStatus"},
}

// flatTypes are the types of evidence that have a flat form.
var flatTypes = map[string]string{"user": "User", "process": "Process", "file": "File", "ip": "Ip", "url": "Url", "registryKey": "Registry", "registryValue": "Registry"}

// piece gives one piece of evidence its flat form, "" if it has none, and notes
// the device and the user of the alert.
func (f *flat) piece(text string) string {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(strings.ReplaceAll(text, liveHole, `"10.1.0.7"`)), &m); err != nil {
		panic("estate: a piece of evidence is no JSON: " + err.Error())
	}
	get := func(path string) string {
		name, inner, nested := strings.Cut(path, ".")
		v := m[name]
		if nested {
			var o map[string]json.RawMessage
			_ = json.Unmarshal(v, &o)
			v = o[inner]
		}
		if len(v) == 0 {
			return "null"
		}
		return string(v)
	}
	var kind string
	_ = json.Unmarshal(m["@odata.type"], &kind)
	kind = strings.TrimSuffix(strings.TrimPrefix(kind, "#microsoft.graph.security."), "Evidence")
	switch {
	case kind == "device" && f.machine == "null":
		f.machine, f.host, f.group = get("mdeDeviceId"), get("deviceDnsName"), get("rbacGroupName")
	case kind == "user" && f.user == "null":
		f.user = `{"userName":` + get("userAccount.accountName") + `,"domainName":` + get("userAccount.domainName") + `}`
	}
	if flatTypes[kind] == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(`{"entityType":"` + flatTypes[kind] + `"`)
	for _, x := range evidenceFields {
		v := get(x.from)
		if kind == "process" && strings.HasPrefix(x.from, "fileDetails.") {
			v = get("imageFile." + strings.TrimPrefix(x.from, "fileDetails."))
		}
		if x.name == "detectionStatus" && len(v) > 2 && v[0] == '"' {
			v = `"` + pascal(v[1:])
		}
		b.WriteString(`,"` + x.name + `":` + v)
	}
	b.WriteByte('}')
	return b.String()
}

// detector is what the older API calls the source of the alert.
func (t *template) detector() string {
	if t.detection == "customDetection" {
		return "CustomDetection"
	}
	return "WindowsDefenderAtp"
}

// investigationID is 0 for an alert without an investigation.
func (r *Row) investigationID() uint64 {
	if n := len(r.tpl.text); n%2 == 0 {
		return uint64(n) * 97
	}
	return 0
}

// mdeWord is Word for what only the API of Defender for Endpoint can filter by;
// numbers are text here.
func (r *Row) mdeWord(property string) string {
	if r.Raw != nil || r.tpl == nil {
		return r.words[property]
	}
	switch property {
	case "id":
		return r.ID
	case "incidentId":
		return strconv.FormatUint(r.incidentID(), 10)
	case "investigationId":
		if n := r.investigationID(); n != 0 {
			return strconv.FormatUint(n, 10)
		}
	case "detectionSource":
		return r.tpl.detector()
	case "category":
		var s string
		_ = json.Unmarshal([]byte(r.tpl.flat().category), &s)
		return s
	}
	return ""
}

// LastEvent is the last activity of an alert; the zero time if it has none.
func (r *Row) LastEvent() time.Time {
	if r.Raw != nil || r.tpl == nil {
		at, _ := time.Parse(time.RFC3339, r.words["lastEventTime"])
		return at
	}
	return r.tpl.flat().lastEvent
}

// RenderEndpoint appends a state as the API of Defender for Endpoint shows it.
// Without expand there is no evidence, and an empty array for it.
func (e *Estate) RenderEndpoint(dst []byte, r *Row, read int, opt Options, expand bool) []byte {
	if opt.Replicas && read%2 == 1 && r.before != nil && r.silent {
		r = r.before
	}
	if r.Raw != nil {
		return append(dst, r.Raw...)
	}
	f := r.tpl.flat()
	raw := func(name, value string) {
		dst = append(append(append(append(dst, `,"`...), name...), `":`...), value...)
	}
	text := func(name, value string) {
		raw(name, "")
		dst = orNull(dst, value)
	}
	dst = append(append(append(dst, `{"id":"`...), r.ID...), `","incidentId":`...)
	dst = strconv.AppendUint(dst, r.incidentID(), 10)
	investigation := "null"
	if n := r.investigationID(); n != 0 {
		investigation = strconv.FormatUint(n, 10)
	}
	raw("investigationId", investigation)
	text("assignedTo", r.assigned)
	text("severity", r.severity)
	text("status", r.status)
	text("classification", r.classification)
	text("determination", r.determination)
	raw("investigationState", f.investigation)
	text("detectionSource", r.tpl.detector())
	raw("detectorId", f.detector)
	raw("category", f.category)
	raw("threatFamilyName", f.family)
	raw("title", f.title)
	raw("description", f.description)
	text("alertCreationTime", Text(r.Created))
	raw("firstEventTime", f.first)
	raw("lastEventTime", f.last)
	text("lastUpdateTime", r.Text)
	resolved := ""
	if r.status == "Resolved" {
		resolved = r.Text
	}
	text("resolvedTime", resolved)
	raw("machineId", f.machine)
	raw("computerDnsName", f.host)
	raw("rbacGroupName", f.group)
	raw("aadTenantId", r.names())
	raw("threatName", f.threat)
	raw("mitreTechniques", f.techniques)
	raw("relatedUser", f.user)
	dst = append(dst, `,"comments":[`...)
	dst = appendComments(dst, r.comments, "createdBy", "createdTime")
	dst = append(dst, `],"evidence":[`...)
	if !expand {
		return append(dst, `]}`...)
	}
	var few [16]int
	order := r.evidenceOrder(few[:0], read, opt)
	size, n := 0, 0
	for pass := 0; pass == 0 || n > 0 && size < opt.Size-len(r.tpl.text)-1200; pass++ {
		for _, k := range order {
			piece := f.evidence[k]
			if piece == "" {
				continue
			}
			if n++; n > 1 {
				dst = append(dst, ',')
			}
			dst = append(dst, piece...)
			size += len(piece)
		}
	}
	return append(dst, `]}`...)
}
