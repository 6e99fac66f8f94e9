package oracle

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestSecretsAreFoundInEverySpellingAtEveryPlace(t *testing.T) {
	const value = `pä8~Xk/2"vR+sec<ret=7Lp0Wz&9`
	for name, text := range map[string]string{
		"plain":                  value,
		"JSON":                   fmt.Sprintf("%q", value),
		"JSON, slashes escaped":  strings.ReplaceAll(value, "/", `\/`),
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
		"16 of another place":    value[9:25],
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

// What is looked up is every ninth block of eight: no window may fall between
// them.
func TestEvery16BytesOfALongSecretAreFoundAndNo15(t *testing.T) {
	value := make([]byte, 300)
	for i := range value {
		value[i] = byte('!' + i*i*7%89 + i%3)
	}
	for k := range len(value) - window + 1 {
		for size, want := range map[int]int{window: 1, window - 1: 0} {
			found, err := Leaks([]Secret{{Name: "s", Value: string(value)}}, []Log{Text("log", slices.Concat([]byte("~~"), value[k:k+size], []byte("~~")))})
			if err != nil || len(found) != want {
				t.Fatalf("%d bytes at %d: %v %+v", size, k, err, found)
			}
			if want == 1 && found[0].Examples[0].Where != "log, byte 2" {
				t.Errorf("%d bytes at %d: said to be at %s", size, k, found[0].Examples[0].Where)
			}
		}
	}
}

func TestWhatIsPublicIsNoLeakAndWhatStandsBesideItIs(t *testing.T) {
	const tenant = "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"
	secret := []Secret{{Name: "address", Value: "https://portal.example/alerts/" + tenant + "/of/somebody-s-own"}}
	for text, want := range map[string]int{
		"tenant " + tenant + ".":          0,
		tenant[3:30]:                      0,
		"rts/" + tenant + "/of/":          0, // no more than may stand there by chance
		"erts/" + tenant:                  1,
		tenant + "/of/s":                  1,
		tenant + " /of/somebody-s-own":    1,
		strings.ToUpper(tenant) + " /of/": 0,
	} {
		found, err := Leaks(secret, []Log{Text("log", []byte(text))}, tenant)
		if err != nil || len(found) != want {
			t.Errorf("%s: %v %+v", text, err, found)
		}
	}
	if found, err := Leaks([]Secret{{Name: "s", Value: "hunter22"}}, []Log{Text("log", []byte("hunter22"))}, "my hunter22!"); err != nil || len(found) != 0 {
		t.Errorf("a short one: %v %+v", err, found)
	}
}
