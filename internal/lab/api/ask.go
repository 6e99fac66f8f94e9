package api

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"drover/internal/lab/estate"
)

// ask is a request to the SIEM API, understood. Names of parameters count in
// any case.
type ask struct {
	from, to     time.Time
	limit        int // the newest so many; -1: all
	groups, tags []string
	cloudTags    []string
}

// readAsk reads the parameters. Where the documents say nothing: from <= time
// < to, an inverted range holds nothing, what cannot be read is refused, and
// so is ago beside a bound.
func readAsk(query string, now time.Time) (a ask, err error) {
	pairs, err := url.ParseQuery(query)
	if err != nil {
		return a, errors.New("the query cannot be read")
	}
	v := make(map[string][]string)
	for name, list := range pairs {
		name = strings.ToLower(name)
		v[name] = append(v[name], list...)
	}
	one := func(name string) string {
		if len(v[name]) > 1 && err == nil {
			err = fmt.Errorf("%s is there more than once", name)
		}
		if len(v[name]) == 0 {
			return ""
		}
		return v[name][0]
	}
	a = ask{from: now.Add(-2 * time.Hour), to: now, limit: -1, groups: v["machinegroups"], tags: v["devicecreatedmachinetags"], cloudTags: v["cloudcreatedmachinetags"]}
	ago, since, until, limit := one("ago"), one("sincetimeutc"), one("untiltimeutc"), one("limit")
	if err != nil {
		return a, err
	}
	if ago != "" {
		if since != "" || until != "" {
			return a, errors.New("ago does not go with sinceTimeUtc or untilTimeUtc")
		}
		d, err := isoDuration(ago)
		if err != nil {
			return a, err
		}
		a.from = now.Add(-d)
	}
	if since != "" {
		if a.from, err = siemTime(since); err != nil {
			return a, err
		}
	}
	if until != "" {
		if a.to, err = siemTime(until); err != nil {
			return a, err
		}
	}
	if limit != "" {
		if a.limit, err = strconv.Atoi(limit); err != nil || a.limit < 0 {
			return a, errors.New("limit is no number of rows")
		}
	}
	if len(a.tags) > 1 {
		return a, errors.New("DeviceCreatedMachineTags takes a single tag")
	}
	return a, nil
}

// wants reports whether a row is of the groups and of the tags: any of the
// ones, and any of the others.
func (a *ask) wants(r *estate.Row) bool {
	if len(a.groups) > 0 && !slices.Contains(a.groups, r.Group()) {
		return false
	}
	return len(a.tags)+len(a.cloudTags) == 0 || slices.Contains(a.tags, r.DeviceTag()) || slices.Contains(a.cloudTags, r.CloudTag())
}

// siemTime takes the spellings of reference siem-api §3.
func siemTime(s string) (time.Time, error) {
	s = strings.Trim(s, `"`)
	if n := len(s); n > 19 && s[n-6] == ' ' {
		s = s[:n-6] + "+" + s[n-5:] // an unescaped + arrives as a blank
	}
	for _, form := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("the time %q cannot be read", s)
}

var durationForm = regexp.MustCompile(`^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:[.,]\d+)?)S)?)?$`)

// isoDuration reads an ISO 8601 duration; a year has 365 days and a month 30,
// as .NET reads them.
func isoDuration(s string) (time.Duration, error) {
	m := durationForm.FindStringSubmatch(s)
	if m == nil || strings.HasSuffix(s, "P") || strings.HasSuffix(s, "T") {
		return 0, fmt.Errorf("%q is no ISO 8601 duration", s)
	}
	const day = 24 * time.Hour
	var sum time.Duration
	for i, unit := range []time.Duration{365 * day, 30 * day, 7 * day, day, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(strings.Replace(m[i+1], ",", ".", 1), 64)
		if err != nil || n*unit.Hours() > 100*365*24 {
			return 0, fmt.Errorf("%q is too long", s)
		}
		sum += time.Duration(n * float64(unit))
	}
	return sum, nil
}
