package siemconf

import (
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"drover"
	"drover/internal/proof"
)

const (
	tenant = "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"
	client = "9d2e4b70-1111-4c2b-9a55-77aa88bb99cc"
)

// values is what a provider says of one customer, without secrets.
func values() Values {
	return Values{Tenant: tenant, Name: "contoso", Cloud: "worldwide", ClientID: client,
		TokenURL: "https://login.microsoftonline.com/" + tenant + "/oauth2/token", SignInURL: "https://login.microsoftonline.com/" + tenant + "/oauth2/authorize",
		AlertsURL: "https://wdatp-alertexporter-eu.windows.com/api/alerts", Resource: "https://graph.windows.net", RedirectURI: "https://localhost:44300/wdatpconnector",
		Interval: 5 * time.Minute, Generated: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC), Issued: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		ClientIDKey: "client_id", ArrayRoot: "/", Modern: Modern{Account: "drover_default", Location: "commercial-graph-api", Environment: "commercial-graph-api"}}
}

// bundle makes a product's files, by name.
func bundle(t *testing.T, p Product, v Values) map[string]File {
	t.Helper()
	list, err := Files(p, v)
	if err != nil {
		t.Fatal(err)
	}
	m := make(map[string]File)
	for _, f := range list {
		m[f.Name] = f
	}
	return m
}

// nasty are texts of what breaks such files.
func nasty() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("\\:=#! \t\n\r\f\"'[]$,;aé😀\u0085\u2028\u00a0\x00\x7f"))), rapid.StringOf(rapid.SampledFrom([]rune("aZ9~._-"))),
		rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) }))
}

// often checks a property 20 times as often as rapid does by itself.
func often(t *testing.T, check func(*rapid.T)) {
	t.Helper()
	for range 20 {
		rapid.Check(t, check)
	}
}

func TestAJavaPropertyIsReadBackAsItWasOrRefused(t *testing.T) {
	read, refused := 0, 0
	often(t, func(t *rapid.T) {
		key, value, note := nasty().Draw(t, "key"), nasty().Draw(t, "value"), nasty().Draw(t, "note")
		var p properties
		p.note(note, note)
		p.set(key, value)
		p.note(note)
		p.set(key+"2", "end")
		text, err := p.bytes()
		if err != nil {
			if refused++; utf8.ValidString(key) && utf8.ValidString(value) {
				t.Fatalf("%q=%q is refused: %v", key, value, err)
			}
			return
		}
		got, order, err := readProperties(string(text))
		if err != nil || len(order) != 2 || order[0] != key || got[key] != value || got[key+"2"] != "end" {
			t.Fatalf("%q=%q is read as %q, %v, from %q", key, value, got, err, text)
		}
		for _, b := range text {
			if b != '\n' && (b < ' ' || b > '~') {
				t.Fatalf("%q is not plain ASCII", text)
			}
		}
		read++
	})
	proof.Ran(t, "siem.config", "Java properties read back by another reader: %d of %d that were written, %d refused", read, read, refused)
}

func TestASettingOfSplunksIsReadBackAsItWasOrRefused(t *testing.T) {
	read, refused := 0, 0
	often(t, func(t *rapid.T) {
		value, note := nasty().Draw(t, "value"), nasty().Draw(t, "note")
		plain := rapid.Bool().Draw(t, "plain")
		c := conf{plain: plain}
		c.note(note)
		c.set("one", value)
		c.note(note)
		c.set("two", "end")
		text, err := c.bytes()
		if err != nil {
			if refused++; regexp.MustCompile(`^[!-\[\]-~]*$`).MatchString(value) {
				t.Fatalf("%q is refused: %v", value, err)
			}
			if len(value) > 3 && strings.Contains(err.Error(), value) {
				t.Fatalf("the error shows the value %q: %v", value, err)
			}
			return
		}
		got, _, err := readConf(string(text))
		if err != nil || len(got) != 1 || len(got[""]) != 2 || got[""]["one"] != value || got[""]["two"] != "end" {
			t.Fatalf("%q is read as %q, %v, from %q", value, got, err, text)
		}
		if plain {
			java, _, err := readProperties(string(text))
			if err != nil || !maps.Equal(java, got[""]) {
				t.Fatalf("two readers differ: %q and %q, %v, of %q", java, got[""], err, text)
			}
		}
		read++
	})
	proof.Ran(t, "siem.config", "settings of .conf files read back by another reader: %d of %d that were written, %d refused", read, read, refused)
}

func FuzzEverySecretIsReadBackOrRefused(f *testing.F) {
	for _, s := range []string{"abc~._-", `a\`, "a=b:c#d!e", " a", "a ", "é😀", "a\nb", "\xff", "{encrypted:x}", "]"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, client, refresh string) {
		v := values()
		v.Secret, v.RefreshToken = drover.NewSecret(client), drover.NewSecret(refresh)
		for _, p := range Products {
			list, err := Files(p, v)
			if err != nil {
				continue
			}
			for _, s := range secretsIn(t, list) {
				if s[1] != cmpOr(client, NoSecret) && s[1] != cmpOr(refresh, NoRefresh) {
					t.Errorf("%s: %s is %q", p, s[0], s[1])
				}
			}
		}
	})
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// secretsIn reads each place for a secret, by the readers.
func secretsIn(t *testing.T, list []File) (found [][2]string) {
	t.Helper()
	for _, f := range list {
		all := map[string]string{}
		switch {
		case strings.HasSuffix(f.Name, ".properties"):
			got, _, err := readProperties(string(f.Data))
			if err != nil {
				t.Fatal(f.Name, err)
			}
			all = got
		case strings.HasSuffix(f.Name, ".conf"):
			got, _, err := readConf(string(f.Data))
			if err != nil {
				t.Fatal(f.Name, err)
			}
			for _, stanza := range got {
				maps.Copy(all, stanza)
			}
		case strings.HasSuffix(f.Name, ".json"):
			var d map[string]any
			if err := json.Unmarshal(f.Data, &d); err != nil {
				t.Fatal(f.Name, err)
			}
			for k, v := range d {
				if s, ok := v.(string); ok {
					all[k] = s
				}
			}
		}
		for k, v := range all {
			if strings.HasSuffix(k, "client_secret") || strings.HasSuffix(k, "refresh_token") {
				found = append(found, [2]string{f.Name + " " + k, v})
			}
		}
	}
	return found
}

func TestNoSecretStandsInAFileUnlessItIsGiven(t *testing.T) {
	places, held := map[Product]int{ArcSight: 2, Splunk: 4, Generic: 2}, 0
	for _, p := range Products {
		bare, err := Files(p, values())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range secretsIn(t, bare) {
			if s[1] != NoSecret && s[1] != NoRefresh {
				t.Errorf("%s: %s is %q", p, s[0], s[1])
			}
		}
		v := values()
		v.Secret, v.RefreshToken = drover.NewSecret("the~client.secret"), drover.NewSecret("0.the-refresh-token")
		list, err := Files(p, v)
		if err != nil {
			t.Fatal(err)
		}
		if got := secretsIn(t, list); len(got) != places[p] {
			t.Errorf("%s: places of secrets: %v", p, got)
		}
		for i, f := range list {
			n := strings.Count(string(f.Data), v.Secret.Reveal()) + strings.Count(string(f.Data), v.RefreshToken.Reveal())
			if (n > 0) != f.Secrets || len(f.Missing) > 0 {
				t.Errorf("%s %s holds %d secrets and says %v, missing %v", p, f.Name, n, f.Secrets, f.Missing)
			}
			if bare[i].Secrets || (n > 0) != (len(bare[i].Missing) > 0) {
				t.Errorf("%s %s without secrets says %v, missing %v", p, f.Name, bare[i].Secrets, bare[i].Missing)
			}
			held += n
		}
	}
	proof.Ran(t, "siem.config", "secrets in files that were not asked for: 0; in %d places when they were", held)
}

func TestTheConnectorsPropertiesAreThoseOfTheReference(t *testing.T) {
	files := bundle(t, ArcSight, values())
	if len(files) != 4 {
		t.Errorf("%d files", len(files))
	}
	got, order, err := readProperties(string(files["WDATP-connector.properties"].Data))
	want := map[string]string{"client_id": client, "client_secret": NoSecret, "scope": "", "reauthenticate": "true", "redirect_uri": "https://localhost:44300/wdatpconnector",
		"auth_url":  "https://login.microsoftonline.com/" + tenant + "/oauth2/authorize?resource=https%3A%2F%2Fgraph.windows.net",
		"token_url": "https://login.microsoftonline.com/" + tenant + "/oauth2/token"}
	if err != nil || !maps.Equal(got, want) || len(order) != 7 {
		t.Errorf("%v, %v", got, err)
	}
	v := values()
	v.ClientIDKey, v.Resource = "client_ID", "https://x.example/a b?c=d&e#f"
	if _, err := Files(ArcSight, v); err == nil {
		t.Error("a blank in the resource")
	}
	v.Resource = "https://x.example/a?c=d&e%20#f"
	got, _, err = readProperties(string(bundle(t, ArcSight, v)["WDATP-connector.properties"].Data))
	if err != nil || got["client_ID"] != client || got["client_id"] != "" {
		t.Errorf("%v, %v", got, err)
	}
	if u, err := url.Parse(got["auth_url"]); err != nil || u.Query().Get("resource") != v.Resource || len(u.Query()) != 1 || u.Fragment != "" {
		t.Errorf("%s, %v", got["auth_url"], err)
	}
	got, _, err = readProperties(string(files["WDATP-connector.wizard.properties"].Data))
	want = map[string]string{"connector_type": "ArcSight FlexConnector REST", "configuration_file": "WDATP-connector", "authentication_type": "OAuth 2", "oauth2_client_properties_file": "WDATP-connector.properties",
		"events_url": "https://wdatp-alertexporter-eu.windows.com/api/alerts/?sinceTimeUtc=$START_AT_TIME", "refresh_token": NoRefresh}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

// The mapping as the reference has it, written down a second time.
const table = `AlertTitle name, Severity deviceSeverity, Category deviceEventCategory, Source sourceServiceName, MachineName sourceHostName, FileName fileName,
FilePath filePath, UserDomain sourceNtDomain, UserName sourceUserName, Sha1 fileHash, Sha256 deviceCustomString6, Md5 deviceCustomString5, ThreatName deviceCustomString1,
IpAddress sourceAddress, Url requestUrl, RemediationIsSuccess deviceCustomNumber2, WasExecutingWhileDetected deviceCustomNumber1, AlertId externalId, LinkToWDATP flexString1,
AlertTime deviceReceiptTime, MachineDomain sourceDnsDomain, Actor deviceCustomString4, LogOnUsers sourceUserId`

// TestARowBecomesTheEventThatMicrosoftsTableSays runs the parser file over a row.
func TestARowBecomesTheEventThatMicrosoftsTableSays(t *testing.T) {
	v := values()
	v.ArrayRoot = "/rows here"
	p, order, err := readProperties(string(bundle(t, ArcSight, v)["WDATP-connector.jsonparser.properties"].Data))
	if err != nil {
		t.Fatal(err)
	}
	row := map[string]string{"RemediationIsSuccess": "true", "WasExecutingWhileDetected": "false", "IpAddress": "198.51.100.7", "AlertTime": "2017-05-07T01:56:59.3191352Z"}
	want := map[string]string{"deviceVendor": "Microsoft", "deviceProduct": "Microsoft Defender ATP", "deviceVersion": "2.0"}
	asked := map[string]string{}
	for m := range strings.SplitSeq(strings.ReplaceAll(table, "\n", " "), ", ") {
		from, to, _ := strings.Cut(strings.TrimSpace(m), " ")
		if row[from] == "" {
			row[from] = "value of " + from
		}
		asked[from], want[to] = to, row[from]
	}
	want["deviceCustomNumber1"], want["deviceCustomNumber2"], want["deviceReceiptTime"] = "0", "1", "2017-05-07T01:56:59Z"
	count, err := strconv.Atoi(p["token.count"])
	if err != nil || count != len(asked) || count != 23 || p["trigger.node.location"] != v.ArrayRoot {
		t.Fatalf("%d tokens of %d at %q", count, len(asked), p["trigger.node.location"])
	}
	tokens, known := map[string]string{}, 2
	for i := range count {
		at := "token[" + strconv.Itoa(i) + "]."
		if p[at+"type"] != "String" {
			t.Errorf("%s has type %q", at, p[at+"type"])
		}
		tokens[p[at+"name"]] = row[p[at+"location"]]
		known += 3
	}
	event, labels := map[string]string{}, 0
	for k, f := range p {
		field, ok := strings.CutPrefix(k, "event.")
		if !ok {
			continue
		}
		known++
		got, rest := evaluate(t, f, tokens)
		if rest != "" {
			t.Errorf("%s: %q is left of %q", k, rest, f)
		}
		if of, ok := strings.CutSuffix(field, "Label"); ok {
			if labels++; asked[got] != of {
				t.Errorf("%s is labelled %q", of, got)
			}
			continue
		}
		event[field] = got
	}
	if !maps.Equal(event, want) {
		for k := range want {
			if event[k] != want[k] {
				t.Errorf("%s: %q, want %q", k, event[k], want[k])
			}
		}
		t.Errorf("%d fields, want %d", len(event), len(want))
	}
	if labels != 7 || known != len(order) {
		t.Errorf("%d labels; %d of %d properties are known", labels, known, len(order))
	}
	proof.Ran(t, "siem.config", "fields of a row that the parser file maps as Microsoft's table says: %d of %d, and %d constants", len(asked), 23, len(want)-len(asked))
}

// evaluate computes one expression of a parser file and returns what follows it.
func evaluate(t *testing.T, s string, tokens map[string]string) (value, rest string) {
	t.Helper()
	if strings.HasPrefix(s, `"`) {
		end := strings.Index(s[1:], `"`)
		return s[1 : 1+end], s[end+2:]
	}
	end := strings.IndexAny(s, "(,)")
	if end < 0 || s[end] != '(' {
		if end < 0 {
			end = len(s)
		}
		v, ok := tokens[s[:end]]
		if !ok {
			t.Fatalf("there is no token %q", s[:end])
		}
		return v, s[end:]
	}
	name, args := s[:end], []string(nil)
	for rest = s[end:]; rest[0] != ')'; {
		var arg string
		arg, rest = evaluate(t, rest[1:], tokens)
		args = append(args, arg)
	}
	rest = rest[1:]
	switch name {
	case "__stringConstant", "__getVendor", "__safeToLong":
		return args[0], rest
	case "__concatenate":
		return strings.Join(args, ""), rest
	case "__regexToken", "__regexTokenAsAddress":
		m := regexp.MustCompile("^(?:" + args[1] + ")$").FindStringSubmatch(args[0])
		if m == nil {
			return "", rest
		}
		return m[1], rest
	case "__simpleMap":
		for _, pair := range args[1:] {
			if from, to, _ := strings.Cut(pair, "="); from == args[0] {
				return to, rest
			}
		}
		return "", rest
	case "__createOptionalTimeStampFromString":
		if args[1] != "yyyy-MM-dd'T'HH:mm:ss Z" {
			t.Fatalf("format %q", args[1])
		}
		at, err := time.Parse("2006-01-02T15:04:05 -0700", args[0])
		if err != nil {
			t.Fatal(err)
		}
		return at.UTC().Format(time.RFC3339), rest
	}
	t.Fatalf("there is no function %q", name)
	return "", ""
}

func TestSplunksInputsAreThoseOfTheReference(t *testing.T) {
	v := values()
	files := bundle(t, Splunk, v)
	got, stanzas, err := readConf(string(files["rest_input.inputs.conf"].Data))
	five := map[string]string{"oauth2_access_token": NoAccess, "oauth2_refresh_token": NoRefresh, "oauth2_refresh_url": v.TokenURL, "oauth2_refresh_props": "resource=https://graph.windows.net",
		"oauth2_client_id": client, "oauth2_client_secret": NoSecret}
	want := map[string]string{"endpoint": v.AlertsURL, "http_method": "GET", "auth_type": "oauth2", "oauth2_token_type": "Bearer", "response_type": "json", "response_handler": "JSONArrayHandler",
		"polling_interval": "300", "sourcetype": "_json"}
	maps.Copy(want, five)
	if err != nil || !slices.Equal(stanzas, []string{"rest://contoso wdatp alerts"}) || !maps.Equal(got[stanzas[0]], want) {
		t.Errorf("%v, %v", got, err)
	}
	auth, _, err := readProperties(string(files["splunk-authentication.properties"].Data))
	if err != nil || !maps.Equal(auth, five) {
		t.Errorf("%v, %v", auth, err)
	}
	modern := files["Splunk_TA_MS_Security.inputs.conf"]
	got, stanzas, err = readConf(string(modern.Data))
	shared := map[string]string{"azure_app_account": "drover_default", "tenant_id": tenant, "start_date": "2026-03-02T08:00:00Z", "request_timeout": "60", "lookback": "0", "interval": "300"}
	alerts, incidents := maps.Clone(shared), maps.Clone(shared)
	alerts["location"], alerts["sourcetype"] = "commercial-graph-api", "ms:defender:atp:alerts"
	incidents["environment"], incidents["sourcetype"] = "commercial-graph-api", "ms365:defender:incident"
	if err != nil || len(stanzas) != 2 || !maps.Equal(got["microsoft_defender_endpoint_atp_alerts://contoso"], alerts) || !maps.Equal(got["microsoft_365_defender_endpoint_incidents://contoso"], incidents) {
		t.Errorf("%v, %v", got, err)
	}
	if list, _ := Files(Splunk, v); list[0].Name != modern.Name {
		t.Errorf("the modern inputs are not first: %s", list[0].Name)
	}
	v.CABundle, v.Modern = "/opt/splunk/etc/auth/our ca.pem", ModernFor("lab")
	files = bundle(t, Splunk, v)
	if got, _, err = readConf(string(files["rest_input.inputs.conf"].Data)); err != nil || got["rest://contoso wdatp alerts"]["ca_bundle_path"] != v.CABundle || len(files) != 3 {
		t.Errorf("%v, %v, %d files", got, err, len(files))
	}
	for cloud, want := range map[string]string{"worldwide": "commercial-graph-api", "gcc": "commercial-graph-api", "gcc-high": "gcc-high-graph-api", "dod": "api-gov.securitycenter.microsoft.us", "china": ""} {
		if got := ModernFor(cloud); got.Location != want {
			t.Errorf("%s: %v", cloud, got)
		}
	}
}

func TestTheDetailsFileHasEveryValue(t *testing.T) {
	var d map[string]any
	if err := json.Unmarshal(bundle(t, Generic, values())["siem-details.json"].Data, &d); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]any{"tenant_id": tenant, "client_id": client, "client_secret": NoSecret, "refresh_token": NoRefresh, "token_url": values().TokenURL, "authorize_url": values().SignInURL,
		"resource": "https://graph.windows.net", "alerts_url": values().AlertsURL, "events_url": values().AlertsURL + "?sinceTimeUtc={since}", "redirect_uri": "https://localhost:44300/wdatpconnector",
		"interval_seconds": 300.0, "mapping_version": "2.0", "refresh_token_issued": "2026-03-01", "refresh_token_renew_by": "2026-05-30", "generated": "2026-03-02T08:00:00Z"} {
		if d[k] != want {
			t.Errorf("%s: %v, want %v", k, d[k], want)
		}
	}
	if m, ok := d["field_mapping"].([]any); !ok || len(m) != 23 {
		t.Errorf("mapping: %v", d["field_mapping"])
	}
}

// unwrap joins lines that were broken to be read by a person.
func unwrap(text string) string {
	return regexp.MustCompile(`\n(?:# )? {2}`).ReplaceAllString(text, " ")
}

func TestEachFileSaysWhatItIsAndTheModernWayFirst(t *testing.T) {
	for _, issued := range []time.Time{values().Issued, {}} {
		v := values()
		v.Issued = issued
		for _, p := range Products {
			for name, f := range bundle(t, p, v) {
				at := -1
				want := []string{"The modern way: ", "deprecated since 2023-12-31 and may be switched off at any time since 2024-12-31", "Tenant: contoso (" + tenant + ")", "2026-03-02T08:00:00Z",
					"issued 2026-03-01; 90 days on is 2026-05-30", "version 2.0", "[undocumented]"}
				if issued.IsZero() {
					want[4] = "issued when is not known"
				}
				for _, s := range want {
					i := strings.Index(unwrap(string(f.Data)), s)
					if i <= at {
						t.Errorf("%s %s: %q is at %d, after %d", p, name, s, i, at)
					}
					at = i
				}
			}
		}
	}
	readme := unwrap(string(bundle(t, ArcSight, values())["README.txt"].Data))
	for _, s := range []string{"0600", "0700", `flexagent\WDATP-connector.jsonparser.properties`, "WDATP-connector.wizard.properties", "to be written by hand: client secret"} {
		if !strings.Contains(readme, s) {
			t.Errorf("README.txt does not say %q", s)
		}
	}
}

func TestWhatCannotBeRightIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Values){
		"a tenant that is no GUID":      func(v *Values) { v.Tenant = "contoso" },
		"a name with a line break":      func(v *Values) { v.Name = "a\nb = c" },
		"a name that closes the stanza": func(v *Values) { v.Name = "a]" },
		"a client that is no GUID":      func(v *Values) { v.ClientID = "x" },
		"plain http":                    func(v *Values) { v.TokenURL = "http://login.example/token" },
		"a user in a URL":               func(v *Values) { v.AlertsURL = "https://u:p@x.example/api/alerts" },
		"a query":                       func(v *Values) { v.AlertsURL = "https://x.example/api/alerts?x=1" },
		"an empty query":                func(v *Values) { v.AlertsURL = "https://x.example/api/alerts?" },
		"a fragment":                    func(v *Values) { v.SignInURL = "https://x.example/authorize#x" },
		"what Splunk would replace":     func(v *Values) { v.AlertsURL = "https://x.example/$datetoday$/alerts" },
		"a host alone":                  func(v *Values) { v.AlertsURL = "https://x.example/" },
		"a line break in a URL":         func(v *Values) { v.TokenURL = "https://x.example/token\nx = y" },
		"a comma in the resource":       func(v *Values) { v.Resource = "https://x.example,client_id=y" },
		"no resource":                   func(v *Values) { v.Resource = "" },
		"a redirect to nowhere":         func(v *Values) { v.RedirectURI = "localhost" },
		"more than an hour":             func(v *Values) { v.Interval = 2 * time.Hour },
		"no interval":                   func(v *Values) { v.Interval = 0 },
		"another spelling":              func(v *Values) { v.ClientIDKey = "clientid" },
		"no root":                       func(v *Values) { v.ArrayRoot = "" },
		"no time":                       func(v *Values) { v.Generated = time.Time{} },
	} {
		v := values()
		spoil(&v)
		for _, p := range Products {
			if _, err := Files(p, v); err == nil {
				t.Errorf("%s: %s is not refused", p, name)
			}
		}
	}
	if _, err := Files("qradar", values()); err == nil || !strings.Contains(err.Error(), "arcsight, splunk, generic") {
		t.Error(err)
	}
	v := values()
	v.RefreshToken = drover.NewSecret("tok\nclient_secret = x")
	for _, p := range []Product{ArcSight, Splunk} {
		if _, err := Files(p, v); err == nil || strings.Contains(err.Error(), "client_secret = x") {
			t.Errorf("%s: %v", p, err)
		}
	}
}
