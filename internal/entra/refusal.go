package entra

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"drover"
	"drover/internal/httpx"
)

// Refusal is the cause inside of the *drover.Error of a refused token: what
// Entra said, without its text.
type Refusal struct {
	Code   int    // the AADSTS number that decided, 0 if there was none
	Word   string // the error word, "" if there was none or it is no word
	Class  Class  // "" if neither says anything
	Status int    // of the answer; 0: it came by redirect
	Told   Told
}

// Error names number, class and status.
func (r *Refusal) Error() string {
	switch {
	case r.Status == 0 && r.Code != 0: // it came by redirect
		return fmt.Sprintf("AADSTS%d (%s)", r.Code, r.Class)
	case r.Status == 0:
		return fmt.Sprintf("%s (%s)", cmp.Or(r.Word, "no reason"), r.Class)
	case r.Code != 0:
		return fmt.Sprintf("AADSTS%d (%s, status %d)", r.Code, r.Class, r.Status)
	case r.Word != "":
		return fmt.Sprintf("%s (%s, status %d)", r.Word, r.Class, r.Status)
	}
	return fmt.Sprintf("status %d without a reason", r.Status)
}

// Remedy is what the refusal means and what to do; ok is false where Entra has
// said nothing.
func (r *Refusal) Remedy() (m Remedy, ok bool) {
	if m, ok = Explain(r.Code); ok {
		return m, true
	}
	if r.Code == 0 && r.Word == "" {
		return unknown, false
	}
	m = byWord(r.Word)
	if r.Code != 0 && m.Kind == drover.Denied {
		m.Why, m.Do = unknown.Why, unknown.Do
	}
	return m, true
}

// answer is the part of an error answer that is looked at, in all its
// spellings (reference entra-oauth §8). Texts may change and may hold anything.
type answer struct {
	Error       json.RawMessage `json:"error"`
	Description json.RawMessage `json:"error_description"`
	Codes       json.RawMessage `json:"error_codes"`
	Trace       json.RawMessage `json:"trace_id"`
	Correlation json.RawMessage `json:"correlation_id"`
	Claims      json.RawMessage `json:"claims"`
}

// text unwraps a JSON string, "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s)
	return s
}

var (
	inText   = regexp.MustCompile(`AADSTS(\d{3,9})\b`)
	aNumber  = regexp.MustCompile(`\d{3,9}`)
	itsClock = regexp.MustCompile(`(?i)current time:? (\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?)`)
)

// numbers lists the codes of an answer: of its list, else of its text.
func (a answer) numbers() []int {
	found := aNumber.FindAllString(string(a.Codes), -1)
	if len(found) == 0 {
		for _, m := range inText.FindAllStringSubmatch(text(a.Description), -1) {
			found = append(found, m[1])
		}
	}
	var list []int
	for _, f := range found {
		if n, err := strconv.Atoi(f); err == nil {
			list = append(list, n)
		}
	}
	return list
}

// decide picks the number that decides: a known one before an unknown one, one
// that says something before a vague one.
func decide(numbers []int) (code int, r Remedy, known bool) {
	for _, n := range numbers {
		found, ok := Explain(n)
		switch {
		case !ok:
			if code == 0 {
				code = n
			}
		case !known, slices.Contains(vague, code) && !slices.Contains(vague, n):
			code, r, known = n, found, true
		}
	}
	return code, r, known
}

// Waits that Entra does not tell (reference entra-oauth §9).
const (
	loopWait   = 5 * time.Minute // 50196
	untoldWait = time.Minute     // 429 without Retry-After

	opToken = "get a token"
	slowed  = "Entra asked the app to wait; cached tokens go on being used"
)

// refused makes an error of an answer that is not a token: number first, then
// word, then status.
func refused(tenant drover.TenantID, status int, h http.Header, body []byte) *drover.Error {
	var a answer
	_ = json.Unmarshal(body, &a) // HTML, plain text and nothing at all occur
	code, remedy, known := decide(a.numbers())
	r := &Refusal{Code: code, Word: aWord(text(a.Error)), Status: status, Told: a.told()}
	switch {
	case known:
	case code != 0 || r.Word != "":
		remedy = byWord(r.Word)
		if code != 0 && remedy.Kind == drover.Denied {
			remedy.Why, remedy.Do = unknown.Why, unknown.Do
			if status >= 500 {
				remedy = byWord("server_error")
			}
		}
	default:
		// No word of Entra: perhaps not Entra at all.
		e := httpx.Classify(status, body, h)
		e.Op, e.Tenant = opToken, tenant
		if status < 500 && status >= 400 && e.Kind == drover.Denied {
			e.Hint = "the token endpoint refuses without a reason: does something between here and Entra answer for it?"
		}
		e.Err = r
		if status == http.StatusTooManyRequests {
			e.App, e.Hint = true, slowed
			if e.Wait == 0 {
				e.Wait = untoldWait
			}
		}
		return e
	}
	r.Class = remedy.Class
	e := &drover.Error{Op: opToken, Tenant: tenant, Kind: remedy.Kind, App: remedy.App, Hint: remedy.Hint(), Err: r}
	if e.Code = r.Word; code != 0 {
		e.Code = "AADSTS" + strconv.Itoa(code)
	}
	wait, told := httpx.RetryAfter(h, time.Now())
	switch {
	case status == http.StatusTooManyRequests || e.Kind == drover.Throttled:
		e.Kind, e.App = drover.Throttled, true
		if remedy.Class != Wait {
			e.Hint = slowed
		}
		if !told {
			wait = untoldWait
		}
		if code == 50196 {
			wait = max(wait, loopWait)
		}
		e.Wait = wait
	case told && e.Kind == drover.Transient:
		e.Kind, e.Wait = drover.Throttled, wait
	}
	return e
}

// aWord lets only an error word through.
func aWord(s string) string {
	if len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return s
}

// theirClock reads Entra's own time from the text of a 700024, which names it
// with seven digits.
func theirClock(body []byte) (drover.Instant, bool) {
	var a answer
	if json.Unmarshal(body, &a) != nil {
		return 0, false
	}
	m := itsClock.FindStringSubmatch(text(a.Description))
	if m == nil {
		return 0, false
	}
	at, err := drover.ParseInstant(m[1])
	return at, err == nil
}
