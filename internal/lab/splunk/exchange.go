package splunk

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// exchange is one request and its answer.
type exchange struct {
	r     *Receiver
	w     http.ResponseWriter
	req   *http.Request
	at    time.Time
	point string

	number  uint64
	token   *token
	channel string
	node    int
	bytes   int64
	fault   *Fault
	batch   batch
	told    []said
}

// begin numbers the request.
func (x *exchange) begin() {
	x.r.mu.Lock()
	defer x.r.mu.Unlock()
	x.r.requests++
	x.number = x.r.requests
	x.r.count.Requests++
}

// open checks token and channel. It reports whether to go on.
func (x *exchange) open(needChannel func(*token) bool) bool {
	t, code := x.r.authorize(x.req)
	if code != 0 {
		x.finish(coded(code))
		return false
	}
	x.token, x.channel = t, channelOf(x.req)
	switch {
	case x.channel != "" && !isGUID(x.channel):
		x.finish(coded(11))
	case x.channel == "" && needChannel(t) && x.r.opt.Cloud:
		x.finish(coded(28))
	case x.channel == "" && needChannel(t):
		x.finish(coded(10))
	default:
		x.channel = strings.ToLower(x.channel)
		x.node = x.r.pick(x.req)
		x.r.stick(x.w, x.node)
		return true
	}
	return false
}

// events takes events, as JSON or raw lines.
func (x *exchange) events(raw bool) {
	if !x.open(func(t *token) bool { return t.UseACK }) {
		return
	}
	if !x.enter() {
		x.finish(coded(9))
		return
	}
	defer x.leave()
	body, bad := x.body()
	if bad != nil {
		x.finish(*bad)
		return
	}
	if raw {
		x.batch = parseRaw(body, x.token, x.req.URL.Query().Get)
	} else {
		x.batch = parse(body, x.token)
	}
	answer := x.batch.answer
	x.fault = x.r.deal("events", x.token.Name)
	good := x.batch.good
	if x.fault != nil {
		switch effects[x.fault.Kind].take {
		case takeHalf:
			good /= 2
		case takeNone:
			good = 0
		}
	}
	swallowed := x.fault != nil && x.fault.Kind == "swallowed"
	if x.token.UseACK && (good > 0 || swallowed) {
		x.r.mu.Lock()
		now := x.r.opt.Now()
		id, code := x.r.giveAck(x.node, channelKey{x.token.Name, x.channel}, pending{x.number, now.Add(x.r.opt.AckDelay), !swallowed}, now)
		x.r.mu.Unlock()
		if code != 0 {
			x.batch.good, x.batch.told = 0, 0
			x.finish(coded(code))
			return
		}
		answer.ackID = id
	}
	for i := range x.batch.events {
		e := &x.batch.events[i]
		e.Request, e.TokenName, e.Channel, e.Kept = x.number, x.token.Name, x.channel, i < good
		if answer.ackID != none && (i < x.batch.good) {
			e.AckID = answer.ackID
		}
	}
	x.finish(answer)
}

// enter counts a body in; at most MaxRequests are in memory at once.
func (x *exchange) enter() bool {
	x.r.mu.Lock()
	defer x.r.mu.Unlock()
	if x.r.bodies >= x.r.opt.MaxRequests {
		return false
	}
	x.r.bodies++
	return true
}

func (x *exchange) leave() {
	x.r.mu.Lock()
	defer x.r.mu.Unlock()
	x.r.bodies--
}

// body reads a whole body, decompressed, within the limit.
func (x *exchange) body() ([]byte, *reply) {
	limit := x.r.opt.MaxContentLength
	received := &counting{r: io.LimitReader(x.req.Body, limit+1)}
	defer func() { x.bytes = received.n }()
	var src io.Reader = received
	switch enc := strings.ToLower(strings.TrimSpace(x.req.Header.Get("Content-Encoding"))); enc {
	case "", "identity":
	case "gzip":
		zr, err := gzip.NewReader(received)
		if err != nil {
			bad := coded(6)
			if received.n == 0 {
				bad = coded(5)
			}
			return nil, &bad
		}
		src = io.LimitReader(zr, limit+1)
	default:
		bad := page(http.StatusUnsupportedMediaType, "text/xml; charset=UTF-8", `<response><messages><msg type="ERROR">Unsupported content encoding.</msg></messages></response>`)
		return nil, &bad
	}
	body, err := io.ReadAll(src)
	switch {
	case int64(len(body)) > limit || received.n > limit:
		if x.r.opt.Cloud {
			bad := coded(6)
			bad.invalid = 0
			return nil, &bad
		}
		bad := page(http.StatusRequestEntityTooLarge, "text/xml; charset=UTF-8", `<response><messages><msg type="ERROR">The request your client sent was too large.</msg></messages></response>`)
		return nil, &bad
	case err != nil && errors.Is(err, io.ErrUnexpectedEOF) && received.failed == nil:
		bad := coded(6) // a gzip stream that ends early
		return nil, &bad
	case err != nil && received.failed != nil:
		x.abandon()
	case err != nil:
		bad := coded(6)
		return nil, &bad
	}
	return body, nil
}

// abandon logs a request whose body did not come whole, and cuts it: nothing
// of it was taken and nobody is there to be told.
func (x *exchange) abandon() {
	x.batch = batch{}
	x.settle(reply{status: 0, code: none}, false)
	panic(http.ErrAbortHandler)
}

// counting counts bytes and remembers an error of the connection.
type counting struct {
	r      io.Reader
	n      int64
	failed error
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.failed = err
	}
	return n, err
}

// acks answers a poll for acknowledgements.
func (x *exchange) acks() {
	if !x.open(func(*token) bool { return true }) {
		return
	}
	if !x.token.UseACK {
		x.finish(coded(14))
		return
	}
	ids, ok := parseAcks(x.req.Body, x.r.opt.MaxContentLength)
	if !ok {
		x.finish(coded(6))
		return
	}
	x.fault = x.r.deal("ack", x.token.Name)
	never := x.fault != nil && (x.fault.Kind == "unconfirmed" || effects[x.fault.Kind].take == takeNone)
	x.r.mu.Lock()
	answers, told := x.r.askAcks(x.node, channelKey{x.token.Name, x.channel}, ids, x.r.opt.Now(), never)
	x.r.mu.Unlock()
	x.told = told
	b := []byte(`{"acks":{`)
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `"%d":%t`, id, answers[i])
	}
	x.finish(page(http.StatusOK, "application/json; charset=UTF-8", string(append(b, "}}"...))))
}

// health answers the health endpoint: a token is not needed, and is checked if
// it is there.
func (x *exchange) health() {
	answer := coded(17)
	if x.req.Header.Get("Authorization") != "" {
		switch t, code := x.r.authorize(x.req); code {
		case 0:
			x.token = t
		case 1:
			answer = coded(22)
		default:
			answer = coded(21)
		}
	}
	name := ""
	if x.token != nil {
		name = x.token.Name
	}
	x.fault = x.r.deal("health", name)
	x.finish(answer)
}

// finish sends the answer, bent by the fault, and books its fate.
func (x *exchange) finish(answer reply) {
	var e effect
	if x.fault != nil {
		e = effects[x.fault.Kind]
		answer.retryAfter = x.fault.RetryAfter
	}
	switch e.manner {
	case answerCode:
		bent := coded(e.code)
		bent.retryAfter = answer.retryAfter
		switch {
		case bent.success() && answer.success():
			bent.ackID = answer.ackID
		case bent.success():
			bent = answer // a batch with a bad event is still refused
		}
		answer = bent
	case answerPage:
		retryAfter := answer.retryAfter
		answer = e.page
		answer.retryAfter = retryAfter
	case answerLost:
		x.settle(answer, false)
		panic(http.ErrAbortHandler)
	case answerTorn:
		body, kind := answer.render()
		x.head(answer, kind, len(body))
		_, _ = x.w.Write(body[:len(body)/2]) // it is cut anyway
		_ = http.NewResponseController(x.w).Flush()
		x.settle(answer, false)
		panic(http.ErrAbortHandler)
	case answerLate:
		if x.fault.Delay == 0 {
			<-x.req.Context().Done()
		} else {
			_ = x.r.opt.Sleep(x.req.Context(), x.fault.Delay) // the context is looked at next
		}
		if x.req.Context().Err() != nil {
			x.settle(answer, false)
			panic(http.ErrAbortHandler)
		}
	}
	x.r.mu.Lock()
	x.r.settling++
	x.r.mu.Unlock()
	sent := false
	defer func() {
		x.settle(answer, sent)
		x.r.mu.Lock()
		x.r.settling--
		x.r.settled.Broadcast()
		x.r.mu.Unlock()
	}()
	body, kind := answer.render()
	x.head(answer, kind, len(body))
	_, err := x.w.Write(body)
	if flushErr := http.NewResponseController(x.w).Flush(); flushErr != nil && !errors.Is(flushErr, http.ErrNotSupported) {
		err = flushErr
	}
	sent = err == nil && x.req.Context().Err() == nil
}

// head sends status and headers.
func (x *exchange) head(answer reply, kind string, length int) {
	h := x.w.Header()
	if kind != "" {
		h.Set("Content-Type", kind)
	}
	if answer.retryAfter != "" {
		h.Set("Retry-After", answer.retryAfter)
	}
	h.Set("Content-Length", strconv.Itoa(length))
	x.w.WriteHeader(answer.status)
}
