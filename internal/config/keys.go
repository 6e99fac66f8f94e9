package config

import (
	"regexp"
	"slices"
	"strings"
)

// nearest returns the known word that word was most likely meant to be, ok
// false if none is near: at most one slip in three letters, and never more
// than three.
func nearest(word string, known []string) (best string, ok bool) {
	limit := min(3, max(1, len(word)/3))
	for _, k := range known {
		if plain(k) == plain(word) {
			return k, true
		}
		if d := distance(word, k); d <= limit {
			limit, best, ok = d-1, k, true
		}
	}
	if ok {
		return best, true
	}
	// A beginning ("conc", "warning") or a whole word of it ("bytes") is as good.
	for _, k := range known {
		if len(word) >= 4 && (strings.HasPrefix(k, word) || len(k) >= 4 && strings.HasPrefix(word, k) || slices.Contains(strings.Split(k, "_"), word)) {
			return k, true
		}
	}
	return "", false
}

// plain makes maxRecords, max-records and max_records one.
func plain(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
}

// distance counts the slips between two words: a letter too many, missing,
// wrong, or two swapped (optimal string alignment).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

// didYouMean is the tail of a message about an unknown word.
func didYouMean(word string, known []string) string {
	if k, ok := nearest(word, known); ok {
		return `; did you mean "` + k + `"?`
	}
	return "; known are: " + strings.Join(known, ", ")
}

// secretName matches keys under which people write secrets.
var secretName = regexp.MustCompile(`(?i)(secret|token|passw|pwd|api_?key|access_?key|master_?key|private_?key|credential)`)

// clip shortens s for an error message.
func clip(s string) string {
	const longest = 60
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}
