package splunk_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/httpx"
	"drover/internal/proof"
	"drover/internal/sink/sinktest"
	"drover/internal/sink/splunk"
)

func ran(t testing.TB, fault, figure string) { proof.Ran(t, fault, "%s", figure) }

// sent lists the event IDs in a request to the collector.
func sent(r *http.Request, body []byte) (ids []string) {
	if !strings.HasSuffix(r.URL.Path, "/event") {
		return nil
	}
	for dec := json.NewDecoder(bytes.NewReader(body)); ; {
		var e struct {
			Fields map[string]string `json:"fields"`
		}
		if err := dec.Decode(&e); err != nil {
			return ids
		}
		ids = append(ids, e.Fields["drover.event_id"])
	}
}

// accept answers as a collector that has taken and indexed everything.
func accept(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/ack"):
		_, _ = io.WriteString(w, `{"acks":{"0":true}}`)
	case strings.HasSuffix(r.URL.Path, "/health"):
		_, _ = io.WriteString(w, `{"text":"HEC is healthy","code":17}`)
	default:
		_, _ = io.WriteString(w, `{"text":"Success","code":0,"ackId":0}`)
	}
}

func TestTheSuite(t *testing.T) {
	for name, ack := range map[string]bool{"received is done": false, "indexed is done": true} {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, sinktest.Harness{
				Ran: ran,
				Open: func(t *testing.T) sinktest.Target {
					c := newCollector(t, ack)
					return sinktest.Target{Sink: c.sink(t), Records: func(lane string) ([]string, error) { return c.records(lane) }}
				},
				HTTP: &sinktest.HTTP{
					Open: func(t *testing.T, address string, client *httpx.Client, token drover.Secret) drover.Sink {
						s, err := splunk.New(splunk.Options{URL: address, HTTP: client, Ack: ack, AckEvery: time.Millisecond, AckWait: 50 * time.Millisecond, Target: func(t drover.Tenant) splunk.Target {
							return splunk.Target{Token: func() (drover.Secret, error) { return token, nil }, TokenName: "hec.token", Index: string(t.Customer)}
						}})
						if err != nil {
							t.Fatal(err)
						}
						return s
					},
					Records: sent,
					Accept:  accept,
					TooLarge: []func(http.ResponseWriter){
						func(w http.ResponseWriter) { http.Error(w, "too large", http.StatusRequestEntityTooLarge) },
						func(w http.ResponseWriter) { // Splunk Cloud
							w.WriteHeader(http.StatusBadRequest)
							_, _ = io.WriteString(w, `{"text":"Invalid data format","code":6,"invalid-event-number":0}`)
						},
					},
					NotSuccess: []string{`{"code":-1}`, `{"code":1}`, `{"code":6,"invalid-event-number":1}`, `{"code":9}`, `{"code":17}`, `{"code":23}`, `{"code":"0"}`, `{"code":0.5}`, `{"code":0,"ackId":-1}`,
						`{"code":0,"ackId":"0"}`, `{"code":0}{"code":0}`, `{"code":0`, `[{"code":0}]`, `{"code":null}`, `{"acks":[]}`},
				},
			})
		})
	}
}

// records lists the event IDs that the collector has of a lane, in the order of
// arrival.
func (c *collector) records(lane string) (ids []string, err error) {
	for _, e := range c.events() {
		name := c.laneOf[e.TokenName]
		if name != lane {
			continue
		}
		var f map[string]string
		if err := json.Unmarshal(e.Fields, &f); err != nil {
			return nil, err
		}
		if slices.Contains(ids, f["drover.event_id"]) {
			return nil, fmt.Errorf("%s is there twice", f["drover.event_id"])
		}
		ids = append(ids, f["drover.event_id"])
	}
	return ids, nil
}
