package authority

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// refusal is an error of the token endpoint.
type refusal struct {
	status, code int
	word, text   string
	outer        int    // a vague number in front of code; 0: none
	sub, claims  string // suberror and claims, if any
	asked        bool   // the word was asked for
}

func (e *refusal) codes() []int {
	if e.code == 0 {
		return []int{}
	}
	if e.outer != 0 {
		return []int{e.outer, e.code}
	}
	return []int{e.code}
}

// seen are pairs of word and status under which one number has come (reference
// entra-oauth §8: the pair is not stable).
var seen = []refusal{{status: 401, word: "unauthorized_client"}, {status: 401, word: "invalid_client"}, {status: 400, word: "invalid_request"}, {status: 400, word: "invalid_grant"}, {status: 400, word: "interaction_required"}}

// disguise gives a refusal another word and status than it has, each time the
// next. What a client has nothing but the word or the status for keeps them:
// throttling, faults of the service, and the device flow. The directory is
// locked.
func (d *Directory) disguise(e *refusal) {
	if e.asked || e.status == 429 || e.status >= 500 || slices.Contains([]string{"authorization_pending", "slow_down", "expired_token", "authorization_declined", "bad_verification_code"}, e.word) {
		return
	}
	for range seen {
		d.refusals++
		if s := seen[d.refusals%len(seen)]; s.word != e.word {
			e.word, e.status = s.word, s.status
			return
		}
	}
}

// refuse answers in Entra's error form (reference entra-oauth §8). The
// directory is locked.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, e *refusal) {
	d := s.opt.Directory
	shown := *e
	if d.OtherWord {
		d.disguise(&shown)
	}
	trace, corr := newGUID(), correlation(r)
	now := stamp(d)
	body := map[string]any{"error": shown.word, "error_codes": e.codes(), "timestamp": now, "trace_id": trace, "correlation_id": corr, "error_description": describe(d, e, trace, corr, now)}
	if shown.word == "invalid_client" && !d.NoErrorURI { // only some numbers have one; which is not written anywhere
		body["error_uri"] = "https://" + s.host(r) + "/error?code=" + strconv.Itoa(e.code)
	}
	if e.sub != "" {
		body["suberror"] = e.sub
	}
	if e.claims != "" {
		body["claims"] = e.claims
	}
	write(w, shown.status, body)
}

func stamp(d *Directory) string { return d.now().UTC().Format("2006-01-02 15:04:05Z") }

// describe is error_description.
func describe(d *Directory, e *refusal, trace, corr, now string) string {
	end := " "
	if d.CRLF {
		end = "\r\n"
	}
	text := fmt.Sprintf("AADSTS%d: %s", e.code, e.text)
	if e.code == 0 {
		text = e.text
	}
	if e.outer != 0 {
		text = fmt.Sprintf("AADSTS%d: Error validating credentials. %s", e.outer, text)
	}
	return strings.Join([]string{text, "Trace ID: " + trace, "Correlation ID: " + corr, "Timestamp: " + now}, end)
}

// returnID gives the caller's request ID back, if that is wanted.
func returnID(w http.ResponseWriter, r *http.Request) {
	if id := r.Header.Get("client-request-id"); strings.EqualFold(r.Header.Get("return-client-request-id"), "true") && len(id) == 36 {
		w.Header().Set("client-request-id", id)
	}
}

// correlation is the caller's request ID, or a new one.
func correlation(r *http.Request) string {
	for _, id := range []string{r.Header.Get("client-request-id"), r.URL.Query().Get("client-request-id")} {
		if len(id) == 36 {
			return id
		}
	}
	return newGUID()
}

func (s *Server) noTenant(segment string) *refusal {
	if !strings.Contains(segment, ".") && len(segment) != 36 {
		return &refusal{status: 400, code: 900023, word: "invalid_request", text: "Specified tenant identifier '" + segment + "' is neither a valid DNS name, nor a valid external domain."}
	}
	return &refusal{status: 400, code: 90002, word: "invalid_request", text: "Tenant '" + segment + "' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."}
}

func noApp(client string) *refusal {
	return &refusal{status: 400, code: 700016, word: "unauthorized_client", text: "Application with identifier '" + client + "' was not found in the directory."}
}

func missing(parameter string) *refusal {
	return &refusal{status: 400, code: 900144, word: "invalid_request", text: "The request body must contain the following parameter: '" + parameter + "'."}
}

// usual pairs numbers that are dealt on demand with the word and status under
// which they mostly come; the rest is invalid_grant with 400 (reference
// entra-oauth §8).
var usual = func() map[int]refusal {
	m := make(map[int]refusal)
	for _, g := range []struct {
		status int
		word   string
		codes  []int
	}{
		{401, "invalid_client", []int{7000215, 7000222, 7000218, 7000216, 700025, 700027, 700024, 700030, 50012, 70021, 700211, 700213, 7002137, 7002138, 7002381, 700229, 7000229, 700021, 700023}},
		{400, "invalid_client", []int{650052, 650051, 500112}},
		{400, "unauthorized_client", []int{700016, 700011, 7000112, 70001, 1000031, 50194, 90099}},
		{400, "consent_required", []int{65004, 90094, 90095}},
		{400, "invalid_resource", []int{650056, 650057, 650054, 65005, 500011, 500014, 50001}},
		{400, "invalid_scope", []int{70011, 1002012, 700022}},
		{400, "invalid_request", []int{901002, 28002, 28003, 9001023, 90002, 900023, 90038, 900382, 900432, 900439, 50011, 900971, 90014, 900144, 9002313, 900561}},
		{400, "interaction_required", []int{5000225, 50076, 50079, 50074, 50078, 50131, 50158}},
		{400, "temporarily_unavailable", []int{90055, 50033, 90006, 90024, 90033, 90090, 90012, 50087}},
		{500, "server_error", []int{50000, 90036}},
		{400, "authorization_pending", []int{70016}},
		{400, "expired_token", []int{70019, 70020}},
		{400, "bad_verification_code", []int{70018}},
		{400, "authorization_declined", []int{90120}},
	} {
		for _, c := range g.codes {
			m[c] = refusal{status: g.status, word: g.word}
		}
	}
	return m
}()

// onDemand is any number of the table.
func onDemand(code int, word string) *refusal {
	e, ok := usual[code]
	if !ok {
		e = refusal{status: 400, word: "invalid_grant"}
	}
	if word != "" {
		e.word, e.asked = word, true
	}
	e.code, e.text = code, "Dealt on demand."
	return &e
}

// policy is what Conditional Access answers.
func policy(code int) *refusal {
	e := onDemand(code, "")
	switch e.code {
	case 53003:
		e.sub, e.text = "message_only", "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."
		e.claims = `{"access_token":{"capolids":{"essential":true,"values":["` + newGUID() + `"]}}}`
	case 50074, 50076, 50078, 50079:
		e.sub, e.text = "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication."
		e.claims = `{"access_token":{"capolids":{"essential":true,"values":["` + newGUID() + `"]}}}`
	}
	return e
}

// secondFactor reports whether a policy's number is satisfied by a sign-in with
// a second factor.
func secondFactor(code int) bool {
	return code == 50074 || code == 50076 || code == 50078 || code == 50079
}
