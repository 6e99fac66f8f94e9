package config

import (
	"reflect"
	"slices"
	"strings"
)

// field is one key of a section: a field of its struct with what the tags say.
//
//	yaml      the key
//	default   its value if the key is absent, as a person would write it
//	standard  in words, a default that depends on the machine
//	min, max  bounds, as a person would write them
//	oneof     the allowed words
//	kind      how text is checked: path, url, proxy, guid, address, start, date, word
//	required  the key must be there
//	names     the keys of a map are: slug, or tenant (name or ID)
//	variant   the struct's keys stand here if the key type has this value
type field struct {
	index    int
	key      string
	typ      reflect.Type
	def      string
	standard string
	min, max string
	oneof    []string
	kind     string
	required bool
	names    string
	variant  string
}

// fieldsOf lists a section's keys in the order of its struct.
func fieldsOf(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		sf := t.Field(i)
		f := field{
			index: i, key: sf.Tag.Get("yaml"), typ: sf.Type, def: sf.Tag.Get("default"), standard: sf.Tag.Get("standard"),
			min: sf.Tag.Get("min"), max: sf.Tag.Get("max"), kind: sf.Tag.Get("kind"),
			required: sf.Tag.Get("required") == "true", names: sf.Tag.Get("names"), variant: sf.Tag.Get("variant"),
		}
		if o := sf.Tag.Get("oneof"); o != "" {
			f.oneof = strings.Split(o, ",")
		}
		if f.key != "" || f.variant != "" {
			all = append(all, f)
		}
	}
	return all
}

// keysOf lists the keys of a section, those of the given variant included.
func keysOf(t reflect.Type, variant string) []string {
	var keys []string
	for _, f := range fieldsOf(t) {
		switch f.variant {
		case "":
			keys = append(keys, f.key)
		case variant:
			keys = append(keys, keysOf(f.typ.Elem(), "")...)
		}
	}
	return keys
}

// variantsOf lists the variants in which a section has the key.
func variantsOf(t reflect.Type, key string) []string {
	var in []string
	for _, f := range fieldsOf(t) {
		if f.variant != "" && slices.Contains(keysOf(f.typ.Elem(), ""), key) {
			in = append(in, f.variant)
		}
	}
	return in
}

// homes maps each key to the sections that have it, for keys that stand in the
// wrong place.
var homes = func() map[string][]string {
	m := make(map[string][]string)
	var visit func(t reflect.Type, path string)
	visit = func(t reflect.Type, path string) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice:
			visit(t.Elem(), path)
			return
		case reflect.Map:
			visit(t.Elem(), path+".<name>")
			return
		case reflect.Struct:
		default:
			return
		}
		for _, f := range fieldsOf(t) {
			if f.variant != "" {
				visit(f.typ, path)
				continue
			}
			if where := strings.TrimPrefix(path, "."); !slices.Contains(m[f.key], where) {
				m[f.key] = append(m[f.key], where)
			}
			visit(f.typ, path+"."+f.key)
		}
	}
	visit(reflect.TypeFor[Config](), "")
	return m
}()
