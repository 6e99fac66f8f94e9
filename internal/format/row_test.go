package format_test

import (
	"bytes"
	"testing"

	"drover"
	"drover/internal/format"
)

func TestARowIsFoundInItsRecordByteForByte(t *testing.T) {
	for name, raw := range map[string]string{
		"as it is":                  `{"id":"a","n":1}`,
		"with line ends":            "{\n\"id\": \"a\"\n}",
		"no JSON":                   "\x00\xff",
		"with an envelope's end":    `{"id":"},\"alert\":","alert":{"a":[{}]}}`,
		"with an envelope's end, 2": `{"x":{},"alert":{}}`,
	} {
		line, err := format.JSON{}.Encode(nil, &drover.Revision{AlertID: `},"alert":`, Raw: []byte(raw)}, format.Context{})
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := format.Row(line); !ok || !bytes.Equal(got, []byte(raw)) {
			t.Errorf("%s: %q, %t", name, got, ok)
		}
		for n := range line {
			if got, ok := format.Row(line[:n]); ok && n < len(line)-1 && bytes.Equal(got, []byte(raw)) {
				t.Errorf("%s: found in %d of %d bytes", name, n, len(line))
			}
		}
	}
	if _, ok := format.Row([]byte(`{"id":"a"}`)); ok {
		t.Error("found in a line that is no record")
	}
}
