package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drover/internal/proof"
)

func secretFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestASecretIsReadFromWhereItIsKept(t *testing.T) {
	t.Setenv("A_SECRET", "from env")
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(secretFile(t, "from systemd\n", 0o440)))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(secretFile(t, "behind a link", 0o600), link); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		ref  SecretRef
		want string
	}{
		"a file":                         {SecretRef{File: secretFile(t, "from file", 0o600)}, "from file"},
		"a file nobody writes":           {SecretRef{File: secretFile(t, "x", 0o400)}, "x"},
		"one line end is left out":       {SecretRef{File: secretFile(t, "line\n", 0o600)}, "line"},
		"a line end of Windows":          {SecretRef{File: secretFile(t, "\xef\xbb\xbfline\r\n", 0o600)}, "line"},
		"blanks inside and around count": {SecretRef{File: secretFile(t, " a b \n", 0o600)}, " a b "},
		"a symbolic link":                {SecretRef{File: link}, "behind a link"},
		"an environment variable":        {SecretRef{Env: "A_SECRET"}, "from env"},
		"a credential":                   {SecretRef{Credential: "secret"}, "from systemd"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tt.ref.Read()
			if err != nil || got.Reveal() != tt.want {
				t.Errorf("got %q, %v", got.Reveal(), err)
			}
		})
	}
}

func TestACertificateIsReadWithItsKeyOfManyLines(t *testing.T) {
	const pem = "-----BEGIN PRIVATE KEY-----\nMIIE\nvQIB\n-----END PRIVATE KEY-----\n"
	cert, key := secretFile(t, "cert\nof lines\n", 0o644), secretFile(t, pem, 0o600)
	gotCert, gotKey, err := Certificate{File: cert, KeyFile: key}.Read()
	if err != nil || string(gotCert) != "cert\nof lines\n" || gotKey.Reveal() != pem {
		t.Errorf("got %q, %d bytes of key, %v", gotCert, len(gotKey.Bytes()), err)
	}
	for name, c := range map[string]Certificate{
		"a key that others read": {File: cert, KeyFile: secretFile(t, pem, 0o640)},
		"no key":                 {File: cert, KeyFile: key + ".gone"},
		"no certificate":         {File: cert + ".gone", KeyFile: key},
	} {
		if _, _, err := c.Read(); err == nil || strings.Contains(err.Error(), "MIIE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheNewestSecretIsListedFirst(t *testing.T) {
	c, err := Parse("/etc/drover/drover.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	got := c.Apps["default"].Secrets()
	if len(got) != 2 || got[0].Ref.Credential != "app-2027" || got[0].Until.Format("2006-01-02 15:04Z07:00") != "2027-12-31 00:00Z" || got[1].Until.Year() != 2026 {
		t.Errorf("got %+v", got)
	}
	if got := c.Apps["gov"].Secrets(); len(got) != 0 {
		t.Errorf("of an app with a certificate: %+v", got)
	}
	if got := (App{Secret: &SecretRef{File: "x"}}).Secrets(); len(got) != 1 || !got[0].Until.IsZero() {
		t.Errorf("without a day: %+v", got)
	}
}

func TestASecretThatIsNotKeptWellIsRefused(t *testing.T) {
	t.Setenv("EMPTY", "")
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	group, world := secretFile(t, "hunter2", 0o640), secretFile(t, "hunter2", 0o604)
	cases := map[string]struct {
		ref  SecretRef
		want string
	}{
		"readable by the group": {SecretRef{File: group}, "others can read " + group + "; type: chmod 600 " + group},
		"readable by all":       {SecretRef{File: world}, "type: chmod 600 " + world},
		"not there":             {SecretRef{File: "/nowhere/secret"}, "there is no file /nowhere/secret"},
		"empty":                 {SecretRef{File: secretFile(t, "", 0o600)}, "is empty"},
		"a line end only":       {SecretRef{File: secretFile(t, "\n", 0o600)}, "is empty"},
		"two lines":             {SecretRef{File: secretFile(t, "hunter2\nhunter2\n", 0o600)}, "holds more than one line"},
		"too large":             {SecretRef{File: secretFile(t, strings.Repeat("hunter2", 10_000), 0o600)}, "larger than 64 KiB"},
		"a directory":           {SecretRef{File: t.TempDir()}, "is not a file"},
		"an unset variable":     {SecretRef{Env: "SURELY_NOT_SET_ANYWHERE"}, "the environment variable SURELY_NOT_SET_ANYWHERE is not set"},
		"an empty variable":     {SecretRef{Env: "EMPTY"}, "the environment variable EMPTY is empty"},
		"no systemd":            {SecretRef{Credential: "x"}, "set LoadCredential= in the unit"},
		"nowhere":               {SecretRef{}, "no place is named"},
	}
	accepted := 0
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := tt.ref.Read()
			if err == nil {
				accepted++
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !got.Empty() {
				t.Errorf("got %v", err)
			} else if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error shows the secret")
			}
		})
	}
	proof.Ran(t, "C03", "secrets not kept well: accepted %d of %d", accepted, len(cases))
}

func TestASecretOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := secretFile(t, "hunter2", 0o600)
	if err := os.Chown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := (SecretRef{File: path}).Read(); err == nil || !strings.Contains(err.Error(), "type: chown 0 "+path) {
		t.Errorf("got %v", err)
	}
}

func TestAReplacedSecretCountsFromTheNextUse(t *testing.T) {
	ref := SecretRef{File: secretFile(t, "the first", 0o600)}
	stale, uses := 0, 0
	for _, now := range []string{"the first", "another", "shorter", "longer than all of them", "the first"} {
		if err := os.Rename(secretFile(t, now, 0o600), ref.File); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			s, err := ref.Read()
			if err != nil {
				t.Fatal(err)
			}
			if uses++; s.Reveal() != now {
				stale++
			}
		}
	}
	if stale > 0 {
		t.Errorf("%d uses of an old one", stale)
	}
	proof.Ran(t, "C09", "a file replaced five times: stale uses %d of %d", stale, uses)
}
