package leak

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestASecretIsFoundInEveryShape(t *testing.T) {
	const secret = "0.AXoA/kan4rie+refresh=token~9c2e4477-and-more"
	var s Search
	s.Add("canary", secret)
	s.Add("short", "0123456789")
	for name, text := range map[string]string{
		"clear":       "x" + secret + "y",
		"a part":      secret[7 : 7+31],
		"base64":      base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64 at 1": base64.StdEncoding.EncodeToString([]byte("a" + secret)),
		"base64 at 2": base64.StdEncoding.EncodeToString([]byte("ab" + secret + "c")),
		"base64url":   base64.URLEncoding.EncodeToString([]byte("abcd" + secret)),
		"hex":         hex.EncodeToString([]byte("a" + secret)),
		"HEX":         strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"a query":     url.Values{"t": {secret}}.Encode(),
		"a path":      url.PathEscape(secret),
		"JSON":        strings.ReplaceAll(secret, "/", `\/`),
	} {
		if found := s.In([]byte("before " + text + " behind")); len(found) == 0 || !strings.HasPrefix(found[0], "canary ") {
			t.Errorf("%s: found %q", name, found)
		}
	}
	if found := s.In([]byte("nothing of it: 0123456789 0.AXoA/kan4rie")); len(found) > 0 {
		t.Errorf("found %q", found)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, files, size, err := s.Below(dir); len(found) == 0 || files != 1 || size != int64(len(secret)) || err != nil {
		t.Errorf("%q in %d files, %d bytes, %v", found, files, size, err)
	}
	s.Forgive(secret)
	if found := s.In([]byte(secret)); len(found) > 0 {
		t.Errorf("forgiven, and found %q", found)
	}
	if s.Values() != 1 {
		t.Errorf("%d values", s.Values())
	}
}
