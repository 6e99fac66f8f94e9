package estate

import (
	"math/rand/v2"
	"strconv"
	"sync"
)

// template is the part of an alert that many alerts share.
type template struct {
	prefix, service, detection, product string
	text                                string // members between the identity and the evidence
	evidence                            []string
	device                              int // index of the evidence whose address is live, -1
	flatOnce                            sync.Once
	flatForm                            *flat // what the API of Defender for Endpoint shows of it
}

var products = []struct{ prefix, service, detection, product string }{
	{"da", "microsoftDefenderForEndpoint", "microsoftDefenderForEndpoint", "Microsoft Defender for Endpoint"},
	{"ed", "microsoftDefenderForEndpoint", "customDetection", "Microsoft Defender for Endpoint"},
	{"fa", "microsoftDefenderForOffice365", "microsoftDefenderForOffice365", "Microsoft Defender for Office 365"},
	{"aa", "microsoftDefenderForIdentity", "microsoftDefenderForIdentity", "Microsoft Defender for Identity"},
	{"ca", "microsoftDefenderForCloudApps", "cloudAppSecurity", "Microsoft Defender for Cloud Apps"},
	{"ad", "azureAdIdentityProtection", "azureAdIdentityProtection", "AAD Identity Protection"},
	{"dl", "dataLossPrevention", "microsoftDataLossPrevention", "Microsoft Data Loss Prevention"},
	{"ra", "microsoft365Defender", "microsoft365Defender", "Microsoft Defender XDR"},
	{"dc", "microsoftDefenderForCloud", "microsoftDefenderForServers", "Microsoft Defender for Cloud"}, // behind unknownFutureValue
}

// liveHole stands where a live address goes.
const liveHole = "\x00live\x00"

// template number n holds, among others, evidence type n: all types occur.
func (m maker) template(n int) *template {
	p := products[n%len(products)]
	t := &template{prefix: p.prefix, service: p.service, detection: p.detection, product: p.product, device: -1}
	t.text = `,"title":"` + m.text(3) + `","description":"` + m.text(24) + `\n\t` + m.text(12) + `","recommendedActions":"","category":"` + m.pick("Persistence", "InitialAccess", "Malware") +
		`","categories":["PreAttack","Probing"],"detectorId":"` + m.guid() + `","actorDisplayName":null,"threatDisplayName":` + m.pick("null", `"HackTool:Win32/Mikatz!dha"`) +
		`,"threatFamilyName":null,"mitreTechniques":["T1059.001","T1543.003"],"firstActivityDateTime":"` + m.time() + `","lastActivityDateTime":"` + m.time() +
		`","alertPolicyId":null,"additionalData":{"big":18446744073709551616,"tiny":1e-320},"customDetails":null,"investigationState":"` + m.pick("queued", "unsupportedAlertType") + `","systemTags":[]`
	kinds := []string{kindOf(n), "process", "file", "user", "ip"}
	if n%2 == 0 {
		kinds = append(kinds, "device", "process")
	}
	if n%7 == 0 {
		kinds = append(kinds, "someNew") // a type that nobody has heard of
	}
	for _, k := range kinds {
		live := ""
		if k == "device" && t.device < 0 {
			t.device = len(t.evidence)
			live = liveHole
		}
		t.evidence = append(t.evidence, m.evidence(k, live, 0))
	}
	return t
}

// drawn are the templates of the seed that was asked for last: nobody changes
// them, and tests build many estates of one seed.
var drawn struct {
	sync.Mutex
	seed uint64
	list []*template
}

// templates are those of a seed.
func templates(seed uint64) []*template {
	drawn.Lock()
	defer drawn.Unlock()
	if drawn.list == nil || drawn.seed != seed {
		m := maker{rand.New(rand.NewPCG(seed, 11))}
		drawn.seed, drawn.list = seed, nil
		for i := range 256 {
			drawn.list = append(drawn.list, m.template(i))
		}
	}
	return drawn.list
}

func kindOf(n int) string {
	s := specs[n%len(specs)]
	for i := range len(s) {
		if s[i] == ' ' {
			return s[:i]
		}
	}
	return s
}

// Render appends a state as a read shows it. read numbers the reads of the
// list; what varies from read to read follows from it.
func (e *Estate) Render(dst []byte, r *Row, read int, opt Options) []byte {
	if opt.Replicas && read%2 == 1 && r.before != nil && r.silent {
		r = r.before
	}
	if r.Raw != nil {
		return append(dst, r.Raw...)
	}
	t := r.tpl
	tenant, incident := r.names(), r.incidentID()
	dst = append(dst, `{"id":"`...)
	dst = append(dst, r.ID...)
	dst = append(dst, `","providerAlertId":"`...)
	dst = append(dst, r.ID[2:]...)
	dst = append(dst, `","incidentId":"`...)
	dst = strconv.AppendUint(dst, incident, 10)
	dst = append(dst, `","status":"`...)
	dst = append(dst, r.status...)
	dst = append(dst, `","severity":"`...)
	dst = append(dst, r.severity...)
	dst = append(dst, `","classification":`...)
	dst = orNull(dst, r.classification)
	dst = append(dst, `,"determination":`...)
	dst = orNull(dst, r.determination)
	dst = append(dst, `,"assignedTo":`...)
	dst = orNull(dst, r.assigned)
	dst = append(dst, `,"resolvedDateTime":`...)
	if r.status == "resolved" {
		dst = orNull(dst, r.Text)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"serviceSource":"`...)
	dst = append(dst, t.service...)
	dst = append(dst, `","detectionSource":"`...)
	dst = append(dst, t.detection...)
	dst = append(dst, `","productName":"`...)
	dst = append(dst, t.product...)
	dst = append(dst, `","tenantId":`...)
	dst = append(dst, tenant...)
	dst = append(dst, t.text...)
	dst = append(dst, `,"alertWebUrl":"https://security.microsoft.com/alerts/`...)
	dst = append(dst, r.ID...)
	dst = append(dst, `?tid=`...)
	dst = append(dst, r.tenant...)
	dst = append(dst, `","incidentWebUrl":"https://security.microsoft.com/incident2/`...)
	dst = strconv.AppendUint(dst, incident, 10)
	dst = append(dst, `/overview?tid=`...)
	dst = append(dst, r.tenant...)
	dst = append(dst, `","createdDateTime":"`...)
	dst = append(dst, Text(r.Created)...)
	dst = append(dst, `","lastUpdateDateTime":"`...)
	dst = append(dst, r.Text...)
	dst = append(dst, `","comments":[`...)
	dst = appendComments(dst, r.comments, "createdByDisplayName", "createdDateTime")
	dst = append(dst, `],"evidence":[`...)
	var few [16]int
	order := r.evidenceOrder(few[:0], read, opt)
	size := 0
	for pass := 0; pass == 0 || size < opt.Size-len(t.text)-1200; pass++ {
		for i, k := range order {
			if i > 0 || pass > 0 {
				dst = append(dst, ',')
			}
			n := len(dst)
			dst = t.piece(dst, k, read, opt.LiveField)
			size += len(dst) - n
		}
	}
	return append(dst, `]}`...)
}

// evidenceOrder appends the pieces of evidence as a read shows them.
func (r *Row) evidenceOrder(order []int, read int, opt Options) []int {
	for i := range min(r.pieces, len(r.tpl.evidence)) {
		order = append(order, i)
	}
	if opt.Shuffle {
		rng := rand.New(rand.NewPCG(uint64(read), uint64(len(r.ID))))
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	return order
}

// appendComments appends n comments, whose members have these names.
func appendComments(dst []byte, n int, author, when string) []byte {
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"comment":"note `...)
		dst = strconv.AppendInt(dst, int64(i), 10)
		dst = append(append(append(dst, `","`...), author...), `":"Analyst","`...)
		dst = append(append(dst, when...), `":"2026-01-01T00:00:00Z"}`...)
	}
	return dst
}

// names is the tenant that a row names, as JSON.
func (r *Row) names() string {
	switch {
	case r.Kind == "foreign":
		return `"` + r.Claims + `"`
	case r.Claims != "":
		return r.Claims
	}
	return `"` + r.tenant + `"`
}

// incidentID is the incident of an alert.
func (r *Row) incidentID() uint64 {
	if r.incident != 0 || r.tpl == nil {
		return r.incident
	}
	return uint64(len(r.tpl.text)*31 + len(r.ID) + 7*r.merges)
}

// orNull appends a word as a string; "" as null.
func orNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return append(append(append(dst, '"'), s...), '"')
}

// piece appends a piece of evidence, its live hole filled.
func (t *template) piece(dst []byte, k, read int, live bool) []byte {
	e := t.evidence[k]
	if k != t.device {
		return append(dst, e...)
	}
	for i := 0; i+len(liveHole) <= len(e); i++ {
		if e[i:i+len(liveHole)] == liveHole {
			dst = append(dst, e[:i]...)
			dst = append(dst, `"10.1.`...)
			if live {
				dst = strconv.AppendInt(dst, int64(read%250), 10)
			} else {
				dst = append(dst, '0')
			}
			dst = append(dst, `.7"`...)
			return append(dst, e[i+len(liveHole):]...)
		}
	}
	return append(dst, e...)
}
