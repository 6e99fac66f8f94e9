package config

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"drover"
	"drover/internal/proof"
)

const (
	guidA = "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"
	guidB = "4d9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f61"
)

// tenantCases is every way in which a list can be wrong by itself.
var tenantCases = map[string]struct{ text, want string }{
	"nothing":             {"", "0: the file needs the key tenants"},
	"no list":             {"version: 1", "0: the file needs the key tenants"},
	"another version":     {"version: 2\ntenants: []", "1: this file has version 2 and this drover knows version 1"},
	"a drover.yaml":       {"ledger: {}\ntenants: []", `1: unknown key "ledger"; known in the file are: version, tenants`},
	"names in front":      {"tenants:\n  contoso: {id: x}", "2: tenants: expected a list such as [a, b], got keys"},
	"a misspelt key":      {"tenants:\n  - {id: " + guidA + ", name: a, custommer: b}", `2: unknown key "custommer"; did you mean "customer"?`},
	"a secret":            {"tenants:\n  - id: " + guidA + "\n    name: a\n    refresh_token: 0.AX", `4: unknown key "refresh_token"; known in entry 1 of tenants are: id, name, customer, cloud, app, region, regions, sources, state, start`},
	"a key twice":         {"tenants:\n  - id: " + guidA + "\n    name: a\n    name: b", `4: duplicate key "name"; the first is on line 3`},
	"no ID":               {"tenants:\n  - name: a", "2: entry 1 of tenants needs the key id"},
	"no name":             {"tenants:\n  - id: " + guidA, "2: entry 1 of tenants needs the key name"},
	"a bad ID":            {"tenants:\n  - {id: contoso, name: a}", `2: id: "contoso" is not a tenant ID: expected a GUID such as ` + guidA + ` (Entra admin center > Overview > Tenant ID)`},
	"a bad name":          {"tenants:\n  - id: " + guidA + "\n    name: Contoso Ltd.", `3: name: "Contoso Ltd." cannot be a name here: use 1 to 63 of a-z, 0-9 and '-', not at the ends`},
	"a name that is none": {"tenants:\n  - {id: " + guidA + ", name: 365}", `2: name: 365 is not text in YAML; put it in quotes: "365"`},
	"an ID twice":         {"tenants:\n  - {id: " + guidA + ", name: a}\n  - {id: " + strings.ToUpper(guidA) + ", name: b}", "3: duplicate id " + guidA + "; the first is on line 2: each tenant stands in the file once"},
	"a name twice":        {"tenants:\n  - {id: " + guidA + ", name: a}\n  - {id: " + guidB + ", name: a}", "3: duplicate name a; the first is on line 2: each tenant stands in the file once"},
	"an unknown source":   {"tenants:\n  - {id: " + guidA + ", name: a, sources: [graph.alert]}", `2: sources: "graph.alert" is not known; did you mean "graph.alerts"?`},
	"a source twice":      {"tenants:\n  - {id: " + guidA + ", name: a, sources: [mde.alerts, mde.alerts]}", "2: mde.alerts stands in sources twice"},
	"no sources":          {"tenants:\n  - {id: " + guidA + ", name: a, sources: []}", "2: sources is an empty list; to stop reading a tenant write state: paused"},
	"an unknown region":   {"tenants:\n  - {id: " + guidA + ", name: a, region: EU}", `2: region: "EU" is not known; did you mean "eu"?`},
	"a region twice":      {"tenants:\n  - {id: " + guidA + ", name: a, regions: [eu, eu]}", "2: eu stands in regions twice"},
	"an unknown state":    {"tenants:\n  - {id: " + guidA + ", name: a, state: pause}", `2: state: "pause" is not known; did you mean "paused"?`},
	"a bad start":         {"tenants:\n  - {id: " + guidA + ", name: a, start: soon}", `2: start: "soon" is no starting point; write now, an instant such as 2026-03-02T08:00:00Z, or an age such as 24h or 30d`},
	"everything at once":  {"tenants:\n  - {id: x, name: a}\n  - {id: " + guidA + ", name: B}\n", "2: id: \"x\" is not a tenant ID: expected a GUID such as " + guidA + " (Entra admin center > Overview > Tenant ID)\n3: name: \"B\" cannot be a name here: use 1 to 63 of a-z, 0-9 and '-', not at the ends"},
}

func TestEveryFaultOfAListOfTenantsIsNamedWithItsLine(t *testing.T) {
	accepted := 0
	for _, name := range slices.Sorted(maps.Keys(tenantCases)) {
		tt := tenantCases[name]
		t.Run(name, func(t *testing.T) {
			_, err := ParseTenants("tenants.yaml", []byte(tt.text))
			if err == nil {
				accepted++
				t.Fatal("accepted")
			}
			want := strings.ReplaceAll("tenants.yaml:"+strings.ReplaceAll(tt.want, "\n", "\ntenants.yaml:"), "yaml:0: ", "yaml: ")
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
	proof.Ran(t, "tenants.apply", "%d lists that are wrong, each refused with the exact words and line; accepted %d", len(tenantCases), accepted)
}

func TestAListIsReadAsItStands(t *testing.T) {
	got, err := ParseTenants("tenants.yaml", []byte(`
tenants:
  - id: "{`+strings.ToUpper(guidA)+`}"
    name: contoso
    customer: contoso-group
    cloud: gcc-high
    app: gov
    region: none
    regions: []
    sources: [mde.alerts, graph.alerts]
    state: paused
    start: 30d
  - {id: `+guidB+`, name: "365"}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Tenant{{ID: guidA, Name: "contoso", Customer: "contoso-group", Cloud: "gcc-high", App: "gov", Region: "none", Regions: []string{}, Sources: []drover.SourceID{drover.MDEAlerts, drover.GraphAlerts}, State: "paused", Start: "30d"},
		{ID: guidB, Name: "365"}}
	if diff := cmp.Diff(want, got.List); diff != "" {
		t.Error(diff)
	}
	if f := got.Fault(0, "app", "x"); f.Line != 7 {
		t.Errorf("a fault of the app is said of line %d", f.Line)
	}
	if f := got.Fault(1, "app", "x"); f.Line != 13 {
		t.Errorf("a fault of a key that is not there is said of line %d", f.Line)
	}
}

// Names that YAML reads as something else are among them.
func TestWhatIsWrittenIsReadBackTheSame(t *testing.T) {
	odd := rapid.OneOf(rapid.SampledFrom([]string{"no", "y", "on", "null", "true", "0x10", "1e3", "0o7", "365", "2026-01-01", "1-1", "12-30-45", "a", "inf", "0b1"}), rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?`))
	word := rapid.OneOf(odd, rapid.StringMatching(`[!-~]([ -~]{0,10}[!-~])?`))
	rapid.Check(t, func(t *rapid.T) {
		var want []Tenant
		for i := range rapid.IntRange(0, 4).Draw(t, "n") {
			x := Tenant{ID: strings.Replace(guidA, "3c", "3"+string("0123456789"[i]), 1), Name: odd.Draw(t, "name"), Customer: odd.Draw(t, "customer"), Cloud: word.Draw(t, "cloud"), App: word.Draw(t, "app"),
				Region: rapid.SampledFrom([]string{"none", "eu"}).Draw(t, "region"), Regions: rapid.SliceOfNDistinct(word, 0, 3, rapid.ID[string]).Draw(t, "regions"), Sources: []drover.SourceID{drover.GraphAlerts}, State: "active",
				Start: drover.Instant(rapid.Int64Range(0, 1<<53).Draw(t, "start")).String()}
			if slices.ContainsFunc(want, func(o Tenant) bool { return o.Name == x.Name }) {
				continue
			}
			want = append(want, x)
		}
		text := EncodeTenants(want)
		got, err := ParseTenants("t", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if len(got.List) != len(want) || len(want) > 0 && !reflect.DeepEqual(got.List, want) {
			t.Errorf("%s\n%s", cmp.Diff(want, got.List), text)
		}
	})
}

// The bounds are for ten thousand tenants.
//
//citest:plain one long text
func TestAListOfTenThousandIsRead(t *testing.T) {
	list := make([]Tenant, MaxTenants)
	for i := range list {
		name := "customer-of-a-long-name-" + itoa(i)
		list[i] = Tenant{ID: guidA[:24] + strings.Repeat("0", 12-len(itoa(i))) + itoa(i), Name: name, Customer: name, Cloud: "worldwide", App: "default", Region: "eu", Regions: []string{"eu", "uk"},
			Sources: []drover.SourceID{drover.GraphAlerts, drover.GraphIncidents, drover.MDEAlerts, drover.SIEMDetections}, State: "active", Start: "2026-03-02T08:00:00.0000000Z"}
	}
	got, err := ParseTenants("t", EncodeTenants(list))
	if err != nil || !reflect.DeepEqual(got.List, list) {
		t.Errorf("%v", err)
	}
}

func TestRowsOfACSVListAreCheckedOneByOne(t *testing.T) {
	type row struct {
		line int
		name string
		says string
	}
	for name, tt := range map[string]struct {
		text  string
		rows  []row
		fault string
	}{
		"commas":         {"id,name,sources\n" + guidA + ",contoso,graph.alerts mde.alerts\n", []row{{2, "contoso", ""}}, ""},
		"semicolons":     {"id;name;sources\n" + guidA + ";contoso;graph.alerts,mde.alerts\n", []row{{2, "contoso", ""}}, ""},
		"a sheet's end":  {"\xef\xbb\xbfid,name,sources\r\n" + guidA + ", contoso ,graph.alerts; mde.alerts\r\n\r\n,,\r\n", []row{{2, "contoso", ""}}, ""},
		"quotes":         {"id,name,sources\n\"" + guidA + "\",\"contoso\",\"graph.alerts, mde.alerts\"\n", []row{{2, "contoso", ""}}, ""},
		"a row too long": {"id,name,sources\n" + guidA + ",contoso,graph.alerts,mde.alerts\n" + guidB + ",b,\n", []row{{2, "contoso", "the row has 4 values and the first row 3 columns; write a value that holds a comma in quotes"}, {3, "b", ""}}, ""},
		"rows of faults": {"id,name,state\nx,a,\n" + guidA + ",B,\n" + guidB + ",c,gone\n" + guidB + ",,\n" + guidB + ",d,paused\n", []row{{2, "a", `id: "x" is not a tenant ID`}, {3, "B", `name: "B" cannot be a name here`}, {4, "c", `state: "gone" is not known; known are: active, paused`}, {5, "", "the row needs the key name"}, {6, "d", ""}}, ""},
		"nothing":        {"", nil, "l.csv:1: the file is empty; its first row names the columns: id,name,customer,cloud,app,region,regions,sources,state,start"},
		"a misspelling":  {"id,name,custommer\n", nil, `l.csv:1: unknown column "custommer"; did you mean "customer"?`},
		"no header":      {guidA + ",contoso\n", nil, `l.csv:1: unknown column "` + guidA + `"`},
		"a column twice": {"id,name,name\n", nil, "l.csv:1: the column name stands there twice"},
		"no ID":          {"name\na\n", nil, "l.csv:1: there is no column id"},
		"an open quote":  {"id,name\n" + guidA + ",\"contoso\n", nil, "l.csv:2: a quote that stands alone, or is not closed"},
		"no UTF-8":       {"id,name\n" + guidA + ",contos\xf6\n", nil, "l.csv:2: a control character, or no UTF-8 text; save the file as CSV UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseTenantsCSV("l.csv", []byte(tt.text))
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Fatalf("says %v, want %s", err, tt.fault)
				}
				return
			}
			if err != nil || len(got) != len(tt.rows) {
				t.Fatalf("%d rows, %v", len(got), err)
			}
			for i, want := range tt.rows {
				g := got[i]
				if says := g.Faults.Error(); g.Line != want.line || g.Name != want.name || want.says == "" != (len(g.Faults) == 0) || !strings.Contains(says, want.says) {
					t.Errorf("row %d: line %d, %q, says %q", i, g.Line, g.Name, says)
				}
				if len(g.Faults) == 0 && g.Name == "contoso" && !slices.Equal(g.Sources, []drover.SourceID{drover.GraphAlerts, drover.MDEAlerts}) {
					t.Errorf("sources %v", g.Sources)
				}
			}
		})
	}
}

func TestEveryKeyOfATenantIsInTheDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/tenants.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := comments(t)
	for _, f := range fieldsOf(reflect.TypeFor[Tenant]()) {
		line := "| `" + f.key + "` | " + keys["Tenant."+reflect.TypeFor[Tenant]().Field(f.index).Name] + " | "
		if !strings.Contains(string(text), line) {
			t.Errorf("docs/tenants.md lacks: %s", line)
		}
	}
}

func TestTheExamplesOfListsAreRead(t *testing.T) {
	text, err := os.ReadFile("../../examples/tenants/tenants.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if list, err := ParseTenants("tenants.yaml", text); err != nil || len(list.List) != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	if text, err = os.ReadFile("../../examples/tenants/customers.csv"); err != nil {
		t.Fatal(err)
	}
	rows, err := ParseTenantsCSV("customers.csv", text)
	if err != nil || len(rows) != 3 {
		t.Errorf("%+v, %v", rows, err)
	}
	for _, r := range rows {
		if len(r.Faults) > 0 {
			t.Error(r.Faults)
		}
	}
}
