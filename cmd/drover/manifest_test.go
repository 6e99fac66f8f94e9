package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestASearchIsPrintedForTheSinkAndItsLanguage(t *testing.T) {
	cfg := writeConfig(t, "")
	dir := filepath.Dir(cfg)
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("11111111-2222-4333-8444-555555555555\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "sinks: {archive: {type: file, root: "+dir+"/out}}",
		"sinks: {archive: {type: file, root: \""+dir+"/it's\", manifests: true}, soc: {type: splunk_hec, url: \"https://splunk.example\", token: {file: "+token+"}, index: defender, manifests: true}}", 1))
	if err := os.WriteFile(cfg, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"files":              {[]string{"--sink", "archive"}, exitOK, `find '` + dir + `/it'\''s' -type f`},
		"splunk":             {[]string{"--sink", "soc"}, exitOK, `index="defender" sourcetype="drover:alert"` + "\n| spath"},
		"another language":   {[]string{"--sink", "soc", "--lang", "kql"}, exitOK, "hash_sha256("},
		"one more":           {[]string{"--sink", "soc", "--lang", "esql"}, exitOK, "MV_SORT("},
		"no such language":   {[]string{"--sink", "soc", "--lang", "sql"}, exitUsage, "known are: spl, kql, esql, shell"},
		"no such sink":       {[]string{"--sink", "none"}, exitUsage, "known are: archive, soc"},
		"no sink":            {nil, exitUsage, "sink"},
		"no placeholder":     {[]string{"--sink", "archive", "--lang", "spl"}, exitOK, "search *\n"},
		"a sink without any": {[]string{"--sink", "archive", "-c", writeConfig(t, "")}, exitOK, "set manifests: true"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"manifest", "search", "-c", cfg}, tt.args...)
			code, out, errs := droverCommand(t, args...)
			if code != tt.code || !strings.Contains(out+errs, tt.want) || strings.Contains(out, "{{") {
				t.Errorf("exit code %d, want %d: %q is not in %.400s%s", code, tt.code, tt.want, out, errs)
			}
		})
	}
	if code, _, errs := droverCommand(t, "config", "check", "-c", writeConfig(t, "")); code != exitOK {
		t.Error(errs)
	}
}
