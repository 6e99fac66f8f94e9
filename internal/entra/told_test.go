package entra

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"drover"
)

const (
	traceID  = "6f1c2d3e-0000-4a1b-9c8d-1e2f3a4b5c00"
	corrID   = "7a0c1e1e-2f0a-4c39-8f12-9f0f5f7e6c20"
	policyID = "0b9a7d1e-52c3-4f0b-8b0a-3c1d2e4f5a6b"
)

func TestWhatHelpsAnAdminToFindTheRefusalIsKeptAndNoOtherText(t *testing.T) {
	claims := `,"claims":"{\"access_token\":{\"capolids\":{\"essential\":true,\"values\":[\"` + policyID + `\",\"` + canary + `\"]}}}"`
	for name, tt := range map[string]struct {
		body      string
		policies  int
		addresses []string
	}{
		"members":             {`{"error":"invalid_grant","error_codes":[53003],"error_description":"AADSTS53003: ` + canary + `","trace_id":"` + traceID + `","correlation_id":"` + corrID + `"` + claims + `}`, 1, nil},
		"only in the text":    {`{"error":"invalid_grant","error_description":"AADSTS53003: ` + canary + ` Trace ID: ` + traceID + ` Correlation ID: ` + corrID + ` Timestamp: 2026-03-02 08:15:04Z"}`, 0, nil},
		"an address":          {`{"error_codes":[50053],"error_description":"AADSTS50053: sign-in was blocked because it came from an IP address 203.0.113.7 with malicious activity; IPv6: 2001:db8::7 ` + canary + `\r\nTrace ID: ` + traceID + `\r\nCorrelation ID: ` + corrID + `"}`, 0, []string{"203.0.113.7", "2001:db8::7"}},
		"what is no address":  {`{"error_codes":[53003],"error_description":"AADSTS53003: IP address 999.1.1.1, IP: ` + canary + ` Trace ID: ` + traceID + ` Correlation ID: ` + corrID + `"}`, 0, nil},
		"claims as an object": {`{"error_codes":[53003],"claims":{"access_token":{"capolids":{"values":["` + policyID + `"]}}},"trace_id":"` + traceID + `","correlation_id":"` + corrID + `"}`, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := refused(tenantA, 400, http.Header{}, []byte(tt.body))
			mustNotTell(t, e)
			r, ok := errors.AsType[*Refusal](e)
			if !ok {
				t.Fatalf("%v", e)
			}
			if r.Told.Trace != traceID || r.Told.Correlation != corrID {
				t.Errorf("got %+v", r.Told)
			}
			if len(r.Told.Policies) != tt.policies || tt.policies == 1 && r.Told.Policies[0] != policyID {
				t.Errorf("policies: %v", r.Told.Policies)
			}
			var got []string
			for _, a := range r.Told.Addresses {
				got = append(got, a.String())
			}
			if !slices.Equal(got, tt.addresses) {
				t.Errorf("addresses: %v", got)
			}
		})
	}
	junk := refused(tenantA, 400, http.Header{}, []byte(`{"error_codes":[53003],"trace_id":"`+canary+`","correlation_id":7,"claims":"{"}`))
	if r, _ := errors.AsType[*Refusal](junk); r.Told.Trace != "" || r.Told.Correlation != "" || r.Told.Policies != nil {
		t.Errorf("junk is kept: %+v", r.Told)
	}
	// The same by redirect.
	err := request{}.toldBack("sign in", url.Values{"error": {"invalid_grant"}, "error_description": {"AADSTS53003: " + canary + " Trace ID: " + traceID}})
	if r, _ := errors.AsType[*Refusal](err); r == nil || r.Told.Trace != traceID || strings.Contains(err.Error()+drover.HintOf(err), canary) {
		t.Errorf("by redirect: %v", err)
	}
}
