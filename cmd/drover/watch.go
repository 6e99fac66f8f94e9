package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/collect"
)

// feedWatch turns what collect has seen into what an operator is told.
func feedWatch(o collect.Observed) admin.FeedWatch {
	w := admin.FeedWatch{Newest: o.Since, Usual: int64(o.Usual / time.Second), Silent: o.Silent,
		Late: admin.FeedLateness{Rows: o.Lateness.Rows, Late: o.Lateness.Late, Most: int64(o.Lateness.Most / time.Second), Alarm: o.Lateness.Alarm}}
	for i, n := range o.Lateness.Class {
		if n > 0 {
			w.Late.Classes = append(w.Late.Classes, admin.LatenessClass{UpTo: className(i), N: n})
		}
	}
	return w
}

func className(i int) string {
	if i < len(collect.LatenessBounds) {
		return collect.LatenessBounds[i].String()
	}
	return "more"
}

// watching tells the operator's view what a collector sees.
func watching(local *admin.Local, col *collect.Collector) {
	local.Watch = func() map[drover.Feed]admin.FeedWatch {
		out := make(map[drover.Feed]admin.FeedWatch)
		for f, o := range col.Observed() {
			out[f] = feedWatch(o)
		}
		return out
	}
	local.SilentSources = func() (out []admin.SilentSource) {
		for _, s := range col.SilentSources() {
			out = append(out, admin.SilentSource(s))
		}
		return out
	}
}

// metrics answers /metrics.
func metrics(col *collect.Collector) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		writeMetrics(w, col.Observed())
	}
}

// writeMetrics writes in the text format of Prometheus since when each feed is
// silent, whether that is unusual, and how late its rows were.
func writeMetrics(w io.Writer, seen map[drover.Feed]collect.Observed) {
	b := bufio.NewWriter(w)
	feeds := slices.SortedFunc(maps.Keys(seen), func(x, y drover.Feed) int {
		return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(x.Source, y.Source))
	})
	say := func(name, kind, help string, each func(labels string, o collect.Observed)) {
		_, _ = fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
		for _, f := range feeds {
			each(fmt.Sprintf("tenant=%q,source=%q", f.Tenant, f.Source), seen[f])
		}
	}
	say("drover_feed_newest_row_seconds", "gauge", "Change time of the newest row, in seconds since 1970.", func(l string, o collect.Observed) {
		if o.Since.Known() {
			_, _ = fmt.Fprintf(b, "drover_feed_newest_row_seconds{%s} %d\n", l, o.Since.Time().Unix())
		}
	})
	say("drover_feed_silent", "gauge", "1 if nothing new came for more than twice as long as usual.", func(l string, o collect.Observed) {
		_, _ = fmt.Fprintf(b, "drover_feed_silent{%s} %d\n", l, one(o.Silent))
	})
	say("drover_feed_late_alarm", "gauge", "1 if many more rows than usual show late.", func(l string, o collect.Observed) {
		_, _ = fmt.Fprintf(b, "drover_feed_late_alarm{%s} %d\n", l, one(o.Lateness.Alarm != ""))
	})
	say("drover_feed_lateness_seconds", "histogram", "How late rows showed that an earlier whole read of their time did not hold.", func(l string, o collect.Observed) {
		n := int64(0)
		for i, bound := range collect.LatenessBounds {
			n += o.Lateness.Class[i]
			_, _ = fmt.Fprintf(b, "drover_feed_lateness_seconds_bucket{%s,le=\"%d\"} %d\n", l, int64(bound/time.Second), n)
		}
		_, _ = fmt.Fprintf(b, "drover_feed_lateness_seconds_bucket{%s,le=\"+Inf\"} %d\n", l, o.Lateness.Late)
		_, _ = fmt.Fprintf(b, "drover_feed_lateness_seconds_sum{%s} %d\ndrover_feed_lateness_seconds_count{%s} %d\n", l, int64(o.Lateness.Sum/time.Second), l, o.Lateness.Late)
	})
	_ = b.Flush()
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}
