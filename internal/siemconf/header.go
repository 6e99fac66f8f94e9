package siemconf

import (
	"fmt"
	"strings"
	"time"
)

// modernWay is what a new customer is connected by instead, said first in every file.
func modernWay(p Product) string {
	const graph = "drover reads alerts_v2 of Microsoft Graph by the app's own permission (SecurityAlert.Read.All) and delivers"
	switch p {
	case ArcSight:
		return "The modern way: " + graph + " to a file or to standard output; or ArcSight's SmartConnector for Microsoft 365 Defender, whose parameters no source that we read names."
	case Splunk:
		return "The modern way: " + graph + " to Splunk by HTTP Event Collector (drover run, a sink of type splunk_hec); or Splunk Add-on for Microsoft Security (inputs of this bundle)."
	}
	return "The modern way: " + graph + "; a client of one's own does the same: client credentials for https://graph.microsoft.com/.default, then GET /v1.0/security/alerts_v2."
}

// legend explains the marks in comments.
const legend = "Marks: [page] Microsoft's or the maker's documentation; [code] the maker's public code; [derived] follows from those, no source says it; [undocumented] no source says anything. Microsoft's own file was not found: this one is made from these facts."

// refreshLine says until when the refresh token holds.
func (v Values) refreshLine() string {
	if v.Issued.IsZero() {
		return "Refresh token: issued when is not known. Unused it ends after 90 days: make a new one before that."
	}
	return fmt.Sprintf("Refresh token: issued %s; 90 days on is %s: make a new one before that.", v.Issued.UTC().Format(time.DateOnly), v.Issued.UTC().Add(RefreshLife).Format(time.DateOnly))
}

// header is what stands at the top of every file.
func (v Values) header(p Product, what string) []string {
	return []string{
		what,
		modernWay(p),
		"The SIEM API that this connector reads is deprecated since 2023-12-31 and may be switched off at any time since 2024-12-31.",
		fmt.Sprintf("Tenant: %s (%s), cloud %s", v.Name, v.Tenant, v.Cloud),
		"Generated: " + v.Generated.UTC().Format(time.RFC3339),
		v.refreshLine(),
		"Field mapping: version " + MappingVersion,
		legend,
	}
}

// width is where lines of text are broken, at a blank.
const width = 100

// wrap breaks a line at blanks; what follows the first part is indented.
func wrap(line string) (list []string) {
	for indent := ""; ; indent = "  " {
		room := width - len(indent)
		end := len(line)
		if end > room {
			if end = strings.LastIndexByte(line[:room], ' '); end <= 0 {
				if end = strings.IndexByte(line, ' '); end <= 0 {
					end = len(line)
				}
			}
		}
		list = append(list, indent+line[:end])
		if line = strings.TrimLeft(line[end:], " "); line == "" {
			return list
		}
	}
}

// comment makes lines of # comments. Nothing in them can end a comment or be
// read as more than one: control characters and all that is not ASCII become
// question marks, and no line ends in a backslash.
func comment(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		line = strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '?'
			}
			return r
		}, line)
		for _, part := range wrap(line) {
			b.WriteString(strings.TrimRight("# "+part, `\ `) + "\n")
		}
	}
	return b.String()
}
