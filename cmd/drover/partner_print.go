package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"drover/internal/enrol"
	"drover/internal/gdap"
)

// printEnrolled shows each customer, and counts.
func printEnrolled(w io.Writer, list []enrol.Result, plan bool) error {
	count := make(map[enrol.Outcome]int)
	var order []enrol.Outcome
	added := 0
	for _, r := range list {
		if count[r.Outcome]++; count[r.Outcome] == 1 {
			order = append(order, r.Outcome)
		}
		mark := "FAIL "
		if r.OK() || plan && r.Outcome == enrol.ToGrant {
			mark = "ok   "
		}
		text := string(r.Outcome)
		switch {
		case r.Added:
			text += ", added"
			added++
		case plan && r.Outcome == enrol.Already && r.State == "":
			text += ", to be added"
		}
		_, _ = fmt.Fprintf(w, "%s %s (%s): %s%s\n", mark, clean(orText(r.Name, r.Called)), r.Tenant, text, until(r))
		if r.OK() || r.Outcome == enrol.ToGrant {
			continue
		}
		for _, line := range []string{r.Says, hintLine(r.Do)} {
			if line != "" {
				_, _ = fmt.Fprintf(w, "      %s\n", clean(line))
			}
		}
		if len(r.Did) > 0 {
			_, _ = fmt.Fprintf(w, "      done so far: %s\n", clean(strings.Join(r.Did, ", ")))
		}
	}
	parts := make([]string, 0, len(order))
	slices.SortFunc(order, func(a, b enrol.Outcome) int { return count[b] - count[a] })
	for _, out := range order {
		parts = append(parts, fmt.Sprintf("%d %s", count[out], out))
	}
	_, err := fmt.Fprintf(w, "%d customers: %s", len(list), orText(strings.Join(parts, ", "), "none"))
	if added > 0 {
		_, _ = fmt.Fprintf(w, "; %d added", added)
	}
	_, _ = fmt.Fprintln(w)
	return err
}

// until says when the relationship ends, if that is near.
func until(r enrol.Result) string {
	left := time.Until(r.End)
	if r.End.IsZero() || r.Extends || left > time.Duration(gdap.WarnDays[0])*24*time.Hour {
		return ""
	}
	return "; its relationship ends on " + r.End.UTC().Format(time.DateOnly)
}

func hintLine(s string) string {
	if s == "" {
		return ""
	}
	return "hint: " + s
}
