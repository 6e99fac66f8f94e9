package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/config.md anew")

const docsFile = "../../docs/config.md"

const docsHead = `# Config: every key

<!-- Made from the structs of internal/config by: go test ./internal/config -run TestDocs -update -->

` + "`drover.yaml` is strict: a key that is unknown, stands in the wrong place or stands there twice, a value of another kind or out of bounds is\n" +
	"an error that names file, line and what is right, and all of them are listed at once. `drover check` reads the file and changes nothing.\n" + `
- **Lengths of time** are whole numbers with a unit: ` + "`250ms`, `60s`, `15m`, `2h`, `7d`, `1h30m`. **Sizes** likewise: `500kB`, `1MB` (10⁶), `64MiB` (2²⁰). **Shares**: `20%`" + `.
- **Paths** that are not absolute begin at the folder of the file. ` + "`~`" + ` and variables are not expanded.
- **Secrets** never stand in the file. They are named by where they are kept: ` + "`{file: …}`, `{env: …}` or `{credential: …}`" + `. A secret file that others can read is refused.
- Text that YAML would read as something else (` + "`no`, `off`, `0o17`, `2026-01-01`" + `) must be in quotes, and so must a value that begins with ` + "`{` or `*`" + `.
- A bold key must be there. Under *bounds*, both ends are allowed.

Files to start from: [quickstart](../examples/quickstart.yaml), [Splunk](../examples/splunk.yaml), [two clouds](../examples/government.yaml), [every source](../examples/sources.yaml), [no secret to keep](../examples/federated.yaml).
`

// TestDocs keeps docs/config.md what the structs say.
func TestDocs(t *testing.T) {
	d := docs{comments: comments(t)}
	d.b.WriteString(docsHead)
	d.section("", reflect.TypeFor[Config]())
	if len(d.missing) > 0 {
		t.Fatalf("keys without a doc comment: %s", strings.Join(d.missing, ", "))
	}
	want := d.b.String()
	if *update {
		if err := os.WriteFile(docsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/config.md is stale; run: go test ./internal/config -run TestDocs -update\n%s", diff)
	}
}

// withType is the part of a path that says of which type a sink is.
var withType = regexp.MustCompile(` with type: [a-z_]+`)

// docs renders sections one after the other.
type docs struct {
	b        strings.Builder
	comments map[string]string // "Type" and "Type.Field"
	missing  []string
}

// section renders a table of keys, then the sections below it. Path is as a
// reader writes it: "sinks.<id>.batch".
func (d *docs) section(path string, t reflect.Type) {
	if path == "" {
		d.b.WriteString("\n## The sections\n")
	} else {
		place, kind, ok := strings.Cut(path, " with type: ")
		title := "`" + place + "`"
		if ok {
			title += " with `type: " + kind + "`"
		}
		if t == reflect.TypeFor[SecretRef]() {
			title = "A secret"
		}
		fmt.Fprintf(&d.b, "\n### %s\n\n%s\n", title, d.comment(t.Name(), t.Name()))
	}
	d.table(t, path)
	for _, f := range fieldsOf(t) {
		inner, below := f.typ, join(path, f.key)
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Map || inner.Kind() == reflect.Slice {
			switch {
			case inner.Kind() == reflect.Map && f.key == "sinks":
				below += ".<id>"
			case inner.Kind() == reflect.Map && f.names == "tenant":
				below += ".<tenant>"
			case inner.Kind() == reflect.Map:
				below += ".<name>"
			case inner.Kind() == reflect.Slice:
				below += "[]"
			}
			inner = inner.Elem()
		}
		switch {
		case f.variant != "":
			d.section(path+" with type: "+f.variant, inner)
		case inner.Kind() == reflect.Struct && inner != reflect.TypeFor[SecretRef]():
			d.section(withType.ReplaceAllString(below, ""), inner)
		}
	}
	if path == "" {
		d.section("secret", reflect.TypeFor[SecretRef]())
	}
}

func (d *docs) table(t reflect.Type, path string) {
	d.b.WriteString("\n| key | what | default | bounds |\n| --- | --- | --- | --- |\n")
	for _, f := range fieldsOf(t) {
		if f.variant != "" {
			continue
		}
		key := "`" + f.key + "`"
		if f.required {
			key = "**" + key + "**"
		}
		what := d.comment(t.Name()+"."+t.Field(f.index).Name, join(path, f.key))
		fmt.Fprintf(&d.b, "| %s | %s | %s | %s |\n", key, what, defaultOf(f), boundsOf(f))
	}
}

func (d *docs) comment(name, key string) string {
	c := d.comments[name]
	if c == "" {
		d.missing = append(d.missing, key)
	}
	return strings.ReplaceAll(c, "|", "\\|")
}

func defaultOf(f field) string {
	switch {
	case f.def != "":
		return "`" + f.def + "`"
	case strings.HasPrefix(f.standard, "["):
		return "`" + f.standard + "`"
	}
	return f.standard
}

func boundsOf(f field) string {
	kinds := map[string]string{"path": "path", "url": "https URL", "proxy": "`none`, `environment`, URL", "guid": "GUID", "address": "host:port, `none`", "date": "day, such as 2027-03-31", "tenant": "names or IDs", "slug": "names"}
	switch {
	case len(f.oneof) > 0:
		return "`" + strings.Join(f.oneof, "`, `") + "`"
	case f.min != "" && f.max != "":
		return f.min + " – " + f.max
	case f.min != "":
		return "from " + f.min
	case f.typ == reflect.TypeFor[bool]():
		return "`true`, `false`"
	case f.typ == reflect.TypeFor[*SecretRef]():
		return "[secret](#a-secret)"
	case f.typ == reflect.TypeFor[time.Duration]():
		return "time"
	}
	return kinds[f.kind]
}

// comments reads the doc comments of this package's structs and their fields.
func comments(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	files, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, spec := range gen.Specs {
				ts := spec.(*ast.TypeSpec)
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				found[ts.Name.Name] = sentence(ts.Name.Name, gen.Doc)
				for _, fl := range st.Fields.List {
					for _, n := range fl.Names {
						found[ts.Name.Name+"."+n.Name] = strings.Join(strings.Fields(fl.Doc.Text()), " ")
					}
				}
			}
		}
	}
	return found
}

// sentence turns "Batch says what …" into "What …".
func sentence(name string, doc *ast.CommentGroup) string {
	text := strings.TrimPrefix(strings.Join(strings.Fields(doc.Text()), " "), name+" ")
	for _, verb := range []string{"is ", "are ", "says "} {
		text = strings.TrimPrefix(text, verb)
	}
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
