package entra

import (
	"encoding/base64"
	"reflect"
	"testing"

	"drover"
)

func TestATokenTellsWhatItCarries(t *testing.T) {
	token := func(claims string) drover.Secret {
		return drover.NewSecret("h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s")
	}
	for name, tt := range map[string]struct {
		token drover.Secret
		want  Permissions
		known bool
		opens bool
	}{
		"an app's roles":       {token(`{"roles":["SecurityAlert.Read.All","Other.Read"]}`), Permissions{List: []string{"SecurityAlert.Read.All", "Other.Read"}}, true, true},
		"a person's scopes":    {token(`{"scp":"openid securityalert.read.all"}`), Permissions{List: []string{"openid", "securityalert.read.all"}, Delegated: true}, true, true},
		"others":               {token(`{"roles":["Other.Read"]}`), Permissions{List: []string{"Other.Read"}}, true, false},
		"none":                 {token(`{}`), Permissions{}, true, false},
		"one that is no token": {drover.NewSecret("opaque"), Permissions{}, false, false},
	} {
		got, known := Carried(tt.token)
		open, byRole := got.Open(drover.GraphAlerts)
		if len(got.List)+len(tt.want.List) > 0 && !reflect.DeepEqual(got, tt.want) || known != tt.known || open != tt.opens || !byRole {
			t.Errorf("%s: %+v, known %v, opens %v", name, got, known, open)
		}
	}
	if _, byRole := (Permissions{List: []string{"SecurityAlert.Read.All"}}).Open(drover.SIEMDetections); byRole {
		t.Error("the SIEM API is said to be read by a role")
	}
}
