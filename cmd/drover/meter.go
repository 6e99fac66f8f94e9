package main

import (
	"context"
	"sync"
	"time"

	"drover"
	"drover/internal/audit"
	"drover/internal/defender"
	"drover/internal/httpx"
)

// meter counts the requests that the collector makes, where the API's limits
// are known: an audit beside it takes of them only what it leaves.
type meter struct {
	mu    sync.Mutex
	feeds map[drover.Feed]*metered
}

// metered is what one feed has asked within a minute and an hour.
type metered struct{ minute, hour audit.Recent }

func (m *meter) add(f drover.Feed) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.feeds[f]
	if x == nil {
		if m.feeds == nil {
			m.feeds = make(map[drover.Feed]*metered)
		}
		x = new(metered)
		m.feeds[f] = x
	}
	x.minute.Add(time.Minute, now)
	x.hour.Add(time.Hour, now)
}

// used returns how often a feed was asked within the last minute and hour.
func (m *meter) used(f drover.Feed) (minute, hour int) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if x := m.feeds[f]; x != nil {
		minute, hour = x.minute.Count(time.Minute, now), x.hour.Count(time.Hour, now)
	}
	return minute, hour
}

// counting is a client whose requests are counted.
type counting struct {
	defender.Doer
	meter *meter
	feed  drover.Feed
}

func (c counting) Do(ctx context.Context, r httpx.Request) (*httpx.Response, error) {
	c.meter.add(c.feed)
	return c.Doer.Do(ctx, r)
}
