package splunk

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"drover"
	"drover/internal/httpx"
)

// answer is what the collector says.
type answer struct {
	Code    *int            `json:"code"`
	Invalid *int            `json:"invalid-event-number"`
	AckID   *uint64         `json:"ackId"`
	Acks    map[string]bool `json:"acks"`

	status int
	header http.Header
}

// maxAnswer bounds the collector's answers; real ones are some hundred bytes.
const maxAnswer = 1 << 20

// read takes an answer apart. What is not the collector's JSON has a status
// and a header only.
func read(res *httpx.Response) *answer {
	var a answer
	if json.Unmarshal(res.Body, &a) != nil {
		a = answer{}
	}
	a.status, a.header = res.Status, res.Header
	res.Release()
	return &a
}

// is reports whether the answer has one of the codes.
func (a *answer) is(codes ...int) bool { return a.Code != nil && slices.Contains(codes, *a.Code) }

// taken reports whether the answer says that the events are in.
func (a *answer) taken() bool { return a.status == http.StatusOK && a.is(0, 24, 25) }

// String names the answer without a word of the peer's.
func (a *answer) String() string {
	if a.Code == nil {
		return fmt.Sprintf("status %d without a code of the collector", a.status)
	}
	if text := codes[*a.Code].text; text != "" {
		return fmt.Sprintf("status %d, code %d (%s)", a.status, *a.Code, text)
	}
	return fmt.Sprintf("status %d, code %d", a.status, *a.Code)
}

// codes are the collector's codes that are no success. A code without a kind
// is judged by its status.
var codes = map[int]struct {
	kind drover.Kind
	text string
	hint string
}{
	1:  {drover.Denied, "token disabled", "the token is disabled in Splunk: enable it, or name another one under token:"},
	2:  {drover.Denied, "no token", "Splunk saw no token: does a proxy take the Authorization header away?"},
	3:  {drover.Denied, "malformed token", "the file of the token must hold the token alone, on one line"},
	4:  {drover.Denied, "unknown token", "Splunk does not know the token: check the file that token: names"},
	5:  {drover.Denied, "no data", "Splunk saw no event in the request: does a proxy take its body away?"},
	6:  {0, "invalid format", ""},
	7:  {drover.Denied, "wrong index", "the index is not there, or not allowed for this token: allow it in Splunk, or change index: in the config"},
	8:  {drover.Transient, "internal error", ""},
	9:  {drover.Transient, "busy", ""},
	10: {drover.Denied, "channel missing", "the token has acknowledgement switched on: set ack: true"},
	11: {drover.Denied, "channel refused", "Splunk does not take the channel: does a proxy change headers?"},
	12: {0, "event missing", ""},
	13: {0, "event blank", ""},
	14: {drover.Denied, "acknowledgement is off", ackIsOff},
	15: {0, "fields or time not usable", ""},
	16: {drover.Denied, "token in the URL", "drover sends the token in a header: does a proxy take it away?"},
	18: {drover.Transient, "queues are full", ""},
	19: {drover.Transient, "acknowledgement is unhealthy", ""},
	20: {drover.Transient, "unhealthy", ""},
	21: {drover.Denied, "unknown token", "Splunk does not know the token: check the file that token: names"},
	22: {drover.Denied, "token disabled", "the token is disabled in Splunk: enable it, or name another one under token:"},
	23: {drover.Transient, "shutting down", ""},
	26: {drover.Throttled, "queue is full", ""},
	27: {drover.Throttled, "acknowledgement channel is full", ""},
	28: {drover.Denied, "channel missing", "the token has acknowledgement switched on: set ack: true"},
}

const ackIsOff = "the token has acknowledgement switched off in Splunk: switch it on there, or set ack: false"

// failure is the error of an answer that is no success. The code decides, and
// where there is none the status.
func (a *answer) failure(op string) error {
	e := &drover.Error{Op: op, Kind: httpx.SinkKind(a.status), Code: strconv.Itoa(a.status), Err: errors.New(a.String())}
	if a.Code != nil && a.status >= 300 {
		e.Code = "HEC " + strconv.Itoa(*a.Code)
		if c := codes[*a.Code]; c.kind != 0 {
			e.Kind, e.Hint = c.kind, c.hint
		}
	}
	if wait, ok := httpx.RetryAfter(a.header, time.Now()); ok && e.Kind != drover.Denied {
		e.Kind, e.Wait = drover.Throttled, wait
	}
	switch {
	case e.Hint != "":
	case a.status < 300:
		e.Hint = "the answer is not Splunk's: is a proxy or a sign-in page in between?"
	case a.status < 400:
		e.Hint = "Splunk's address has changed, or a proxy is in between; redirects are never followed: check url:"
	case e.Kind == drover.Denied:
		e.Hint = "check the url and the token of this sink"
	}
	return e
}
