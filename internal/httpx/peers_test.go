package httpx

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestThePeersAreThoseThatWereVerified(t *testing.T) {
	until := time.Now().Add(48 * time.Hour).Truncate(time.Second)
	ca, good := issued(t, time.Now().Add(-time.Hour), until)
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	c, err := New(Options{CAs: ca, AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Peers(); len(got) != 0 {
		t.Errorf("before any call: %v", got)
	}
	for range 2 {
		if _, err := c.Do(t.Context(), Request{URL: good.URL}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Do(t.Context(), Request{URL: plain.URL}); err == nil {
			t.Fatal("a server that nobody vouches for was called")
		}
	}
	got := c.Peers()
	if len(got) != 1 || got[0].Host != strings.TrimPrefix(good.URL, "https://") || !got[0].Until.Equal(until) || len(got[0].ID) != 32 {
		t.Errorf("got %v, want %s until %v", got, good.URL, until)
	}
}
