package httpx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"drover"
)

// SinkKind says what a sink does about an HTTP status that it does not know
// better (reference sink-protocols §1): come back for what may pass, park for
// what needs somebody. A redirect parks: it is never followed with a
// credential. A success is the sink's to judge; one that got here was not one,
// so it is tried again.
func SinkKind(status int) drover.Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return drover.Throttled
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500, status < 300:
		return drover.Transient
	}
	return drover.Denied
}

// KindOf is SinkKind, for callers that are no sink and take a bare status the
// same way.
func KindOf(status int) drover.Kind { return SinkKind(status) }

// sourceKind says what a source does about a status that is not a page
// (reference graph-security §10, siem-api §6, mde-api §7). What comes from
// something in between, such as a captive portal or a proxy, is no verdict of
// the API and parks nothing (reference faults P24).
func sourceKind(status int) drover.Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return drover.Throttled
	case status < 400, status >= 500:
		return drover.Transient
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusMisdirectedRequest, status == http.StatusProxyAuthRequired:
		return drover.Transient
	}
	return drover.Denied
}

// notTheAPI is the hint where something else has answered.
const notTheAPI = "not the API: something between here and it answers, such as a proxy or a sign-in page of the network"

// apiError is the error object of Microsoft's APIs. Members are matched
// without regard to case, which covers innerError and innererror, and the
// Message of the older APIs.
type apiError struct {
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Inner   *inner `json:"innerError"`
	} `json:"error"`
	Message string `json:"message"`
}

type inner struct {
	Code  string `json:"code"`
	Inner *inner `json:"innerError"`
}

const (
	maxErrorBody = 1 << 20 // error objects are some hundred bytes
	deepest      = 8       // nested inner errors that are looked at
)

// Classify makes an error of an answer that is not the wanted one. The status
// decides; the body's own code, which may be empty or nested, is only told. Op
// and Tenant are left to the caller. The error holds neither the message nor
// anything else of the body but its code.
func Classify(status int, body []byte, h http.Header) *drover.Error {
	e, _ := classify(status, body, h)
	return e
}

// Explain is Classify of a whole answer, with the message of its error object,
// in which a caller may look for known texts. The message is for that only;
// it must not be shown.
func Explain(op string, r *Response) (e *drover.Error, message string) {
	e, message = classify(r.Status, r.Body, r.Header)
	e.Op = op
	return e, message
}

func classify(status int, body []byte, h http.Header) (e *drover.Error, message string) {
	e = &drover.Error{Op: "call the API", Kind: sourceKind(status), Code: strconv.Itoa(status)}
	text := statusLine(status)
	var a apiError
	decoded := len(body) <= maxErrorBody && json.Unmarshal(body, &a) == nil
	switch {
	case isHTML(h, body):
		if e.Kind != drover.Throttled {
			e.Kind, e.Hint = drover.Transient, notTheAPI
		}
		text += ": a web page, not the API"
	case decoded && a.Error != nil:
		message = a.Error.Message
		code := safeCode(a.Error.Code)
		for in, n := a.Error.Inner, 0; code == "" && in != nil && n < deepest; in, n = in.Inner, n+1 {
			code = safeCode(in.Code)
		}
		if code != "" {
			text += " (" + code + ")"
			e.Code = code
		}
		if status < 300 {
			text += ": an error in place of the data"
		}
	case decoded:
		message = a.Message
	}
	switch {
	case e.Hint != "":
	case status >= 300 && status < 400:
		e.Hint = notTheAPI + "; redirects are never followed"
	case status == http.StatusProxyAuthRequired:
		e.Hint = "the proxy wants to know who we are; give its URL a user that it accepts"
	case status == http.StatusNetworkAuthenticationRequired:
		e.Hint = notTheAPI
	case status == http.StatusGone:
		e.Hint = "this API is not there any more; its successor is Graph /security/alerts_v2"
	}
	if wait, ok := RetryAfter(h, time.Now()); ok && (status == http.StatusTooManyRequests || status >= 500) {
		e.Kind, e.Wait = drover.Throttled, wait
	}
	e.Err = errors.New(text)
	return e, message
}

// statusLine is "404 Not Found".
func statusLine(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// safeCode lets a code through that is a word, and nothing else.
func safeCode(s string) string {
	if len(s) > 64 {
		return ""
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return ""
		}
	}
	return s
}

// IsHTML reports whether an answer is a web page: by its type, or by how it
// begins. It is never parsed.
func IsHTML(r *Response) bool { return isHTML(r.Header, r.Body) }

func isHTML(h http.Header, body []byte) bool {
	if strings.Contains(strings.ToLower(h.Get("Content-Type")), "html") {
		return true
	}
	b := bytes.TrimLeft(body, "\xef\xbb\xbf \t\r\n")
	return len(b) > 0 && b[0] == '<'
}
