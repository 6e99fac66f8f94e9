package siemconf

import (
	"fmt"
	"strings"
	"time"
)

// readme says where each file goes. It holds no secret.
func readme(p Product, v Values, list []File) File {
	var b strings.Builder
	say := func(paragraph string) { b.WriteString(strings.Join(wrap(paragraph), "\n") + "\n\n") }
	for _, line := range v.header(p, fmt.Sprintf("Files for %s: tenant %s", p, v.Name)) {
		say(line)
	}
	say("Each file: mode 0600, owned by the user that runs the connector (on Windows: readable by its service account and administrators alone). The directory: 0700.")
	say("Whose: the client secret opens every customer that consented to the app, and the refresh token every customer in which its person may sign in to it. Never give them to a customer: a connector of the customer's own needs an app and a sign-in of its own.")
	for _, f := range list {
		fmt.Fprintf(&b, "%s\n    what:   %s\n    place:  %s\n", f.Name, f.What, f.Place)
		switch {
		case f.Secrets && len(f.Missing) > 0:
			fmt.Fprintf(&b, "    HOLDS A SECRET; to be written by hand: %s\n", strings.Join(f.Missing, ", "))
		case f.Secrets:
			b.WriteString("    HOLDS A SECRET\n")
		case len(f.Missing) > 0:
			fmt.Fprintf(&b, "    to be written by hand: %s\n", strings.Join(f.Missing, ", "))
		}
		b.WriteByte('\n')
	}
	for _, step := range steps(p, v) {
		say(step)
	}
	return File{Name: "README.txt", What: "where each file goes", Place: "stays here", Data: []byte(b.String())}
}

// steps is what is done with the files.
func steps(p Product, v Values) []string {
	switch p {
	case ArcSight:
		return []string{
			"1. Put the two files of the connector into its folder. <install> is by default [page] C:\\Program Files\\ArcSightFlexConnectors.",
			"2. Run the wizard with the values of " + wizardFile + ". [page] Without a refresh token: arcsight restutil token -config <" + clientFile + "> in current\\bin signs in by a browser and prints one.",
			"3. [page] See current\\logs\\agent.log for ERROR, FATAL, WARN. After \"Failed to refresh the token\": reauthenticate=true, then arcsight.bat connectors.",
		}
	case Splunk:
		s := []string{
			"1. The modern inputs need the account " + v.Modern.Account + " on the add-on's page; they need no refresh token. Prefer them.",
			"2. Else either fill the form of REST API Modular Input with the values of " + authFile + ", or append " + restFile + " to its local/inputs.conf and restart Splunk.",
			"3. [code] The REST input verifies TLS only with ca_bundle_path.",
		}
		if v.Modern.Location == "" && v.Modern.Environment == "" {
			s[0] = "1. There is no file for Splunk Add-on for Microsoft Security: its list of locations is closed and does not have the hosts of cloud " + v.Cloud + "."
		}
		return append(s, "Not made: the stanza of Windows Defender ATP Modular Inputs TA (Splunkbase 4128): [undocumented] its keys. Its form: login URL, endpoint (the host alone: it adds /api/alerts itself), tenant ID, resource, client ID, client secret.")
	}
	return []string{fmt.Sprintf("Refresh: POST token_url with grant_type=refresh_token, client_id, client_secret, refresh_token, resource; keep the new refresh token of each answer. Then GET alerts_url every %s with Authorization: Bearer, with sinceTimeUtc of the newest LastProcessedTimeUtc seen; rows come again and are told apart by FullId.", v.Interval/time.Second*time.Second)}
}
