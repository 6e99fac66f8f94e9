package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"drover/internal/entra"
)

// explained is what a code, or an error word, means.
type explained struct {
	Code  int         `json:"code,omitempty"`
	Word  string      `json:"word,omitempty"`
	Known bool        `json:"known"`
	Class entra.Class `json:"class,omitempty"`
	Kind  string      `json:"kind,omitempty"`
	Scope string      `json:"scope,omitempty"` // app, or tenant
	Who   entra.Who   `json:"who_acts,omitempty"`
	Why   string      `json:"cause"`
	Do    string      `json:"remedy,omitempty"`
}

func newAADSTS() *cobra.Command {
	var asJSON, all bool
	c := &cobra.Command{
		Use: "aadsts CODE|TEXT…", Short: "What an AADSTS code of Entra means, what to do, and who must",
		Long: `aadsts looks up what Entra answered: a number, AADSTS and a number, an error word
such as invalid_grant, or a whole error message, also from standard input (-). Of a
message only its codes and error words are looked at. It asks nobody.

It exits with 3 when a code is in no table of drover's.`,
		Example: "  drover aadsts 53003\n  drover aadsts AADSTS700016 --json\n  pbpaste | drover aadsts -",
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usageError{errors.New("name a code or paste the message, or say --all; see: drover aadsts --help")}
			}
			var list []explained
			if all {
				for _, code := range entra.Codes() {
					list = append(list, explainCode(code))
				}
			} else {
				text := strings.Join(args, " ")
				if text == "-" {
					b, err := io.ReadAll(io.LimitReader(c.InOrStdin(), maxExplained))
					if err != nil {
						return err
					}
					text = string(b)
				}
				if list = explainText(text); len(list) == 0 {
					return usageError{errors.New("there is no AADSTS code in it; write a number such as 53003")}
				}
			}
			show := printExplained
			switch {
			case asJSON:
				show = func(w io.Writer, list []explained) error { return printJSON(w, list) }
			case all:
				show = printCodes
			}
			if err := show(c.OutOrStdout(), list); err != nil {
				return err
			}
			if slices.ContainsFunc(list, func(e explained) bool { return !e.Known }) {
				return errUnsure
			}
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all codes that drover knows")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// maxExplained bounds a message that is read, in bytes.
const maxExplained = 256 << 10

var (
	aCode = regexp.MustCompile(`(?i)\bAADSTS(\d{3,9})\b`)
	// listed are error_codes of a JSON answer.
	listed    = regexp.MustCompile(`"error_codes"\s*:\s*\[([\d\s,"]*)\]`)
	bareCode  = regexp.MustCompile(`\b\d{5,9}\b`)
	errorWord = regexp.MustCompile(`\b[a-z]+(?:_[a-z]+)+\b`)
)

// explainText finds codes in a text: those that say AADSTS or stand in a list of
// codes, else bare numbers, else error words.
func explainText(text string) (list []explained) {
	var codes []string
	for _, m := range aCode.FindAllStringSubmatch(text, -1) {
		codes = append(codes, m[1])
	}
	for _, m := range listed.FindAllStringSubmatch(text, -1) {
		codes = append(codes, bareCode.FindAllString(m[1], -1)...)
	}
	if codes == nil {
		codes = bareCode.FindAllString(text, -1)
	}
	seen := make(map[int]bool)
	for _, c := range codes {
		n, err := strconv.Atoi(c)
		if err != nil || seen[n] {
			continue
		}
		seen[n] = true
		list = append(list, explainCode(n))
	}
	// A vague code stands before the one that says more.
	slices.SortStableFunc(list, func(a, b explained) int { return rank(a) - rank(b) })
	if list != nil {
		return list
	}
	for _, w := range errorWord.FindAllString(text, -1) {
		if r, ok := entra.ByWord(w); ok && !slices.ContainsFunc(list, func(e explained) bool { return e.Word == w }) {
			e := explainRemedy(r)
			e.Word = w
			list = append(list, e)
		}
	}
	return list
}

func rank(e explained) int {
	switch {
	case !e.Known:
		return 2
	case entra.Vague(e.Code):
		return 1
	}
	return 0
}

func explainCode(code int) explained {
	r, ok := entra.Explain(code)
	if !ok {
		return explained{Code: code, Why: "drover does not know it", Do: "look it up at https://login.microsoftonline.com/error?code=" + strconv.Itoa(code)}
	}
	e := explainRemedy(r)
	e.Code = code
	return e
}

func explainRemedy(r entra.Remedy) explained {
	e := explained{Known: true, Class: r.Class, Kind: r.Kind.String(), Scope: "tenant", Who: r.Who, Why: r.Why, Do: r.Do}
	if r.App {
		e.Scope = "app"
	}
	return e
}

// printExplained prints one after another, for a person.
func printExplained(w io.Writer, list []explained) error {
	for i, e := range list {
		name := e.Word
		if e.Code != 0 {
			name = "AADSTS" + strconv.Itoa(e.Code)
		}
		rows := [][2]string{{name, e.Why}, {"do", e.Do}, {"who", string(e.Who)}, {"class", strings.TrimSpace(string(e.Class) + ", " + e.Kind)}}
		if e.Known {
			rows = append(rows, [2]string{"concerns", map[string]string{"app": "the app registration, so every tenant of it", "tenant": "this tenant"}[e.Scope]})
		}
		if i > 0 {
			_, _ = fmt.Fprintln(w)
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, r := range rows {
			if r[1] != "" && r[1] != "," {
				_, _ = fmt.Fprintf(t, "%s\t%s\n", r[0], r[1])
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// printCodes prints a line for each.
func printCodes(w io.Writer, list []explained) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "CODE\tCLASS\tWHO\tMEANS")
	for _, e := range list {
		_, _ = fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", e.Code, e.Class, e.Who, e.Why)
	}
	return t.Flush()
}
