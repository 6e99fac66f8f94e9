package drover

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"

	"drover/internal/proof"
)

const canary = "canary-7f3a\x00\xff~!\"'<&"

// spellings of a canary and of its parts that a search of outputs looks for.
func spellings(s string) (list []string) {
	for _, part := range []string{s, s[:8], s[4:12]} {
		decimal := strings.Trim(fmt.Sprint([]byte(part)), "[]")
		list = append(list, part, base64.StdEncoding.EncodeToString([]byte(part))[:len(part)], base64.RawURLEncoding.EncodeToString([]byte(part))[:len(part)],
			hex.EncodeToString([]byte(part)), strings.ToUpper(hex.EncodeToString([]byte(part))), url.QueryEscape(part), decimal, strings.ReplaceAll(decimal, " ", ", "))
	}
	return list
}

// holders are the ways in which a secret may be part of something printed.
func holders(s Secret) map[string]any {
	type open struct{ Token Secret }
	type hidden struct{ token Secret }
	type deep struct {
		Inner  open
		hidden *hidden
		list   []Secret
		table  map[string]Secret
	}
	var boxed any = s
	return map[string]any{
		"itself":                 s,
		"a pointer":              &s,
		"an exported member":     open{s},
		"a pointer to it":        &open{s},
		"an unexported member":   hidden{s},
		"a pointer to that":      &hidden{s},
		"deep inside":            deep{open{s}, &hidden{s}, []Secret{s}, map[string]Secret{"a": s}},
		"a slice":                []Secret{s, s},
		"an array":               [1]Secret{s},
		"a map":                  map[string]Secret{"a": s},
		"a slice of anything":    []any{boxed, &boxed},
		"an error's cause":       &Error{Op: "x", Err: fmt.Errorf("with %v and %s: %w", s, s, errors.New("y"))},
		"a wrapped error":        fmt.Errorf("a %+v %#v: %w", open{s}, hidden{s}, io.EOF),
		"errors joined together": errors.Join(fmt.Errorf("%q", s), fmt.Errorf("%v", hidden{s})),
		"a reflect.Value":        reflect.ValueOf(s),
		"a function's argument":  []any{struct{ a, b any }{s, &s}},
	}
}

func TestASecretPrintsNowhere(t *testing.T) {
	s := NewSecret(canary)
	outputs := 0
	look := func(how, out string) {
		t.Helper()
		outputs++
		for _, bad := range spellings(canary) {
			if strings.Contains(out, bad) {
				t.Errorf("%s: %q shows the secret as %q", how, out, bad)
				return
			}
		}
	}
	for what, v := range holders(s) {
		for _, flags := range []string{"", "+", "#", "-", " ", "0", "# ", "+#", "100", ".3"} {
			for _, verb := range "vTtbcdoOqxXUeEfFgGsqp!w" {
				format := "%" + flags + string(verb)
				look(what+" by "+format, fmt.Sprintf(format, v))
			}
		}
		look(what+" by Sprint", fmt.Sprint(v))
		look(what+" by Sprintln", fmt.Sprintln(v, v))
		b, _ := json.Marshal(v)
		look(what+" as JSON", string(b))
		if _, isValue := v.(reflect.Value); !isValue {
			b, _ = yamlOf(v)
			look(what+" as YAML", string(b))
		}
		b, _ = xml.Marshal(v)
		look(what+" as XML", string(b))
		var buf bytes.Buffer
		_ = gob.NewEncoder(&buf).Encode(v)
		look(what+" by gob", buf.String())
		for name, h := range map[string]func(io.Writer) slog.Handler{
			"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
			"json": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
		} {
			buf.Reset()
			l := slog.New(h(&buf)).With("with", v)
			l.Info("x", "attr", v, slog.Group("g", "in", v))
			l.WithGroup("group").Error("x", slog.Any("any", v), "err", fmt.Errorf("%v", v))
			look(what+" by slog, "+name, buf.String())
		}
		buf.Reset()
		log.New(&buf, "", 0).Print(v)
		look(what+" by log", buf.String())
		buf.Reset()
		_ = template.Must(template.New("").Parse(`{{.}} {{printf "%v %s %x" . . .}} {{printf "%q" .}}`)).Execute(&buf, v)
		look(what+" by a template", buf.String())
		func() {
			defer func() { look(what+" in a panic", fmt.Sprint(recover())) }()
			panic(v)
		}()
	}
	proof.Ran(t, "I15", "a secret shown by 0 of %d outputs of a value that holds it", outputs)
}

// yamlOf marshals; the library panics where it cannot.
func yamlOf(v any) (b []byte, err error) {
	defer func() { err = errors.Join(err, fmt.Errorf("%v", recover())) }()
	return yaml.Marshal(v)
}

func TestASecretIsGivenOutByTwoMethodsOnly(t *testing.T) {
	s := NewSecret(canary)
	if s.Reveal() != canary || string(s.Bytes()) != canary || s.Empty() {
		t.Error("the value is not given out")
	}
	given := []byte(canary)
	kept := NewSecret(given)
	clear(given)
	if kept.Reveal() != canary {
		t.Error("wiping what it was made from changed it")
	}
	var zero Secret
	if !zero.Empty() || zero.Reveal() != "" || zero.Bytes() != nil || zero.String() != redacted || !NewSecret("").Empty() {
		t.Error("a secret that was never set is empty")
	}
	typ := reflect.TypeFor[Secret]()
	for i := range typ.NumMethod() {
		switch name := typ.Method(i).Name; name {
		case "Reveal", "Bytes", "Empty", "Equal", "String", "GoString", "MarshalText", "LogValue", "Format":
		default:
			t.Errorf("a method that this test does not know: %s", name)
		}
	}
}

func TestSecretsAreComparedByValue(t *testing.T) {
	a := NewSecret("one")
	for name, tt := range map[string]struct {
		other Secret
		want  bool
	}{
		"the same":   {NewSecret("one"), true},
		"itself":     {a, true},
		"another":    {NewSecret("two"), false},
		"a longer":   {NewSecret("one1"), false},
		"an empty":   {NewSecret(""), false},
		"never set":  {Secret{}, false},
		"by a slice": {NewSecret([]byte("one")), true},
	} {
		if a.Equal(tt.other) != tt.want || tt.other.Equal(a) != tt.want {
			t.Errorf("%s: want %v", name, tt.want)
		}
	}
	if !(Secret{}).Equal(NewSecret("")) {
		t.Error("two empty ones differ")
	}
	if reflect.TypeFor[Secret]().Comparable() {
		t.Error("secrets can be compared by ==, which would compare pointers")
	}
}
