package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"drover/internal/admin"
	"drover/internal/ledger"
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
			return sayFindings(c.OutOrStdout(), list, asJSON)
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
			f.Says, f.Hint = err.Error(), admin.Hint(err)
		}
		list = append(list, f)
	}
	say("config", "right", nil)
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		return nil, err
	}
	opened := a.openLedger(c.Context())
	for _, name := range cfg.AppNames() {
		if app := cfg.Apps[name]; app.Certificate != nil && app.Certificate.Sealed && opened != nil {
			say("app "+name, "its key is sealed in the ledger, which is not open here; drover tenant check and drover status say how it stands", nil)
			continue
		}
		list = append(list, a.checkApp(cfg.Apps[name])...)
	}
	list = append(list, a.partner.check()...)
	switch err := opened; {
	case errors.Is(err, ledger.ErrLocked):
		say("ledger", "a running drover has it open, and the sinks with it; ask: drover status", nil)
		return list, nil
	case err != nil:
		say("ledger", "", err)
	default:
		say("ledger", "opens; settings are as they must be (WAL, synchronous FULL, one writer)", a.store.Ready(c.Context()))
		defer func() { err = errors.Join(err, a.closeLedger()) }()
		voices, err := a.voices(c.Context())
		if list = append(list, voices...); err != nil {
			say("alerts", "", err)
		}
	}
	dests, err := a.destinations()
	if err != nil {
		say("sinks", "", err)
	}
	for _, d := range dests {
		says, err := d.Sink.Check(c.Context())
		say("sink "+string(d.ID), says, err)
		for _, i := range a.receiverEnds(d.ID) {
			list = append(list, endFinding("sink "+string(d.ID), i))
		}
		_ = d.Sink.Close()
	}
	return list, nil
}
