package splunk

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// meaning is what a code of the collector stands for: its HTTP status and the
// text beside it (reference sink-protocols §2).
type meaning struct {
	status int
	text   string
}

// codes holds every code that the contract lists, 0 to 28.
var codes = [...]meaning{
	0:  {http.StatusOK, "Success"},
	1:  {http.StatusForbidden, "Token disabled"},
	2:  {http.StatusUnauthorized, "Token is required"},
	3:  {http.StatusUnauthorized, "Invalid authorization"},
	4:  {http.StatusForbidden, "Invalid token"},
	5:  {http.StatusBadRequest, "No data"},
	6:  {http.StatusBadRequest, "Invalid data format"},
	7:  {http.StatusBadRequest, "Incorrect index"},
	8:  {http.StatusInternalServerError, "Internal server error"},
	9:  {http.StatusServiceUnavailable, "Server is busy"},
	10: {http.StatusBadRequest, "Data channel is missing"},
	11: {http.StatusBadRequest, "Invalid data channel"},
	12: {http.StatusBadRequest, "Event field is required"},
	13: {http.StatusBadRequest, "Event field cannot be blank"},
	14: {http.StatusBadRequest, "ACK is disabled"},
	15: {http.StatusBadRequest, "Error in handling indexed fields"},
	16: {http.StatusBadRequest, "Query string authorization is not enabled"},
	17: {http.StatusOK, "HEC is healthy"},
	18: {http.StatusServiceUnavailable, "HEC is unhealthy, queues are full"},
	19: {http.StatusServiceUnavailable, "HEC is unhealthy, ack service unavailable"},
	20: {http.StatusServiceUnavailable, "HEC is unhealthy, queues are full, ack service unavailable"},
	21: {http.StatusBadRequest, "Invalid token"},
	22: {http.StatusBadRequest, "Token disabled"},
	23: {http.StatusServiceUnavailable, "Server is shutting down"},
	24: {http.StatusOK, "Success, queue is nearly full"},
	25: {http.StatusOK, "Success, ack service is nearly full"},
	26: {http.StatusTooManyRequests, "Queue is full"},
	27: {http.StatusTooManyRequests, "Ack channel is full"},
	28: {http.StatusBadRequest, "Data channel is required"},
}

// none stands for an absent number in a reply.
const none = -1

// reply is an answer that is still to be sent.
type reply struct {
	status     int
	code       int // none: the body is not the collector's own
	invalid    int // "invalid-event-number", or none
	ackID      int64
	body       []byte // replaces the JSON of the collector when code is none
	kind       string // content type of body
	retryAfter string
}

// coded is the plain answer for one code.
func coded(code int) reply {
	return reply{status: codes[code].status, code: code, invalid: none, ackID: none}
}

// page is an answer that is not the collector's JSON.
func page(status int, kind, body string) reply {
	return reply{status: status, code: none, invalid: none, ackID: none, kind: kind, body: []byte(body)}
}

// success reports whether the answer tells the sender that its events were
// taken.
func (p reply) success() bool { return p.code == 0 || p.code == 24 || p.code == 25 }

// render returns the body and its content type.
func (p reply) render() (body []byte, kind string) {
	if p.code == none {
		return p.body, p.kind
	}
	text, err := json.Marshal(codes[p.code].text)
	if err != nil {
		panic(err) // a constant of this package
	}
	b := append([]byte(`{"text":`), text...)
	b = append(b, `,"code":`...)
	b = strconv.AppendInt(b, int64(p.code), 10)
	if p.invalid != none {
		b = append(b, `,"invalid-event-number":`...)
		b = strconv.AppendInt(b, int64(p.invalid), 10)
	}
	if p.ackID != none {
		b = append(b, `,"ackId":`...)
		b = strconv.AppendInt(b, p.ackID, 10)
	}
	return append(b, '}'), "application/json; charset=UTF-8"
}
