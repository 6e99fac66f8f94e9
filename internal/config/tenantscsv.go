package config

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// TenantRow is one row of a CSV list of tenants.
type TenantRow struct {
	Tenant
	Line   int
	Faults Faults // what is wrong with it by itself
}

// tenantColumns are the columns that a list may have: the keys of an entry of
// tenants.yaml.
var tenantColumns = keysOf(reflect.TypeFor[Tenant](), "")

// listColumns are those that hold several values, apart by blanks, ";" or ",".
var listColumns = []string{"sources", "regions"}

var rowLayout = layout{file: "a list of tenants", itself: "the row"}

// ParseTenantsCSV reads a list of tenants with a header row. Values are
// separated by commas, or by semicolons if the header is. A value that is empty
// is left out. What is wrong with single rows stands with them; the error is
// Faults, of the file as a whole.
func ParseTenantsCSV(name string, data []byte) ([]TenantRow, error) {
	whole := func(line int, text string) error { return Faults{{name, line, text}} }
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	switch at := badText(data); {
	case len(data) > tenantsLayout.size:
		return nil, whole(0, "the file is larger than 16 MiB; a list of tenants is some hundred bytes a tenant: is this the right file?")
	case at >= 0:
		return nil, whole(1+bytes.Count(data[:at], []byte("\n")), "a control character, or no UTF-8 text; save the file as CSV UTF-8")
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord, r.TrimLeadingSpace = -1, true
	if head, _, _ := bytes.Cut(data, []byte("\n")); bytes.Contains(head, []byte(";")) && !bytes.Contains(head, []byte(",")) {
		r.Comma = ';'
	}
	var columns []string
	var rows []TenantRow
	for {
		rec, err := r.Read()
		var bad *csv.ParseError
		switch {
		case errors.Is(err, io.EOF) && columns == nil:
			return nil, whole(1, "the file is empty; its first row names the columns: "+strings.Join(tenantColumns, ","))
		case errors.Is(err, io.EOF):
			return rows, nil
		case errors.As(err, &bad):
			return nil, whole(bad.Line, "a quote that stands alone, or is not closed; write a value that holds one as \"a \"\"quoted\"\" word\"")
		case err != nil:
			return nil, whole(0, err.Error())
		}
		line, _ := r.FieldPos(0)
		for i := range rec {
			rec[i] = strings.TrimSpace(rec[i])
		}
		switch {
		case columns == nil:
			if faults := header(name, line, rec); faults != nil {
				return nil, faults
			}
			columns = rec
		case slices.ContainsFunc(rec, func(s string) bool { return s != "" }): // sheets end in rows of nothing
			rows = append(rows, row(name, line, columns, rec))
		}
	}
}

// header says what is wrong with the first row.
func header(name string, line int, columns []string) (faults Faults) {
	for i, c := range columns {
		switch {
		case !slices.Contains(tenantColumns, c):
			faults = append(faults, Fault{name, line, "unknown column \"" + clip(c) + "\"" + didYouMean(c, tenantColumns)})
		case slices.Contains(columns[:i], c):
			faults = append(faults, Fault{name, line, "the column " + c + " stands there twice"})
		}
	}
	for _, c := range []string{"id", "name"} {
		if !slices.Contains(columns, c) {
			faults = append(faults, Fault{name, line, "there is no column " + c + "; the first row names the columns: " + strings.Join(tenantColumns, ",")})
		}
	}
	return faults
}

// row checks a row as an entry of tenants.yaml is.
func row(name string, line int, columns, values []string) TenantRow {
	t := TenantRow{Line: line}
	d := &decoder{layout: rowLayout, file: name, lines: map[string]int{"": line}}
	if len(values) != len(columns) {
		d.fault(line, "the row has %d values and the first row %d columns; write a value that holds a comma in quotes", len(values), len(columns))
	}
	text := func(s string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s, Line: line}
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Line: line}
	for i, v := range values[:min(len(values), len(columns))] {
		value := text(v)
		if v == "" {
			continue
		}
		if slices.Contains(listColumns, columns[i]) {
			value = &yaml.Node{Kind: yaml.SequenceNode, Line: line}
			for _, one := range strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(" ;,", r) }) {
				value.Content = append(value.Content, text(one))
			}
		}
		n.Content = append(n.Content, text(columns[i]), value)
	}
	d.section("", n, reflect.ValueOf(&t.Tenant).Elem())
	t.Faults = d.faults.sorted()
	for i, v := range values[:min(len(values), len(columns))] { // so that a row that is refused can be told
		switch {
		case columns[i] == "id" && t.ID == "":
			t.ID = clip(v)
		case columns[i] == "name" && t.Name == "":
			t.Name = clip(v)
		}
	}
	return t
}
