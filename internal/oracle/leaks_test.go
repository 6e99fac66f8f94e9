package oracle

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestSecretsAreFoundInEverySpellingAtEveryPlace(t *testing.T) {
	const value = `pä8~Xk/2"vR+sec<ret=7Lp0Wz&9`
	for name, text := range map[string]string{
		"plain":                  value,
		"JSON":                   fmt.Sprintf("%q", value),
		"query":                  url.QueryEscape(value),
		"path":                   url.PathEscape(value),
		"lower escapes":          lowerEscapes(url.QueryEscape(value)),
		"hex":                    hex.EncodeToString([]byte(value)),
		"HEX":                    strings.ToUpper(hex.EncodeToString([]byte(value))),
		"base64":                 base64.StdEncoding.EncodeToString([]byte(value)),
		"base64, one byte off":   base64.StdEncoding.EncodeToString([]byte("x" + value + "y")),
		"base64, two bytes off":  base64.StdEncoding.EncodeToString([]byte("xy" + value)),
		"base64 for addresses":   base64.RawURLEncoding.EncodeToString([]byte("x" + value)),
		"its first 16 bytes":     value[:16],
		"its last 16 bytes":      value[len(value)-16:],
		"16 bytes in the middle": value[5:21],
	} {
		for _, before := range []int{0, 1, 1<<20 - 10, 1<<20 + 3} { // across the edge of what is read at once
			out := Text("log", []byte(strings.Repeat(".", before)+text+strings.Repeat("-", 100)))
			found, err := Leaks([]Secret{{Name: "client secret", Value: value}}, []Log{out})
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 || found[0].Fault != Leak || !strings.HasPrefix(found[0].Examples[0].Detail, "client secret as ") {
				t.Errorf("%s after %d bytes: %+v", name, before, found)
			}
			if strings.Contains(fmt.Sprintf("%+v", found), value) {
				t.Errorf("%s: the finding holds the secret", name)
			}
		}
	}
}

func TestFifteenBytesAndOtherTextsAreNoLeak(t *testing.T) {
	const value = "abcdefghijklmnopqrstuvwxyz0123"
	found, err := Leaks([]Secret{{Name: "s", Value: value}, {Name: "short", Value: "hunter22"}}, []Log{Text("log", []byte(value[:15]+" "+value[15:]+" hunter2 2"))})
	if err != nil || len(found) != 0 {
		t.Errorf("%v %+v", err, found)
	}
	found, err = Leaks([]Secret{{Name: "s", Value: value}, {Name: "short", Value: "hunter22"}}, []Log{Text("log", []byte("pw=hunter22"))})
	if err != nil || len(found) != 1 {
		t.Errorf("a short secret: %v %+v", err, found)
	}
	if _, err := Leaks([]Secret{{Name: "s", Value: "tiny"}}, nil); err == nil {
		t.Error("a secret that would be found by chance is taken")
	}
	if _, err := Leaks(nil, nil); err == nil {
		t.Error("a search for nothing passes")
	}
}
