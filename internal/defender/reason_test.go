package defender

import (
	"errors"
	"testing"
)

func TestAnAnswersWordsTellTheReason(t *testing.T) {
	plain := errors.New("403 Forbidden")
	for name, tt := range map[string]struct {
		status        int
		code, message string
		want          Reason
	}{
		"roles of Graph":           {403, "Forbidden", "Missing application roles. API required roles: SecurityAlert.Read.All,SecurityAlert.ReadWrite.All, application roles: .", MissingRole},
		"roles of MDE":             {403, "Forbidden", "Missing application roles. API required roles: Alert.Read.All, application roles: .", MissingRole},
		"not provisioned":          {401, "Unauthorized", "Unauthorized request - Account is not provisioned.", NoDefender},
		"inactive":                 {401, "", "Unauthorized request - reason of failure: Account mode is inactive", NoDefender},
		"no licence":               {403, "", "Unauthorized request - reason of failure: No Tvm license", NoDefender},
		"the feature is off":       {403, "DisabledFeature", "", NoDefender},
		"403 without a word":       {403, "403", "", EitherOne},
		"403 with an unknown word": {403, "Forbidden", "Access denied.", EitherOne},
		"a wrong audience":         {403, "Forbidden", "Invalid Authorization payload.", ""},
		"conditional access":       {403, "insufficient_claims", "", ""},
		"401 without a word":       {401, "InvalidAuthenticationToken", "Lifetime validation failed", ""},
		"nothing but 401":          {401, "401", "", ""},
		"a bad question":           {400, "BadRequest", "No license", ""},
		"gone":                     {410, "410", "", ""},
	} {
		err := reasonOf(tt.status, tt.code, tt.message).because(plain)
		r, ok := errors.AsType[*Refusal](err)
		if ok != (tt.want != "") || ok && r.Reason != tt.want || !errors.Is(err, plain) || err.Error() != plain.Error() {
			t.Errorf("%s: %v", name, err)
		}
	}
}
