package httpx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"drover"
)

// Bounds of what a peer may ask us to wait.
const (
	minWait = time.Second
	maxWait = time.Hour
)

// RetryAfter reads how long the peer asks us to wait: seconds, a fraction of
// them, or an HTTP date. The answer is between one second and one hour; ok is
// false if it did not ask, or not in a way that can be read (reference faults
// P25, graph-security §8).
func RetryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0, false
	}
	if sec, err := strconv.ParseFloat(v, 64); err == nil && sec == sec {
		switch {
		case sec >= maxWait.Seconds():
			return maxWait, true
		case sec <= minWait.Seconds():
			return minWait, true
		}
		// Rounded up: never earlier than asked.
		return time.Duration(sec*1000+0.999999) * time.Millisecond, true
	}
	if at, err := http.ParseTime(v); err == nil {
		if d, err := http.ParseTime(h.Get("Date")); err == nil {
			now = d // by the peer's own clock
		}
		return min(max(at.Sub(now)+time.Second, minWait), maxWait), true
	}
	return 0, false
}

// KindOf says what the program does about an HTTP status that is not a
// success (reference sink-protocols §1): come back later for what may pass,
// park for what needs somebody.
func KindOf(status int) drover.Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return drover.Throttled
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500, status < 200:
		return drover.Transient
	case status >= 200 && status < 300:
		return drover.Transient // a success that was not one
	default:
		return drover.Denied
	}
}

// apiError is the error object of Microsoft's APIs, in both spellings.
type apiError struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Message string `json:"Message"`
}

// Explain makes an error of an answer that is not the wanted one. The status
// decides; the body's own code, which may be empty, is only told. The
// message is returned for its caller to look for known texts in; it is not
// part of the error.
func Explain(op string, r *Response) (e *drover.Error, message string) {
	e = &drover.Error{Op: op, Kind: KindOf(r.Status), Code: strconv.Itoa(r.Status)}
	text := fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status))
	var body apiError
	switch {
	case IsHTML(r):
		e.Kind = drover.Transient
		text += ": a web page, not the API"
		e.Hint = "something between here and the API answers for it, such as a proxy or a sign-in page of the network"
	case json.Unmarshal(r.Body, &body) == nil:
		message = body.Error.Message
		if message == "" {
			message = body.Message
		}
		if c := safeCode(body.Error.Code); c != "" {
			text += " (" + c + ")"
			e.Code = c
		}
	}
	if r.Status == http.StatusProxyAuthRequired {
		e.Hint = "the proxy wants to know who we are; set proxy.microsoft to a URL it accepts"
	}
	if wait, ok := RetryAfter(r.Header, time.Now()); ok && (r.Status == http.StatusTooManyRequests || r.Status >= 500) {
		e.Kind, e.Wait = drover.Throttled, wait
	}
	e.Err = plainError(text)
	return e, message
}

type plainError string

func (e plainError) Error() string { return string(e) }

// safeCode lets a code through that is a word, and nothing else.
func safeCode(s string) string {
	if len(s) > 64 {
		return ""
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-') {
			return ""
		}
	}
	return s
}

// IsHTML reports whether an answer is a web page: by its type, or by how it
// begins.
func IsHTML(r *Response) bool {
	if strings.Contains(strings.ToLower(r.Header.Get("Content-Type")), "html") {
		return true
	}
	b := bytes.TrimLeft(r.Body, "\xef\xbb\xbf \t\r\n")
	return len(b) > 0 && b[0] == '<'
}
