package estate

import (
	"math/rand/v2"
	"strconv"
)

// template is the part of an alert that many alerts share.
type template struct {
	prefix, service, detection, product string
	text                                string // members between the identity and the evidence
	evidence                            []string
	device                              int // index of the evidence whose address is live, -1
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
		`","categories":["PreAttack","Probing"],"assignedTo":null,"actorDisplayName":null,"threatDisplayName":` + m.pick("null", `"HackTool:Win32/Mikatz!dha"`) +
		`,"threatFamilyName":null,"mitreTechniques":["T1059.001","T1543.003"],"resolvedDateTime":null,"firstActivityDateTime":"` + m.time() + `","lastActivityDateTime":"` + m.time() +
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
		t.evidence = append(t.evidence, m.evidence(k, live))
	}
	return t
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
	tenant := `"` + r.tenant + `"`
	if r.Kind == "foreign" {
		tenant = `"` + r.Claims + `"`
	} else if r.Claims != "" {
		tenant = r.Claims
	}
	dst = append(dst, `{"id":"`...)
	dst = append(dst, r.ID...)
	dst = append(dst, `","providerAlertId":"`...)
	dst = append(dst, r.ID[2:]...)
	dst = append(dst, `","incidentId":"`...)
	dst = strconv.AppendUint(dst, uint64(len(t.text)*31+len(r.ID)), 10)
	dst = append(dst, `","status":"`...)
	dst = append(dst, r.status...)
	dst = append(dst, `","severity":"`...)
	dst = append(dst, r.severity...)
	dst = append(dst, `","classification":`...)
	dst = append(dst, orNull(r.classification)...)
	dst = append(dst, `,"determination":null,"serviceSource":"`...)
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
	dst = append(dst, `","createdDateTime":"`...)
	dst = append(dst, Text(r.Created)...)
	dst = append(dst, `","lastUpdateDateTime":"`...)
	dst = append(dst, r.Text...)
	dst = append(dst, `","comments":[`...)
	for i := range r.comments {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"comment":"note `...)
		dst = strconv.AppendInt(dst, int64(i), 10)
		dst = append(dst, `","createdByDisplayName":"Analyst","createdDateTime":"2026-01-01T00:00:00Z"}`...)
	}
	dst = append(dst, `],"evidence":[`...)
	order := make([]int, min(r.pieces, len(t.evidence)))
	for i := range order {
		order[i] = i
	}
	if opt.Shuffle {
		rng := rand.New(rand.NewPCG(uint64(read), uint64(len(r.ID))))
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
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

func orNull(s string) string {
	if s == "" {
		return "null"
	}
	return s
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

// RenderDetection appends a row of the SIEM API, 50 fields in the order of the
// 2020 sample (reference siem-api §4).
func (e *Estate) RenderDetection(dst []byte, r *Row) []byte {
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
	str := func(name, v string) {
		dst = append(append(append(dst, `,"`...), name...), `":"`...)
		dst = append(append(dst, v...), '"')
	}
	dst = append(dst, `{"AlertTime":"`...)
	dst = append(append(dst, Text(r.Created)...), '"')
	str("ComputerDnsName", "ws-0042.contoso.example")
	str("AlertTitle", "Suspicious activity")
	str("Category", "Malware")
	str("Severity", r.severity)
	str("AlertId", alert)
	str("Actor", "")
	str("LinkToWDATP", "https://securitycenter.windows.com/alert/"+alert)
	for _, f := range []string{"IocName", "IocValue", "CreatorIocName", "CreatorIocValue", "Sha1"} {
		str(f, "")
	}
	str("FileName", "Robocopy.exe")
	str("FilePath", `C:\\Windows\\System32`)
	str("IpAddress", "198.51.100.7")
	str("Url", "")
	str("IoaDefinitionId", "b20af1d2-5990-4672-87f1-acc2a8ff7725")
	str("UserName", "user1")
	dst = append(dst, `,"AlertPart":`...)
	dst = strconv.AppendInt(dst, int64(r.pieces), 10)
	str("FullId", r.ID)
	str("LastProcessedTimeUtc", r.Text)
	for _, f := range []string{"ThreatCategory", "ThreatFamily", "ThreatName", "RemediationAction"} {
		str(f, "")
	}
	dst = append(dst, `,"RemediationIsSuccess":null`...)
	str("Source", "EDR")
	for _, f := range []string{"Md5", "Sha256"} {
		str(f, "")
	}
	dst = append(dst, `,"WasExecutingWhileDetected":null`...)
	for _, f := range []struct{ n, v string }{{"UserDomain", "CONTOSO"}, {"LogOnUsers", `W10\\Administrator`}, {"MachineDomain", "contoso.example"}, {"MachineName", "ws-0042"}, {"InternalIPv4List", "10.4.18.162;127.0.0.1"},
		{"InternalIPv6List", "2001:db8::1;::1"}, {"FileHash", ""}, {"DeviceID", "deadbeef000040830ee54503926f556dcaf82bb0"}, {"MachineGroup", ""}, {"Description", "Test Alert"}, {"DeviceCreatedMachineTags", ""},
		{"CloudCreatedMachineTags", ""}, {"CommandLine", ""}, {"IncidentLinkToWDATP", "https://securitycenter.windows.com/incidents/byalert?alertId=" + alert + "&source=SIEM"}} {
		str(f.n, f.v)
	}
	dst = append(dst, `,"ReportID":1053729833`...)
	str("LinkToMTP", "https://security.microsoft.com/alert/"+alert)
	str("IncidentLinkToMTP", "https://security.microsoft.com/incidents/byalert?alertId="+alert+"&source=SIEM")
	str("ExternalId", "31DD0A845DDA4059FDEDE031014645350AECABD3")
	str("IocUniqueId", ioc)
	return append(dst, '}')
}
