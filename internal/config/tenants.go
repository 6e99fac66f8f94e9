package config

import (
	"bytes"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"drover"
)

// Tenants is a whole tenants.yaml: which tenants there are to be, and how each
// is read. No secret stands in it.
type Tenants struct {
	// Version of the file's layout. It is 1, and may be left out.
	Version int `yaml:"version" default:"1"`
	// Tenants, each once.
	List []Tenant `yaml:"tenants" required:"true"`

	file  string
	lines map[string]int
}

// Tenant is one entry of tenants.yaml. A key that is left out is what the tenant
// has, and for a new tenant the default.
type Tenant struct {
	// Directory (tenant) ID. It is the tenant, and never changes.
	ID string `yaml:"id" kind:"directory" required:"true"`
	// Short name, unlike that of any other tenant.
	Name string `yaml:"name" kind:"slug" required:"true"`
	// The customer's short name.
	Customer string `yaml:"customer" kind:"slug" standard:"the tenant's name"`
	// Cloud in which the tenant lies. It never changes.
	Cloud string `yaml:"cloud" kind:"word" standard:"worldwide"`
	// App that reads it, a key of apps: in drover.yaml.
	App string `yaml:"app" kind:"word" standard:"default"`
	// Region of its data, for APIs with a host for each.
	Region string `yaml:"region" oneof:"none,eu,us,uk,au,swa,ina,aea" standard:"none"`
	// Regions of ledgers in which its alerts may be kept (ledger: region: in drover.yaml). An empty list allows all.
	Regions []string `yaml:"regions" kind:"word" standard:"[]"`
	// APIs that are read.
	Sources []drover.SourceID `yaml:"sources" oneof:"graph.alerts,graph.incidents,mde.alerts,siem.detections" standard:"[graph.alerts]"`
	// Whether it is read: a paused one is delivered and not read.
	State string `yaml:"state" oneof:"active,paused" standard:"active"`
	// Where a new tenant begins: now, an instant such as 2026-03-02T08:00:00Z, or an age such as 24h or 30d.
	Start string `yaml:"start" kind:"start" standard:"collect: start: of drover.yaml"`
}

// NoRegion is how a file says that a tenant has no region.
const NoRegion = "none"

// Validate checks the keys together.
func (t *Tenant) Validate(report Report) {
	if t.Sources != nil && len(t.Sources) == 0 {
		report("sources", "sources is an empty list; to stop reading a tenant write state: paused")
	}
	if s, twice := repeated(t.Sources); twice {
		report("sources", "%s stands in sources twice", s)
	}
	if r, twice := repeated(t.Regions); twice {
		report("regions", "%s stands in regions twice", clip(r))
	}
}

func repeated[T comparable](list []T) (one T, twice bool) {
	for i, x := range list {
		if slices.Contains(list[:i], x) {
			return x, true
		}
	}
	return one, false
}

// MaxTenants is about how many tenants a file may hold: its bounds are those of
// ten thousand with every key.
const MaxTenants = 10_000

var tenantsLayout = layout{file: "a list of tenants", itself: "the file", keys: "tenants:", usual: "some hundred bytes a tenant", size: 16 << 20, nodes: 64 * MaxTenants}

// ParseTenants checks the text of a tenants.yaml; name stands in the faults. The
// error is Faults. What a ledger or a drover.yaml must know is not looked at.
func ParseTenants(name string, data []byte) (*Tenants, error) {
	root, faults := document(tenantsLayout, name, data)
	if len(faults) > 0 {
		return nil, faults
	}
	d := &decoder{layout: tenantsLayout, file: name, dir: filepath.Dir(name), lines: make(map[string]int)}
	f := &Tenants{file: name, lines: d.lines}
	d.section("", root, reflect.ValueOf(f).Elem())
	if f.Version != 1 {
		d.fault(d.lineOf("version"), "this file has version %d and this drover knows version 1", f.Version)
	}
	for key, of := range map[string]func(*Tenant) string{"id": func(t *Tenant) string { return t.ID }, "name": func(t *Tenant) string { return t.Name }} {
		first := make(map[string]int)
		for i := range f.List {
			v, line := of(&f.List[i]), d.lineOf(fmt.Sprintf("tenants.%d.%s", i, key))
			switch {
			case v == "":
			case first[v] != 0:
				d.fault(line, "duplicate %s %s; the first is on line %d: each tenant stands in the file once", key, v, first[v])
			default:
				first[v] = line
			}
		}
	}
	if len(d.faults) > 0 {
		return nil, d.faults.sorted()
	}
	return f, nil
}

// Fault says what is wrong with a key of the i-th tenant, "" for all of it.
func (f *Tenants) Fault(i int, key, text string) Fault {
	d := decoder{lines: f.lines}
	return Fault{f.file, d.lineOf(join(fmt.Sprintf("tenants.%d", i), key)), text}
}

// FaultList puts faults in the order of lines.
func FaultList(list []Fault) Faults { return Faults(list).sorted() }

// EncodeTenants writes a tenants.yaml in which every key stands, in one order.
// The tenants stand as they come.
func EncodeTenants(list []Tenant) []byte {
	var b bytes.Buffer
	b.WriteString("# Written by: drover tenant export. No secret stands here.\n# Apply it with: drover tenant apply -f FILE --dry-run\nversion: 1\ntenants:")
	if len(list) == 0 {
		b.WriteString(" []")
	}
	b.WriteByte('\n')
	for _, t := range list {
		sep := "  - "
		for _, kv := range [][2]string{{"id", quoted(t.ID)}, {"name", quoted(t.Name)}, {"customer", quoted(t.Customer)}, {"cloud", quoted(t.Cloud)}, {"app", quoted(t.App)}, {"region", quoted(t.Region)},
			{"regions", flow(t.Regions)}, {"sources", flow(texts(t.Sources))}, {"state", quoted(t.State)}, {"start", t.Start}} {
			fmt.Fprintf(&b, "%s%s: %s\n", sep, kv[0], kv[1])
			sep = "    "
		}
	}
	return b.Bytes()
}

func flow(list []string) string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = quoted(s)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// plainWord is a text that YAML reads as text in any place.
const plainWord = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"

// quoted writes a text so that every YAML reader reads it as text.
func quoted(s string) string {
	var n yaml.Node
	if strings.Trim(s, plainWord) == "" && yaml.Unmarshal([]byte(s), &n) == nil && len(n.Content) == 1 && n.Content[0].Kind == yaml.ScalarNode && n.Content[0].Value == s && isText(n.Content[0]) {
		return s
	}
	return fmt.Sprintf("%q", s)
}
