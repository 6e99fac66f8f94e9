package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"drover"
)

// Report is how a section's Validate says what is wrong with one of its keys.
// An empty key means the section as a whole.
type Report func(key, format string, args ...any)

// validator is a section whose keys must fit together.
type validator interface{ Validate(report Report) }

// decoder fills sections from a document and gathers everything that is wrong.
type decoder struct {
	layout layout
	file   string
	dir    string // where relative paths begin
	faults Faults
	lines  map[string]int // of each key that is present, by path: "collect.overlap"
}

func (d *decoder) fault(line int, format string, args ...any) {
	d.faults = append(d.faults, Fault{d.file, line, fmt.Sprintf(format, args...)})
}

// lineOf returns the line of a key, or of the nearest section around it.
func (d *decoder) lineOf(path string) int {
	for {
		if l, ok := d.lines[path]; ok {
			return l
		}
		i := strings.LastIndexByte(path, '.')
		if i < 0 {
			return 0
		}
		path = path[:i]
	}
}

// join makes the path of a key. No key and no name holds a dot.
func join(path, key string) string {
	if path == "" || key == "" {
		return path + key
	}
	return path + "." + key
}

// entry is one "key: value" of a mapping.
type entry struct {
	key   string
	line  int
	value *yaml.Node
}

// entries lists a mapping's keys, faulting those that are no text or stand
// there twice.
func (d *decoder) entries(n *yaml.Node, quiet bool) []entry {
	var list []entry
	first := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := follow(n.Content[i]), follow(n.Content[i+1])
		line := n.Content[i].Line
		switch {
		case k.Kind != yaml.ScalarNode:
			d.fault(line, "a key must be a single word")
		case k.ShortTag() == "!!merge":
			d.fault(line, "merge keys (<<) are not supported; write the keys out")
		case !isText(k) && !quiet:
			d.fault(line, "the key %s is not text in YAML; put it in quotes: %q", clip(k.Value), clip(k.Value))
		case first[k.Value] != 0 && quiet:
			d.fault(line, "a key stands here for the second time; the first is on line %d", first[k.Value])
		case first[k.Value] != 0:
			d.fault(line, "duplicate key %q; the first is on line %d", clip(k.Value), first[k.Value])
		default:
			first[k.Value] = line
			list = append(list, entry{k.Value, line, v})
		}
	}
	return list
}

// section fills the struct v from n; n is nil where the section is absent, and
// then the defaults count.
func (d *decoder) section(path string, n *yaml.Node, v reflect.Value) {
	fields := fieldsOf(v.Type())
	_, quiet := v.Addr().Interface().(*SecretRef)
	var list []entry
	switch {
	case n == nil || isNull(n):
	case n.Kind == yaml.MappingNode:
		list = d.entries(n, quiet)
	case quiet:
		d.fault(n.Line, "a secret cannot stand in the config; put it into a file that only drover can read and write %s: {file: /path/of/the/file}", lastOf(path))
		return
	default:
		d.fault(n.Line, "%s: expected keys (%s), got %s", lastOf(path), strings.Join(keysOf(v.Type(), ""), ", "), kindName(n))
		return
	}
	variant := ""
	present := make(map[string]entry)
	for _, e := range list {
		present[e.key] = e
		if e.key == "type" && e.value.Kind == yaml.ScalarNode {
			variant = e.value.Value
		}
	}
	known := keysOf(v.Type(), variant)
	for _, e := range list {
		if !slices.Contains(known, e.key) {
			d.unknown(path, e, v.Type(), variant, quiet)
		}
	}
	for _, f := range fields {
		fv := v.Field(f.index)
		switch f.variant {
		case "":
			d.member(path, f, fv, present)
		case variant:
			fv.Set(reflect.New(f.typ.Elem()))
			for _, inner := range fieldsOf(f.typ.Elem()) {
				d.member(path, inner, fv.Elem().Field(inner.index), present)
			}
			d.validate(path, fv.Interface())
		}
	}
	if n != nil {
		d.validate(path, v.Addr().Interface())
	}
}

func (d *decoder) validate(path string, section any) {
	if s, ok := section.(validator); ok {
		s.Validate(func(key, format string, args ...any) {
			d.fault(d.lineOf(join(path, key)), format, args...)
		})
	}
}

// member fills one field of a section.
func (d *decoder) member(path string, f field, v reflect.Value, present map[string]entry) {
	at := join(path, f.key)
	e, ok := present[f.key]
	if ok {
		d.lines[at] = e.line
		d.value(at, f, e.value, v)
		return
	}
	switch {
	case f.required:
		d.fault(d.lineOf(path), "%s needs the key %s", cmp.Or(lastOf(path), d.layout.itself), f.key)
	case f.def != "":
		if _, err := scalar(v, f, f.def, d.dir); err != nil {
			panic("config: default of " + at + ": " + err.Error())
		}
	case f.typ.Kind() == reflect.Struct:
		d.section(at, nil, v)
	}
}

// value fills v, of any type that a section can hold.
func (d *decoder) value(path string, f field, n *yaml.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		d.section(path, n, v)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.section(path, n, v.Elem())
	case reflect.Map:
		d.names(path, f, n, v)
	case reflect.Slice:
		d.list(path, f, n, v)
	default:
		if n.Kind != yaml.ScalarNode {
			d.fault(n.Line, "%s: expected a single value, got %s; put a value that begins with { or [ in quotes", f.key, kindName(n))
			return
		}
		d.scalar(f, n, v)
	}
}

// names fills a map from names to sections.
func (d *decoder) names(path string, f field, n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fault(n.Line, "%s: expected names with keys below each, got %s", f.key, kindName(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	first := make(map[string]int)
	for _, e := range d.entries(n, false) {
		name := e.key
		if f.names == "tenant" && drover.IsGUID(name) {
			name = strings.ToLower(name)
		} else if err := checkSlug(name); err != nil {
			d.fault(e.line, "%s: %v", f.key, err)
			continue
		}
		if first[name] != 0 {
			d.fault(e.line, "duplicate key %q; the first, in other letters, is on line %d", name, first[name])
			continue
		}
		first[name] = e.line
		at := join(path, name)
		d.lines[at] = e.line
		elem := reflect.New(v.Type().Elem()).Elem()
		d.section(at, orEmpty(e.value), elem)
		v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), elem)
	}
}

// orEmpty makes "name:" without anything an empty section, so that what it
// must have is asked for.
func orEmpty(n *yaml.Node) *yaml.Node {
	if isNull(n) {
		return &yaml.Node{Kind: yaml.MappingNode, Line: n.Line}
	}
	return n
}

// list fills a slice of sections or of text.
func (d *decoder) list(path string, f field, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.fault(n.Line, "%s: expected a list such as [a, b], got %s", f.key, kindName(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, c := range n.Content {
		at := fmt.Sprintf("%s.%d", path, i)
		d.lines[at] = c.Line
		d.value(at, f, orEmptyIn(follow(c), v), v.Index(i))
	}
}

func orEmptyIn(n *yaml.Node, list reflect.Value) *yaml.Node {
	if list.Type().Elem().Kind() == reflect.Struct {
		return orEmpty(n)
	}
	return n
}

// scalar fills a single value from its YAML node, after the checks that only
// YAML's own reading of it makes possible.
func (d *decoder) scalar(f field, n *yaml.Node, v reflect.Value) {
	if isNull(n) && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		d.fault(n.Line, "%s has no value; give it one or leave the key out", f.key)
		return
	}
	if v.Kind() == reflect.String && f.kind != "start" && f.kind != "date" && len(f.oneof) == 0 && !isText(n) {
		d.fault(n.Line, "%s: %s is not text in YAML; put it in quotes: %q", f.key, clip(n.Value), clip(n.Value))
		return
	}
	if v.Kind() == reflect.String && n.Value == "" {
		d.fault(n.Line, "%s is empty; give it a value or leave the key out", f.key)
		return
	}
	if hint, err := scalar(v, f, n.Value, d.dir); err != nil {
		d.fault(n.Line, "%s: %v%s", f.key, err, hint)
		if f.def != "" { // so that what depends on it is judged by something sensible
			_, _ = scalar(v, f, f.def, d.dir)
		}
	}
}

// notText are plain words that some YAML reader takes for something else.
var notText = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"}

// isText reports whether a scalar is text for every YAML reader.
func isText(n *yaml.Node) bool {
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return true
	}
	return n.ShortTag() == "!!str" && !slices.Contains(notText, strings.ToLower(n.Value))
}

// scalar parses s into v and checks it against the field's bounds.
func scalar(v reflect.Value, f field, s, dir string) (hint string, err error) {
	switch v.Interface().(type) {
	case time.Duration:
		return bounded(v, f, s, parseDuration)
	case Size:
		return bounded(v, f, s, parseSize)
	case Share:
		return bounded(v, f, s, parseShare)
	case int:
		return bounded(v, f, s, parseInt)
	case bool:
		if s != "true" && s != "false" {
			return "", fmt.Errorf("write true or false, not %s", clip(s))
		}
		v.SetBool(s == "true")
		return "", nil
	}
	if len(f.oneof) > 0 && !slices.Contains(f.oneof, s) {
		return didYouMean(s, f.oneof), fmt.Errorf("%q is not known", clip(s))
	}
	if check := textKinds[f.kind]; check != nil {
		if s, err = check(s, dir); err != nil {
			return "", err
		}
	}
	v.SetString(s)
	return "", nil
}

// bounded parses a number of any kind and compares it with the field's bounds.
func bounded[T int | Size | Share | time.Duration](v reflect.Value, f field, s string, parse func(string) (T, error)) (string, error) {
	got, err := parse(s)
	if err != nil {
		return "", err
	}
	low, high := f.min != "", f.max != ""
	var least, most T
	if low {
		least, _ = parse(f.min)
	}
	if high {
		most, _ = parse(f.max)
	}
	switch {
	case low && high && (got < least || got > most):
		return "", fmt.Errorf("%s is out of bounds; write a value from %s to %s", s, f.min, f.max)
	case low && got < least:
		return "", fmt.Errorf("%s is too small; write %s or more", s, f.min)
	case high && got > most:
		return "", fmt.Errorf("%s is too large; write %s or less", s, f.max)
	}
	v.Set(reflect.ValueOf(got))
	return "", nil
}

// unknown says of a key that does not belong where it stands, where it does.
func (d *decoder) unknown(path string, e entry, t reflect.Type, variant string, quiet bool) {
	known := keysOf(t, variant)
	here := cmp.Or(lastOf(path), d.layout.itself)
	if quiet {
		d.fault(e.line, "%s: a secret is named by exactly one of %s; what stands here is none of them", here, strings.Join(known, ", "))
		return
	}
	key := clip(e.key)
	if secretName.MatchString(e.key) {
		if ref := secretKey(t, variant); ref != "" {
			d.fault(e.line, "unknown key %q: a secret is named by where it is kept; write %s", key, ref)
			return
		}
	}
	if in := variantsOf(t, e.key); len(in) > 0 {
		if slices.Contains(sinkTypes, variant) { // else the type is the fault
			d.fault(e.line, "%q is a key of sinks of type %s, not of type %s", key, strings.Join(in, ", "), variant)
		}
		return
	}
	near, ok := nearest(e.key, known)
	elsewhere := slices.Clone(d.layout.homes[e.key])
	if len(elsewhere) > 0 && len(elsewhere) <= 3 && (!ok || plain(near) != plain(e.key)) {
		for i, h := range elsewhere {
			if elsewhere[i] = "under " + h; h == "" {
				elsewhere[i] = "at the top, without indentation"
			}
		}
		d.fault(e.line, "the key %q does not belong to %s; it stands %s", key, here, strings.Join(elsewhere, " or "))
		return
	}
	if ok {
		d.fault(e.line, "unknown key %q; did you mean %q?", key, near)
		return
	}
	d.fault(e.line, "unknown key %q; known in %s are: %s", key, here, strings.Join(known, ", "))
}

// secretKey spells how a section names its secret, empty if it has none.
func secretKey(t reflect.Type, variant string) string {
	for _, f := range fieldsOf(t) {
		switch {
		case f.variant != "" && f.variant == variant:
			if s := secretKey(f.typ.Elem(), ""); s != "" {
				return s
			}
		case f.typ == reflect.TypeFor[*SecretRef]() || f.typ == reflect.TypeFor[SecretRef]():
			return f.key + ": {file: /path/of/the/file}"
		case f.key == "key_file" && t == reflect.TypeFor[Vault]():
			return "key_file: /path/of/the/file"
		}
	}
	return ""
}

// lastOf is the name of the section at path, for messages.
func lastOf(path string) string {
	i := strings.LastIndexByte(path, '.')
	if n, err := strconv.Atoi(path[i+1:]); err == nil && i > 0 {
		return fmt.Sprintf("entry %d of %s", n+1, lastOf(path[:i]))
	}
	return path[i+1:]
}
