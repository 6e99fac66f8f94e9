package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
)

type ctxType = context.Context

// version is set when the binary is built by make.
var version = "development"

func newVersion() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		v := map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					v["commit"] = s.Value
				}
			}
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), v)
		}
		_, err := fmt.Fprintf(c.OutOrStdout(), "drover %s %s (%s, %s)\n", v["version"], v["commit"], v["go"], v["platform"])
		return err
	}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newConfig() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Work on the config file", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(&cobra.Command{Use: "check", Short: "Check the config file and say what is wrong with it, line by line", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		cfg, err := load(c)
		if err != nil {
			return err
		}
		for _, w := range cfg.Warnings() {
			if _, err := fmt.Fprintf(c.ErrOrStderr(), "warning: %v\n", w); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), "the config is right")
		return err
	}})
	return c
}

func newCheck() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "check", Short: "Check sinks, key and settings, and say what is promised where", Args: noArgs,
		Long: `check reads the config, opens the master key and the ledger, and asks every sink
whether it can be used now. For each sink it says what "delivered" means there.`,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := check(c)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(c.OutOrStdout(), list)
			} else {
				err = printFindings(c.OutOrStdout(), list)
			}
			for _, f := range list {
				if !f.OK && err == nil {
					err = errFinding
				}
			}
			return err
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func check(c *cobra.Command) (list []admin.Finding, err error) {
	cfg, err := load(c)
	if err != nil {
		return nil, err
	}
	say := func(what, says string, err error) {
		f := admin.Finding{What: what, OK: err == nil, Says: says}
		if err != nil {
			f.Says, f.Hint = err.Error(), drover.HintOf(err)
		}
		list = append(list, f)
	}
	say("config", "right", nil)
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		return nil, err
	}
	for name, app := range a.apps() {
		var err error
		switch {
		case app.Secret != nil:
			_, err = app.Secret()
		case app.Certificate != nil:
			_, err = app.Certificate()
		}
		say("app "+name, "its credential can be read", err)
	}
	switch err := a.openLedger(c.Context()); {
	case errors.Is(err, ledger.ErrLocked):
		say("ledger", "a running drover has it open, and the sinks with it; ask: drover status", nil)
		return list, nil
	case err != nil:
		say("ledger", "", err)
	default:
		say("ledger", "opens; settings are as they must be (WAL, synchronous FULL, one writer)", a.store.Ready(c.Context()))
		defer func() { err = errors.Join(err, a.store.Close()) }()
	}
	dests, err := a.destinations()
	if err != nil {
		say("sinks", "", err)
	}
	for _, d := range dests {
		says, err := d.Sink.Check(c.Context())
		say("sink "+string(d.ID), says, err)
		_ = d.Sink.Close()
	}
	return list, nil
}

func newLedger() *cobra.Command {
	c := &cobra.Command{Use: "ledger", Short: "Check, adopt and export the ledger", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	adopt := &cobra.Command{Use: "adopt", Short: "Make a ledger that was moved or copied here at home here", Args: noArgs,
		Long: `adopt gives a ledger that was last used on another machine or path a new
incarnation, so that nothing outside is compared with its old sequence numbers.
Make sure that nothing runs on the old one any more.`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load(c)
			if err != nil {
				return err
			}
			a := &app{cfg: cfg}
			v, err := openVault(cfg)
			if err != nil {
				return err
			}
			if err := sqlite.Adopt(c.Context(), a.ledgerOptions(v)); err != nil {
				return hintLedger(cfg, err)
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "the ledger is at home here, under a new incarnation")
			return err
		}}
	export := &cobra.Command{Use: "export", Short: "Print what the ledger holds, without bodies, as NDJSON", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		return withStore(c, func(a *app) error { return ledger.Export(c.Context(), a.store, a.cfg.SinkIDs(), c.OutOrStdout()) })
	}}
	chk := &cobra.Command{Use: "check", Short: "Read the whole ledger and name what is damaged", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		return withStore(c, func(a *app) error {
			found, err := a.store.Check(c.Context())
			for _, f := range found {
				if _, werr := fmt.Fprintln(c.OutOrStdout(), clean(f)); werr != nil {
					return werr
				}
			}
			if err == nil && len(found) > 0 {
				return errFinding
			}
			if err == nil {
				_, err = fmt.Fprintln(c.OutOrStdout(), "the ledger is sound")
			}
			return err
		})
	}}
	c.AddCommand(adopt, export, chk)
	return c
}

// withStore runs f with the ledger open in this process.
func withStore(c *cobra.Command, f func(*app) error) error {
	cfg, err := load(c)
	if err != nil {
		return err
	}
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		return err
	}
	if err := a.openLedger(c.Context()); err != nil {
		return err
	}
	return errors.Join(f(a), a.store.Close())
}
