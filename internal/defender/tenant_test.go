package defender

import (
	"strings"
	"testing"
)

// What a row says of its tenant is heard at every source and by either name,
// so that one that names another is set aside whichever API showed it.
func TestARowThatNamesATenantIsHeardByEitherNameAtEverySource(t *testing.T) {
	const a, b = "0f0f0f0f-0000-4000-8000-00000000000a", "0f0f0f0f-0000-4000-8000-00000000000B"
	for source, tt := range map[string]struct {
		f    *fields
		head string
	}{
		"graph": {graphFields, `{"id":"da1","lastUpdateDateTime":"2026-03-02T08:00:00Z"`},
		"mde":   {mdeFields, `{"id":"da1","lastUpdateTime":"2026-03-02T08:00:00Z"`},
		"siem":  {siemFields, `{"FullId":"da1","LastProcessedTimeUtc":"2026-03-02T08:00:00Z"`},
	} {
		for members, want := range map[string]struct{ tenant, bad string }{
			"":                           {"", ""},
			`,"tenantId":"` + a + `"`:    {a, ""},
			`,"aadTenantId":"` + a + `"`: {a, ""},
			`,"tenantId":"` + b + `","aadTenantId":"` + strings.ToLower(b) + `"`: {strings.ToLower(b), ""},
			`,"tenantId":"` + a + `","aadTenantId":"` + b + `"`:                  {"", "the row names two tenants"},
			`,"aadTenantId":"` + a + `","aadTenantId":"` + a + `"`:               {"", "an identity member stands twice"},
			`,"tenantId":null,"aadTenantId":"` + a + `"`:                         {a, ""},
			`,"evidence":{"tenantId":"` + b + `"}`:                               {"", ""},
		} {
			s, err := scan([]byte(`[`+tt.head+members+`}]`), tt.f)
			if err != nil || len(s.rows) != 1 {
				t.Fatal(err, len(s.rows))
			}
			if r := s.rows[0]; r.Bad != want.bad || r.Bad == "" && r.TenantID != want.tenant {
				t.Errorf("%s%s: tenant %q, bad %q", source, members, r.TenantID, r.Bad)
			}
		}
	}
}
