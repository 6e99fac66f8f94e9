package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"drover"
)

// Size is a number of bytes, written with its unit: 500kB, 1MB, 64MiB.
type Size int64

// Share is a part of a whole in percent, written 20%.
type Share int

// Of returns the share of n.
func (s Share) Of(n int64) int64 {
	return n/100*int64(s) + n%100*int64(s)/100
}

var durationUnits = map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

var sizeUnits = map[string]int64{
	"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

var (
	durationForm = regexp.MustCompile(`^(?:\d{1,12}(?:ms|s|m|h|d))+$`)
	durationPart = regexp.MustCompile(`(\d+)(ms|s|m|h|d)`)
	sizeForm     = regexp.MustCompile(`^(\d{1,15}) ?([A-Za-z]{1,3})$`)
	intForm      = regexp.MustCompile(`^(?:0|[1-9]\d{0,17})$`)
	shareForm    = regexp.MustCompile(`^(\d{1,3}) ?%$`)
)

// errUnit keeps a number without its unit apart, so that the message can say
// what to write.
var errUnit = errors.New("without a unit")

// parseDuration reads 60s, 15m, 2h, 1h30m, 7d.
func parseDuration(s string) (time.Duration, error) {
	if intForm.MatchString(s) {
		return 0, fmt.Errorf("%q is a time %w; write %ss, %sm, %sh or %sd", s, errUnit, s, s, s, s)
	}
	if !durationForm.MatchString(s) {
		return 0, fmt.Errorf("%q is not a length of time; write whole numbers with a unit such as 60s, 15m, 2h or 7d", clip(s))
	}
	var sum time.Duration
	for _, m := range durationPart.FindAllStringSubmatch(s, -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		unit := durationUnits[m[2]]
		if n > int64((math.MaxInt64-sum)/unit) {
			return 0, fmt.Errorf("%q is longer than 292 years", s)
		}
		sum += time.Duration(n) * unit
	}
	return sum, nil
}

// parseSize reads 500kB, 1MB, 64MiB.
func parseSize(s string) (Size, error) {
	if intForm.MatchString(s) {
		return 0, fmt.Errorf("%q is a size %w; write %sB, or a unit such as kB, MB, MiB or GiB", s, errUnit, s)
	}
	m := sizeForm.FindStringSubmatch(s)
	if m == nil || sizeUnits[m[2]] == 0 {
		return 0, fmt.Errorf("%q is not a size; write a whole number with a unit such as 500kB, 1MB, 64MiB or 2GiB", clip(s))
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	if n > math.MaxInt64/sizeUnits[m[2]] {
		return 0, fmt.Errorf("%q is larger than any disk", s)
	}
	return Size(n * sizeUnits[m[2]]), nil
}

// parseShare reads 20%.
func parseShare(s string) (Share, error) {
	m := shareForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a share; write a whole number of percent such as 20%%", clip(s))
	}
	n, _ := strconv.Atoi(m[1])
	return Share(n), nil
}

// parseInt reads a whole number in decimal digits.
func parseInt(s string) (int, error) {
	if !intForm.MatchString(s) {
		return 0, fmt.Errorf("%q is not a whole number in decimal digits", clip(s))
	}
	return strconv.Atoi(s)
}

// textKinds check and normalise text by the kind in a field's tag. dir is where
// relative paths begin.
var textKinds = map[string]func(s, dir string) (string, error){
	"path": func(s, dir string) (string, error) {
		if strings.HasPrefix(s, "~") {
			return "", fmt.Errorf("%q: ~ is not expanded; write the whole path", clip(s))
		}
		if strings.ContainsRune(s, 0) {
			return "", errors.New("a path cannot hold a NUL character")
		}
		if !filepath.IsAbs(s) {
			s = filepath.Join(dir, s)
		}
		return filepath.Clean(s), nil
	},
	"url": func(s, _ string) (string, error) {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return "", errors.New("expected an https URL such as https://splunk.example:8088, without user, password or query")
		}
		return strings.TrimSuffix(s, "/"), nil
	},
	"proxy": func(s, _ string) (string, error) {
		if s == "none" || s == "environment" {
			return s, nil
		}
		u, err := url.Parse(s)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
			return "", errors.New("expected none, environment, or a URL such as http://proxy.example:3128, without user and password")
		}
		return strings.TrimSuffix(s, "/"), nil
	},
	"guid": func(s, _ string) (string, error) {
		id := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}"))
		if !drover.IsGUID(id) {
			return "", fmt.Errorf("%q is not an ID of the form 3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60 (Entra admin center > App registrations)", clip(s))
		}
		return id, nil
	},
	"address": func(s, _ string) (string, error) {
		if s == "none" {
			return s, nil
		}
		host, port, err := net.SplitHostPort(s)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || (n == 0 && port != "0") || strings.ContainsAny(host, " /") {
			return "", fmt.Errorf("%q is not an address; write 127.0.0.1:9464, or none", clip(s))
		}
		return s, nil
	},
	"network": func(s, _ string) (string, error) {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			return a.Unmap().String(), nil
		}
		if p, err := netip.ParsePrefix(s); err == nil {
			return p.Masked().String(), nil
		}
		return "", fmt.Errorf("%q is neither an address nor a network; write 203.0.113.7 or 203.0.113.0/28", clip(s))
	},
	"start": func(s, _ string) (string, error) {
		if _, err := parseDuration(s); s == "now" || err == nil {
			return s, nil
		}
		if _, err := drover.ParseInstant(s); err == nil {
			return s, nil
		}
		if _, err := drover.ParseInstant(s + "T00:00:00Z"); err == nil {
			return s, nil
		}
		return "", fmt.Errorf("%q is no starting point; write now, an instant such as 2026-03-02T08:00:00Z, or an age such as 24h or 30d", clip(s))
	},
	"date": func(s, _ string) (string, error) {
		if _, err := time.Parse(time.DateOnly, s); err != nil {
			return "", fmt.Errorf("%q is no day; write it as 2027-03-31", clip(s))
		}
		return s, nil
	},
	"directory": func(s, _ string) (string, error) {
		id, err := drover.ParseTenantID(s)
		return string(id), err
	},
	"slug": func(s, _ string) (string, error) { return s, checkSlug(s) },
	"tenant": func(s, _ string) (string, error) {
		if drover.IsGUID(s) {
			return strings.ToLower(s), nil
		}
		return s, checkSlug(s)
	},
	"word": func(s, _ string) (string, error) {
		if strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", fmt.Errorf("%q begins or ends with a blank, or holds a control character", clip(s))
		}
		return s, nil
	},
}

// checkSlug says what is wrong with a name that a person gives to a thing.
func checkSlug(s string) error {
	if _, err := drover.ParseCustomerID(s); err != nil {
		return fmt.Errorf("%q cannot be a name here: use 1 to 63 of a-z, 0-9 and '-', not at the ends", clip(s))
	}
	return nil
}

// loopback reports whether an address is reachable from this machine alone.
func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
