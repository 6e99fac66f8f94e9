package entra

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"drover"
)

// longToken is a token as Entra writes them, with a signature of 256 bytes.
func longToken(rng *rand.Rand) string {
	guid := func() string {
		return fmt.Sprintf("%08x-0000-4000-8000-%012x", rng.Uint32(), rng.Uint64()>>16)
	}
	tid := guid()
	claims := fmt.Sprintf(`{"aud":"https://graph.microsoft.com","iss":"https://sts.windows.net/%s/","iat":%d,"nbf":%d,"exp":%d,"aio":"k2RgYFg%x","app_displayname":"mssp-reader","appid":"9d2e4b70-1111-4c2b-9a55-77aa88bb99cc","appidacr":"2","idp":"https://sts.windows.net/%s/","idtyp":"app","oid":"%s","rh":"1.AX%x.","roles":["SecurityAlert.Read.All","SecurityIncident.Read.All"],"sub":"%s","tenant_region_scope":"EU","tid":"%s","uti":"%x","ver":"1.0","wids":["0997a1d0-0d1d-4acb-b408-d5ca73121e90"],"xms_idrel":"7 10","xms_tcdt":%d}`,
		tid, rng.Uint32(), rng.Uint32(), rng.Uint32(), rng.Uint64(), tid, guid(), rng.Uint64(), guid(), tid, rng.Uint64(), rng.Uint32())
	signature := make([]byte, 256)
	for i := range signature {
		signature[i] = byte(rng.Uint32())
	}
	return "eyJ0eXAiOiJKV1QiLCJub25jZSI6IiIsImFsZyI6IlJTMjU2IiwieDV0IjoicnRzRlQtYi03THVZN0RWWWVTTktjSUo3Vm5jIiwia2lkIjoicnRzRlQtYi03THVZN0RWWWVTTktjSUo3Vm5jIn0." +
		base64.RawURLEncoding.EncodeToString([]byte(claims)) + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestAPackedTokenIsTheOneThatCame(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	long := longToken(rng)
	for name, text := range map[string]string{
		"a real-shaped one":         long,
		"another of its kind":       longToken(rng),
		"opaque":                    "opaque-token",
		"two parts":                 "a.b",
		"four parts":                long + ".x",
		"no claims":                 "a..b",
		"no signature":              strings.Join(strings.Split(long, ".")[:2], ".") + ".",
		"padded":                    long + "=",
		"a line break in it":        long[:len(long)-8] + "\n" + long[len(long)-8:],
		"bits behind the last byte": "eyJ9.eyJ9.AB",
		"dots alone":                "..",
	} {
		var l likenesses
		for range 2 {
			if got := l.pack("https://graph.microsoft.com", drover.NewSecret(text)).token().Reveal(); got != text {
				t.Errorf("%s: got %q", name, got)
			}
		}
	}
	var l likenesses
	if p := l.pack("r", drover.Secret{}); !p.empty() || !p.token().Empty() {
		t.Error("no token is not empty")
	}
}

func TestTokensOfManyTenantsAreKeptSmall(t *testing.T) {
	var l likenesses
	rng := rand.New(rand.NewPCG(1, 2))
	whole, small := 0, 0
	for range 100 {
		text := longToken(rng)
		whole += len(text)
		small += len(l.pack("r", drover.NewSecret(text)).b)
	}
	if small*5/2 > whole {
		t.Errorf("%d bytes of %d", small, whole)
	}
	for i := range 2 * maxLikenesses {
		text := strings.Replace(longToken(rng), "eyJ0", fmt.Sprintf("%04d", i), 1)
		if got := l.pack("r", drover.NewSecret(text)).token().Reveal(); got != text {
			t.Fatalf("got %q", got)
		}
	}
	if len(l.of) > maxLikenesses {
		t.Errorf("%d kinds of tokens", len(l.of))
	}
}
