package entra

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
)

func TestATokenIsDescribedWithoutBeingShown(t *testing.T) {
	token := func(claims string) drover.Secret {
		return drover.NewSecret("h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s")
	}
	v1 := token(`{"tid":"` + string(tenantA) + `","iss":"https://sts.windows.net/x/","aud":"https://graph.microsoft.com","appid":"app","appidacr":"2","oid":"o","roles":["SecurityAlert.Read.All"],"ver":"1.0","uti":"u","exp":1772438400}`)
	d, ok := Describe(v1)
	if !ok || d.TID != string(tenantA) || d.AppID != "app" || d.Proof != "certificate" || d.Object != "o" || !slices.Equal(d.List, []string{"SecurityAlert.Read.All"}) || d.Delegated || d.Version != "1.0" || d.ID != "u" ||
		!d.Expires.Equal(time.Unix(1772438400, 0)) || !slices.Equal(d.Audience, []string{"https://graph.microsoft.com"}) {
		t.Errorf("v1: %+v", d)
	}
	d, ok = Describe(token(`{"azp":"app","azpacr":"1","scp":"Alert.Read User.Read","aud":["a","b"],"exp":"soon","oid":7}`))
	if !ok || d.AppID != "app" || d.Proof != "secret" || !d.Delegated || len(d.List) != 2 || len(d.Audience) != 2 || !d.Expires.IsZero() {
		t.Errorf("v2: %+v", d)
	}
	if d, _ := Describe(token(`{"tid":"` + strings.Repeat("x", 5000) + `","exp":1e300}`)); len(d.TID) != maxClaim || !d.Expires.IsZero() {
		t.Errorf("too long: %d, %v", len(d.TID), d.Expires)
	}
	if _, ok := Describe(drover.NewSecret("opaque")); ok {
		t.Error("an opaque token is described")
	}
}
