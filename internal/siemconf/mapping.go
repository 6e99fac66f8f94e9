package siemconf

// kind is how a field of the API becomes a field of an event.
type kind int

const (
	text    kind = iota // as it is
	address             // an IPv4 address
	yesNo               // JSON true, false, null: 1, 0, absent
	moment              // ISO 8601, UTC, up to seven digits of a second
)

// pair says which field of a row goes where.
type pair struct {
	from, to string
	as       kind
}

// mapping is Microsoft's, version 2.0 (its api-portal-mapping page; reference
// siem-api §4). The API's other fields have no place in an event.
var mapping = []pair{
	{"AlertTitle", "name", text},
	{"Severity", "deviceSeverity", text},
	{"Category", "deviceEventCategory", text},
	{"Source", "sourceServiceName", text},
	{"MachineName", "sourceHostName", text},
	{"FileName", "fileName", text},
	{"FilePath", "filePath", text},
	{"UserDomain", "sourceNtDomain", text},
	{"UserName", "sourceUserName", text},
	{"Sha1", "fileHash", text},
	{"Sha256", "deviceCustomString6", text},
	{"Md5", "deviceCustomString5", text},
	{"ThreatName", "deviceCustomString1", text},
	{"IpAddress", "sourceAddress", address},
	{"Url", "requestUrl", text},
	{"RemediationIsSuccess", "deviceCustomNumber2", yesNo},
	{"WasExecutingWhileDetected", "deviceCustomNumber1", yesNo},
	{"AlertId", "externalId", text},
	{"LinkToWDATP", "flexString1", text},
	{"AlertTime", "deviceReceiptTime", moment},
	{"MachineDomain", "sourceDnsDomain", text},
	{"Actor", "deviceCustomString4", text},
	{"LogOnUsers", "sourceUserId", text},
}

// constants are fields that say the same of every event.
var constants = []struct{ to, value string }{
	{"deviceVendor", "Microsoft"},
	{"deviceProduct", "Microsoft Defender ATP"},
	{"deviceVersion", MappingVersion},
}
