// Command citest runs the project's checks and says what they cost and what
// they showed: a table of parts with seconds and budget, a table of proofs
// (proofs.txt), and a last line "N passed, M failed, K skipped". It needs Go
// and nothing else; what a machine lacks is named, not passed over.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// commands are what "make" calls.
var commands = map[string]struct {
	what string
	run  func(context.Context, *session) error
}{
	"test":      {"everything: build, lint, tests, rigs", everything},
	"lint":      {"lint alone", func(ctx context.Context, s *session) error { s.part(ctx, lintPart()); return nil }},
	"proofs":    {"the tests that proofs.txt names, and their figures", proofsOnly},
	"fuzz":      {"every fuzz target for 10 s; a time or a count (10000000x) and a pattern of names may follow", fuzzAll},
	"soak":      {"the long tests", func(ctx context.Context, s *session) error { return tagged(ctx, s, "soak") }},
	"receivers": {"the tests against real receivers", func(ctx context.Context, s *session) error { return module(ctx, s, receiversPart(true)) }},
	"browser":   {"the pages of drover in a real browser", func(ctx context.Context, s *session) error { return module(ctx, s, browserPart(true)) }},
	"clients":   {"Microsoft's client libraries against the pretend cloud", func(ctx context.Context, s *session) error { return module(ctx, s, clientsPart(true)) }},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 || commands[os.Args[1]].run == nil || len(os.Args) > 2 && os.Args[1] != "fuzz" || len(os.Args) > 4 {
		fmt.Fprintln(os.Stderr, "usage: go run ./internal/tools/citest "+strings.Join(names(), "|")+"\n       go run ./internal/tools/citest fuzz [time or count [pattern]]")
		os.Exit(2)
	}
	s, err := newSession()
	if err == nil {
		err = os.Setenv("CGO_ENABLED", "0") // as the binary is built; so all that is compiled is compiled once
	}
	if err == nil {
		err = commands[os.Args[1]].run(ctx, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "citest:", err)
		os.Exit(1)
	}
	if !s.report() {
		os.Exit(1)
	}
}

func names() []string {
	var all []string
	for n := range commands {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}
