package entra

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

// day returns the start of a day of 2027.
func day(n int) time.Time { return time.Date(2027, 1, n, 0, 0, 0, 0, time.UTC) }

func TestWhileTwoSecretsAreThereTheNewestThatWorksIsUsed(t *testing.T) {
	const id = "5b1f0c52-6d53-4c5d-9a4f-0e6f6f1d2a11"
	secret := func(value string, until time.Time) DatedSecret {
		return DatedSecret{func() (drover.Secret, error) {
			if value == "" {
				return drover.Secret{}, errors.New("there is no file")
			}
			return drover.NewSecret(value), nil
		}, until}
	}
	no := time.Time{}
	cases := map[string]struct {
		newer, older DatedSecret
		now          time.Time
		want         string
		until        time.Time
	}{
		"both work":                         {secret("new", day(90)), secret("old", day(30)), day(1), "new", day(90)},
		"the older has ended":               {secret("new", day(90)), secret("old", day(30)), day(30), "new", day(90)},
		"both have ended":                   {secret("new", day(90)), secret("old", day(30)), day(99), "new", day(90)},
		"written the other way round":       {secret("new", day(30)), secret("old", day(90)), day(1), "old", day(90)},
		"the first has ended, no other day": {secret("new", day(30)), secret("old", no), day(30), "old", no},
		"only the older has a day":          {secret("new", no), secret("old", day(90)), day(1), "new", no},
		"only the newer has a day":          {secret("new", day(90)), secret("old", no), day(1), "new", day(90)},
		"no days":                           {secret("new", no), secret("old", no), day(1), "new", no},
		"the newer is not there yet":        {secret("", day(90)), secret("old", day(30)), day(1), "old", day(30)},
		"the newer is an ID":                {secret(id, day(90)), secret("old", day(30)), day(1), "old", day(30)},
		"the older has been taken away":     {secret("new", day(90)), secret("", day(30)), day(1), "new", day(90)},
	}
	right := 0
	for name, tt := range cases {
		s, until, err := Newest(tt.now, []DatedSecret{tt.newer, tt.older})
		if err != nil || s.Reveal() != tt.want || !until.Equal(tt.until) {
			t.Errorf("%s: %q until %v, %v; want %q until %v", name, s.Reveal(), until, err, tt.want, tt.until)
			continue
		}
		right++
	}
	_, _, err := Newest(day(1), []DatedSecret{secret("", no), secret(id, no)})
	if err == nil || !strings.Contains(err.Error(), "no file") || !strings.Contains(err.Error(), "secret's ID") || strings.Contains(err.Error(), id) {
		t.Errorf("neither can be used: %v", err)
	}
	proof.Ran(t, "T08", "two secrets at a roll-over: the newest that works is used in %d of %d cases", right, len(cases))
}

func TestWhileTwoCertificatesAreThereTheNewestThatIsValidIsUsed(t *testing.T) {
	made := func(from, until time.Time) (p pair, thumb string) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		if p, err = makePairOf(key, from, until); err != nil {
			t.Fatal(err)
		}
		c, err := ParseCertificate(p.cert, p.key, from)
		if err != nil {
			t.Fatal(err)
		}
		return p, c.Thumbprint()
	}
	oldPair, oldThumb := made(day(1), day(60))
	newPair, newThumb := made(day(30), day(90))
	names := map[string]string{oldThumb: "old", newThumb: "new"}
	join := func(list ...[]byte) []byte { return bytes.Join(list, nil) }
	cases := map[string]struct {
		cert, key []byte
		now       time.Time
		want      string
	}{
		"the newer is not valid yet":          {join(oldPair.cert, newPair.cert), join(oldPair.key, newPair.key), day(29), "old"},
		"both are valid":                      {join(oldPair.cert, newPair.cert), join(oldPair.key, newPair.key), day(30), "new"},
		"both, in any order":                  {join(newPair.cert, oldPair.cert), join(oldPair.key, newPair.key), day(30), "new"},
		"the older has ended":                 {join(oldPair.cert, newPair.cert), join(newPair.key, oldPair.key), day(60), "new"},
		"both have ended":                     {join(oldPair.cert, newPair.cert), join(newPair.key, oldPair.key), day(90), "new"},
		"none is valid yet":                   {join(oldPair.cert, newPair.cert), join(newPair.key, oldPair.key), day(0), "new"},
		"the newer has no key, as an issuer":  {join(oldPair.cert, newPair.cert), oldPair.key, day(30), "old"},
		"the key of one that is not there":    {oldPair.cert, join(newPair.key, oldPair.key), day(30), "old"},
		"all in one file, given for each":     {join(oldPair.key, oldPair.cert, newPair.cert, newPair.key), join(oldPair.key, oldPair.cert, newPair.cert, newPair.key), day(30), "new"},
		"text around, as openssl prints it":   {join([]byte("subject=CN\n"), newPair.cert), join([]byte("Bag Attributes\n"), newPair.key), day(30), "new"},
		"the newer twice":                     {join(newPair.cert, newPair.cert, oldPair.cert), join(newPair.key, oldPair.key), day(30), "new"},
		"more than anybody looks at, and one": {join(bytes.Repeat(oldPair.cert, 40), newPair.cert), join(oldPair.key, newPair.key), day(30), "old"},
	}
	right := 0
	for name, tt := range cases {
		c, err := ParseCertificate(tt.cert, tt.key, tt.now)
		if err != nil || names[c.Thumbprint()] != tt.want {
			t.Errorf("%s: not the %s one: %v", name, tt.want, err)
			continue
		}
		right++
	}
	proof.Ran(t, "T08", "two certificates at a roll-over: the newest that is valid is used in %d of %d cases", right, len(cases))
}
