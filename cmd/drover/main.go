// Command drover brings Microsoft Defender alerts from many customer tenants
// to the SIEM of the security provider that watches them. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/ledger"
)

// Exit codes, documented in docs/cli.md.
const (
	exitOK       = 0
	exitFinding  = 1  // it ran, and found something wrong
	exitUsage    = 2  // the command line or the config
	exitUnsure   = 3  // it cannot tell
	exitDenied   = 4  // Microsoft or a sink refuses; somebody must act
	exitPassing  = 5  // it may work later
	exitLedger   = 6  // the ledger is in use, elsewhere, or full
	exitBroken   = 70 // a promise of drover's own is broken
	exitStopped  = 130
	exitCodeHelp = `exit codes:
  0    done, and nothing is wrong
  1    done, and something is wrong (what it is was printed)
  2    the command line or the config is wrong
  3    it could not be told whether something is wrong
  4    Microsoft or a sink refuses; somebody must act (see the hint)
  5    it did not work now and may work later
  6    the ledger is in use, at home elsewhere, or full
  70   a promise of drover's own is broken; see the message
  130  stopped from outside`
)

// usageError is what a person typed.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// finding ends a command that worked and found something wrong, which it has
// printed already.
var errFinding = errors.New("something is wrong")

// errUnsure ends a command that could not tell whether something is wrong, and
// has printed why.
var errUnsure = errors.New("it could not be told whether something is wrong")

// unsureError is why a command could not tell.
type unsureError struct{ error }

func (e unsureError) Unwrap() error { return e.error }

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run runs one command and returns its exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // a write tells it, to the one who must know
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	return report(ctx, stderr, err)
}

// report prints an error with the way out, and returns the exit code.
func report(ctx context.Context, w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errFinding) {
		return exitFinding
	}
	if errors.Is(err, errUnsure) {
		return exitUnsure
	}
	if errors.Is(err, errRefused) {
		return exitDenied
	}
	if errors.Is(err, errPassing) {
		return exitPassing
	}
	if faults := config.IsFaults(err); faults != nil {
		for _, f := range faults {
			_, _ = fmt.Fprintf(w, "drover: %v\n", f)
		}
		return exitUsage
	}
	_, _ = fmt.Fprintf(w, "drover: %s\n", clean(err.Error()))
	if hint := admin.Hint(err); hint != "" {
		_, _ = fmt.Fprintf(w, "hint: %s\n", clean(hint))
	}
	if ctx.Err() != nil && !errors.Is(err, ledger.ErrLocked) {
		return exitStopped
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var usage usageError
	var unsure unsureError
	if errors.As(err, &unsure) {
		return exitUnsure
	}
	for _, e := range []error{ledger.ErrLocked, ledger.ErrElsewhere, ledger.ErrFull} {
		if errors.Is(err, e) {
			return exitLedger
		}
	}
	var de *drover.Error
	if !errors.As(err, &de) {
		if errors.As(err, &usage) {
			return exitUsage
		}
		return exitUsage
	}
	switch de.Kind {
	case drover.Broken:
		return exitBroken
	case drover.Denied:
		return exitDenied
	case drover.Refused:
		return exitUsage
	}
	return exitPassing
}

// clean keeps control characters of whatever origin off the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '�'
		}
		return r
	}, s)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "drover",
		Short: "Brings Microsoft Defender alerts from many tenants to your SIEM",
		Long: `drover fetches every Microsoft Defender alert, and every change to it, from
every customer's tenant, and brings each to your SIEM: none lost, none twice,
none to the wrong place.

  drover demo             see all of it work, without any account
  drover app create       register the application with which you read
  drover tenant connect   connect a customer; with a link: drover tenant invite;
                          all customers of a partner: drover partner connect
  drover run              read all tenants and deliver to all sinks, for ever
  drover fetch            one tenant's alerts to standard output

` + exitCodeHelp,
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see: %s --help", err, c.CommandPath())}
	})
	root.PersistentFlags().StringP("config", "c", defaultConfig(), "config file")
	root.AddCommand(newRun(), newFetch(), newTenant(), newStatus(), newCheck(), newDemo(), newBench(), newLab(), newConfig(), newLedger(), newVersion(), newGap(), newAudit(), newAlerts(), newManifest(), newBackfill(), newSIEMConfig(), newAppCommand(), newVault(), newRevoke(), newAADSTS(), newInvitation(), newConsent(), newPartner())
	return root
}

// defaultConfig is where the config is looked for.
func defaultConfig() string {
	if p := os.Getenv("DROVER_CONFIG"); p != "" {
		return p
	}
	return "drover.yaml"
}

// noArgs refuses arguments in words.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument; see: %s --help", c.CommandPath(), c.CommandPath())}
	}
	return nil
}

// oneArg wants exactly one argument.
func oneArg(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s wants %s; see: %s --help", c.CommandPath(), what, c.CommandPath())}
		}
		return nil
	}
}
