package siemconf

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const detailsFile = "siem-details.json"

// details is our form of the portal's "details" file: its name and syntax are
// not documented, only that it has the tenant, the client, the token URL and the
// resource.
type details struct {
	About           []string  `json:"about"`
	TenantID        string    `json:"tenant_id"`
	TenantName      string    `json:"tenant_name"`
	Cloud           string    `json:"cloud"`
	Generated       time.Time `json:"generated"`
	MappingVersion  string    `json:"mapping_version"`
	ClientID        string    `json:"client_id"`
	ClientSecret    string    `json:"client_secret"`
	RefreshToken    string    `json:"refresh_token"`
	RefreshIssued   string    `json:"refresh_token_issued,omitempty"`
	RefreshRenewBy  string    `json:"refresh_token_renew_by,omitempty"`
	TokenURL        string    `json:"token_url"`
	AuthorizeURL    string    `json:"authorize_url"`
	RedirectURI     string    `json:"redirect_uri"`
	Resource        string    `json:"resource"`
	AlertsURL       string    `json:"alerts_url"`
	EventsURL       string    `json:"events_url"` // {since} is what SinceFormat says
	SinceFormat     string    `json:"since_format"`
	IntervalSeconds int64     `json:"interval_seconds"`
	FieldMapping    []mapped  `json:"field_mapping"`
	Constants       []mapped  `json:"constants"`
	Placeholders    []string  `json:"placeholders,omitempty"`
}

type mapped struct {
	From  string `json:"from,omitempty"`
	To    string `json:"to"`
	As    string `json:"as,omitempty"`
	Value string `json:"value,omitempty"`
}

// generic makes the details file.
func generic(v Values) ([]File, error) {
	for what, s := range map[string]string{"client secret": v.Secret.Reveal(), "refresh token": v.RefreshToken.Reveal()} {
		if !utf8.ValidString(s) {
			return nil, fmt.Errorf("%s: the %s is not UTF-8", detailsFile, what)
		}
	}
	f := File{Name: detailsFile, What: "all values, for a client of your own", Place: "read by your client; for its user alone"}.holds(v, true, true)
	d := details{About: v.header(Generic, "Values for a client of the SIEM API, in a form of ours"),
		TenantID: string(v.Tenant), TenantName: v.Name, Cloud: v.Cloud, Generated: v.Generated.UTC().Truncate(time.Second), MappingVersion: MappingVersion,
		ClientID: v.ClientID, ClientSecret: secret(v.Secret, NoSecret), RefreshToken: secret(v.RefreshToken, NoRefresh),
		TokenURL: v.TokenURL, AuthorizeURL: v.SignInURL, RedirectURI: v.RedirectURI, Resource: v.Resource, AlertsURL: v.AlertsURL,
		EventsURL: v.AlertsURL + "?sinceTimeUtc={since}", SinceFormat: "yyyy-MM-ddTHH:mm:ss.fff, UTC: the newest LastProcessedTimeUtc seen",
		IntervalSeconds: int64(v.Interval / time.Second), Placeholders: f.Missing}
	if !v.Issued.IsZero() {
		d.RefreshIssued, d.RefreshRenewBy = v.Issued.UTC().Format(time.DateOnly), v.Issued.UTC().Add(RefreshLife).Format(time.DateOnly)
	}
	words := map[kind]string{address: "IPv4 address", yesNo: "true 1, false 0, null absent", moment: "time, UTC"}
	for _, m := range mapping {
		d.FieldMapping = append(d.FieldMapping, mapped{From: m.from, To: m.to, As: words[m.as]})
	}
	for _, c := range constants {
		d.Constants = append(d.Constants, mapped{To: c.to, Value: c.value})
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	f.Data = []byte(b.String())
	return []File{f}, nil
}
