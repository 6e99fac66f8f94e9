package httpx

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"drover"
)

// The statuses with a meaning of their own; all others go by their hundred.
func TestEveryStatusHasOneMeaningForSinks(t *testing.T) {
	special := map[int]drover.Kind{408: drover.Transient, 425: drover.Transient, 429: drover.Throttled}
	for status := 100; status <= 599; status++ {
		want, ok := special[status]
		switch {
		case ok:
		case status < 300, status >= 500:
			want = drover.Transient
		default:
			want = drover.Denied
		}
		if got := SinkKind(status); got != want {
			t.Errorf("%d: got %s, want %s", status, got, want)
		}
		if KindOf(status) != want {
			t.Errorf("%d: two words for one thing differ", status)
		}
	}
}

func TestEveryStatusHasOneMeaningForSources(t *testing.T) {
	special := map[int]drover.Kind{407: drover.Transient, 408: drover.Transient, 421: drover.Transient, 425: drover.Transient, 429: drover.Throttled}
	for status := 100; status <= 599; status++ {
		want, ok := special[status]
		switch {
		case ok:
		case status < 400, status >= 500:
			want = drover.Transient
		default:
			want = drover.Denied
		}
		e := Classify(status, nil, http.Header{})
		if e.Kind != want {
			t.Errorf("%d: got %s, want %s", status, e.Kind, want)
		}
		if e.Err == nil || e.Wait != 0 || e.App {
			t.Errorf("%d: got %+v", status, e)
		}
	}
}

func TestAnErrorObjectIsReadInEverySpelling(t *testing.T) {
	const secret = "canary-of-the-message"
	for name, tt := range map[string]struct {
		status  int
		body    string
		code    string
		message bool
	}{
		"Graph":                        {429, `{"error":{"code":"TooManyRequests","message":"canary-of-the-message","innerError":{"code":"429"}}}`, "TooManyRequests", true},
		"code is empty":                {400, `{"error":{"code":"","message":"canary-of-the-message","details":[],"innerError":{"date":"2026-03-02T08:15:04"}}}`, "400", true},
		"code is in innerError":        {403, `{"error":{"code":"","message":"canary-of-the-message","innerError":{"code":"insufficient_claims"}}}`, "insufficient_claims", true},
		"innererror, nested":           {403, `{"error":{"message":"canary-of-the-message","innererror":{"innererror":{"code":"deep"}}}}`, "deep", true},
		"200 with an error object":     {200, `{"error":{"code":"generalException","message":"canary-of-the-message"}}`, "generalException", true},
		"the older APIs":               {401, `{"Message":"canary-of-the-message"}`, "401", true},
		"a code that is no word":       {400, `{"error":{"code":"canary-of-the-message is, told","message":""}}`, "400", false},
		"error is text":                {400, `{"error":"canary-of-the-message"}`, "400", false},
		"error is null":                {500, `{"error":null}`, "500", false},
		"empty":                        {503, ``, "503", false},
		"not JSON":                     {502, `canary-of-the-message`, "502", false},
		"cut":                          {500, `{"error":{"code":"x","message":"canary-of-the-me`, "500", false},
		"null":                         {200, `null`, "200", false},
		"an array":                     {200, `["canary-of-the-message"]`, "200", false},
		"JSON as another content type": {403, `{"error":{"code":"Forbidden","message":"canary-of-the-message"}}`, "Forbidden", true},
		"very deep":                    {500, `{"error":{"code":"","innerError":` + strings.Repeat(`{"innerError":`, 5000) + "{}" + strings.Repeat("}", 5000) + `}}`, "500", false},
	} {
		t.Run(name, func(t *testing.T) {
			e, message := Explain("read alerts", &Response{Status: tt.status, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte(tt.body)})
			if e.Code != tt.code || e.Op != "read alerts" {
				t.Errorf("got code %q, op %q; want %q", e.Code, e.Op, tt.code)
			}
			if (message == secret) != tt.message {
				t.Errorf("message: got %q", message)
			}
			if strings.Contains(e.Error()+e.Hint, "canary") {
				t.Errorf("the error tells the message: %v, %s", e, e.Hint)
			}
		})
	}
}

func TestAWebPageIsNotTheAPI(t *testing.T) {
	for name, r := range map[string]*Response{
		"by its type":             {Status: 200, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: []byte("hello")},
		"by another spelling":     {Status: 200, Header: http.Header{"Content-Type": {"Application/XHTML+xml"}}},
		"by its begin":            {Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte("\xef\xbb\xbf \r\n<!DOCTYPE html>")},
		"with a status of denial": {Status: 403, Header: http.Header{"Content-Type": {"text/html"}}, Body: []byte("<html>blocked")},
		"as a redirect":           {Status: 302, Header: http.Header{"Content-Type": {"text/html"}, "Location": {"https://portal.example/?secret=1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := Explain("read alerts", r)
			if !IsHTML(r) || e.Kind != drover.Transient || !strings.Contains(e.Hint, "not the API") || strings.Contains(e.Error(), "secret") {
				t.Errorf("got %s, %q, %v", e.Kind, e.Hint, e)
			}
		})
	}
	for name, r := range map[string]*Response{
		"redirect without a page": {Status: 307, Header: http.Header{}},
		"network sign-in":         {Status: 511, Header: http.Header{}},
	} {
		if e, _ := Explain("", r); e.Kind != drover.Transient || !strings.Contains(e.Hint, "not the API") {
			t.Errorf("%s: got %s, %q", name, e.Kind, e.Hint)
		}
	}
	throttled := Classify(429, []byte("<html>"), http.Header{"Content-Type": {"text/html"}})
	if throttled.Kind != drover.Throttled {
		t.Errorf("a page that says 429: got %s", throttled.Kind)
	}
	if IsHTML(&Response{Header: http.Header{}, Body: []byte(`{"value":"<html>"}`)}) {
		t.Error("JSON that speaks of HTML was taken for a page")
	}
}

func TestAWaitThatIsToldIsKept(t *testing.T) {
	for status, want := range map[int]drover.Kind{429: drover.Throttled, 503: drover.Throttled, 504: drover.Throttled, 509: drover.Throttled} {
		e := Classify(status, nil, http.Header{"Retry-After": {"42"}})
		if e.Kind != want || e.Wait != 42*time.Second {
			t.Errorf("%d: got %s, %v", status, e.Kind, e.Wait)
		}
	}
	if e := Classify(403, nil, http.Header{"Retry-After": {"42"}}); e.Kind != drover.Denied || e.Wait != 0 {
		t.Errorf("403: got %s, %v", e.Kind, e.Wait)
	}
}
