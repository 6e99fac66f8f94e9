package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxLine bounds one line of a list on the socket: an alert's ID may be long.
const maxLine = 4 << 20

// listLine is one line of a list: one of what is listed, or the end, or what
// went wrong.
type listLine[T, E any] struct {
	One   *T         `json:"one,omitempty"`
	End   *E         `json:"end,omitempty"`
	Error *wireError `json:"error,omitempty"`
}

type diffOrder struct {
	AlertRef
	From int `json:"from"`
	To   int `json:"to"`
}

// list answers with a stream of lines, so that neither side holds more than
// one. Who asks and goes away ends it.
func list[Q, T, E any](w http.ResponseWriter, r *http.Request, f func(ctx context.Context, q Q, each func(T) error) (E, error)) {
	var q Q
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if err == nil {
		err = json.Unmarshal(body, &q)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	e := json.NewEncoder(w)
	if err != nil {
		err = fmt.Errorf("read the request: %w", err)
		_ = e.Encode(listLine[T, E]{Error: onWire(err)})
		return
	}
	end, err := f(r.Context(), q, func(one T) error { return e.Encode(listLine[T, E]{One: &one}) })
	if err != nil {
		_ = e.Encode(listLine[T, E]{Error: onWire(err)})
		return
	}
	_ = e.Encode(listLine[T, E]{End: &end})
}

// follow asks for a list and calls each with every one of it.
func follow[T, E any](ctx context.Context, c *Client, name string, q any, each func(T) error) (end E, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return end, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://drover/v1/"+name, bytes.NewReader(body))
	if err != nil {
		return end, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return end, fmt.Errorf("ask the running process: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return end, fmt.Errorf("ask the running process: status %d", res.StatusCode)
	}
	bound := &io.LimitedReader{R: res.Body}
	for dec := json.NewDecoder(bound); ; {
		bound.N = maxLine
		var l listLine[T, E]
		if err := dec.Decode(&l); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // there was no last line
			}
			return end, fmt.Errorf("read the answer of the running process: %w", err)
		}
		switch {
		case l.Error != nil:
			return end, l.Error.err()
		case l.End != nil:
			return *l.End, nil
		case l.One != nil:
			if err := each(*l.One); err != nil {
				return end, err
			}
		}
	}
}

// Alerts is Alerts.Alerts.
func (c *Client) Alerts(ctx context.Context, q AlertQuery, each func(AlertLine) error) (AlertsEnd, error) {
	return follow[AlertLine, AlertsEnd](ctx, c, "alerts", q, each)
}

// Alert is Alerts.Alert.
func (c *Client) Alert(ctx context.Context, r AlertRef) (AlertStory, error) {
	return ask[AlertStory](ctx, c, "alert", r)
}

// AlertBody is Alerts.AlertBody.
func (c *Client) AlertBody(ctx context.Context, r AlertRef) (AlertBody, error) {
	return ask[AlertBody](ctx, c, "alert_body", r)
}

// AlertDiff is Alerts.AlertDiff.
func (c *Client) AlertDiff(ctx context.Context, r AlertRef, from, to int) (AlertDiff, error) {
	return ask[AlertDiff](ctx, c, "alert_diff", diffOrder{r, from, to})
}
