package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
)

func newTenantExport() *cobra.Command {
	var file string
	c := &cobra.Command{Use: "export", Short: "Write all tenants as a tenants.yaml, without secrets", Args: noArgs,
		Long: `export writes every tenant that is not removed, by name, in the form that
drover tenant apply reads. No secret is in it, and the same tenants give the same
bytes.`,
		RunE: func(c *cobra.Command, _ []string) error {
			return withOperator(c, func(api admin.API) error {
				text, err := exportTenants(c.Context(), api)
				switch {
				case err != nil:
					return err
				case file == "" || file == "-":
					_, err = c.OutOrStdout().Write(text)
					return err
				}
				return replaceFile(file, text)
			})
		}}
	c.Flags().StringVarP(&file, "file", "f", "", "file to write (default: standard output)")
	return c
}

func exportTenants(ctx context.Context, api admin.API) ([]byte, error) {
	list, err := api.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	var out []config.Tenant
	for _, t := range list {
		if t.State == drover.Removed {
			continue
		}
		x := config.Tenant{ID: string(t.ID), Name: t.Name, Customer: string(t.Customer), Cloud: t.Cloud, App: t.App, Region: strings.ToLower(t.Region), Regions: t.Regions, State: string(t.State), Start: t.Start.String()}
		if x.Region == "" {
			x.Region = config.NoRegion
		}
		for _, s := range allSources { // in one order, whatever that in which they were given
			for _, has := range t.Sources {
				if has == s {
					x.Sources = append(x.Sources, s)
				}
			}
		}
		out = append(out, x)
	}
	return config.EncodeTenants(out), nil
}

// replaceFile writes a file whole or not at all.
func replaceFile(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".drover-*")
	if err != nil {
		return denied("write "+name, "name a file that this user may write", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return denied("write "+name, "name a file that this user may write", err)
	}
	return nil
}

// readList reads a list of tenants from a file, or standard input.
func readList(c *cobra.Command, file string) (name string, text []byte, err error) {
	const most = 16<<20 + 1 // config refuses what is larger than 16 MiB
	if file == "-" {
		text, err = io.ReadAll(io.LimitReader(c.InOrStdin(), most))
		return "standard input", text, err
	}
	f, err := os.Open(file)
	if err != nil {
		return file, nil, usageError{fmt.Errorf("read the list of tenants: %w", err)}
	}
	defer func() { _ = f.Close() }()
	text, err = io.ReadAll(io.LimitReader(f, most))
	return file, text, err
}

// wantedTenant is what a file says of a tenant.
func wantedTenant(t config.Tenant) admin.NewTenant {
	return admin.NewTenant{ID: t.ID, Name: t.Name, Customer: t.Customer, Cloud: t.Cloud, App: t.App, Region: t.Region, Regions: t.Regions, Sources: t.Sources, State: drover.TenantState(t.State), Start: t.Start}
}

func newTenantApply() *cobra.Command {
	var file string
	var o admin.ApplyOrder
	var yes, asJSON bool
	c := &cobra.Command{Use: "apply -f FILE", Short: "Make the tenants what a tenants.yaml says", Args: noArgs,
		Long: `apply adds the tenants of a file that are not there and changes those that differ.
It is strict: if anything in the file is wrong, everything that is wrong is named
with its line, and nothing is changed. Each tenant is one transaction. What a
tenant leaves out stays as it is.

A tenant that is not in the file is left alone, unless --prune is given: then it is
removed as by drover tenant remove, once its sinks have taken what they are owed;
until then it is paused.`,
		Example: "  drover tenant export -f tenants.yaml\n  drover tenant apply -f tenants.yaml --dry-run\n  drover tenant apply -f tenants.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case file == "":
				return usageError{errors.New("name the file: -f tenants.yaml, or -f - for standard input")}
			case o.Prune && !yes && !o.DryRun:
				return usageError{&drover.Error{Op: "apply tenants", Kind: drover.Refused, Err: errors.New("what --prune removes cannot be read again"), Hint: "look with --dry-run first; if that is meant, add --yes"}}
			}
			name, text, err := readList(c, file)
			if err != nil {
				return err
			}
			list, err := config.ParseTenants(name, text)
			if err != nil {
				return err
			}
			for _, t := range list.List {
				o.Tenants = append(o.Tenants, wantedTenant(t))
			}
			return withOperator(c, func(api admin.API) error { return applyTenants(c, api, o, list, asJSON) })
		}}
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "", "the tenants.yaml, or - for standard input")
	f.BoolVar(&o.DryRun, "dry-run", false, "only say what would be changed")
	f.BoolVar(&o.Prune, "prune", false, "remove tenants that are not in the file")
	f.BoolVar(&yes, "yes", false, "do remove them")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func applyTenants(c *cobra.Command, api admin.API, o admin.ApplyOrder, list *config.Tenants, asJSON bool) error {
	res, err := api.ApplyTenants(c.Context(), o)
	if err != nil && len(res.Tenants) == 0 {
		return err
	}
	if len(res.Wrong) > 0 {
		var faults []config.Fault
		for _, w := range res.Wrong {
			faults = append(faults, list.Fault(w.Row, w.Key, w.Error()))
		}
		return config.FaultList(faults)
	}
	if asJSON {
		err = errors.Join(err, printJSON(c.OutOrStdout(), res))
	} else {
		err = errors.Join(err, printApplied(c.OutOrStdout(), res.Tenants, o.DryRun))
	}
	var failed, leaving int
	for _, r := range res.Tenants {
		switch r.What {
		case admin.Failed:
			failed++
		case admin.Leaving:
			leaving++
		}
	}
	switch {
	case err != nil:
		return err
	case failed > 0:
		return errFinding
	case leaving > 0:
		return &drover.Error{Op: "apply tenants", Kind: drover.Transient, Err: fmt.Errorf("%d tenants are paused and not removed: sinks have still to take some of them", leaving),
			Hint: "let drover run deliver it and type the same again, or throw it away: drover tenant remove NAME --yes --discard"}
	}
	return nil
}

// marks begin the line of a result, as in a diff.
var marks = map[string]string{admin.Added: "+", admin.Changed: "~", admin.Surplus: " ", admin.Removed: "-", admin.Leaving: "-", admin.Failed: "!", admin.Exists: "=", admin.Refused: "!"}

// printApplied shows what differs, and counts.
func printApplied(w io.Writer, list []admin.TenantResult, dry bool) error {
	count, would := make(map[string]int), ""
	if dry {
		would = "would be "
	}
	words := map[string]string{admin.Added: would + "added", admin.Changed: would + "changed", admin.Removed: would + "removed, its key destroyed", admin.Failed: "failed",
		admin.Surplus: "not in the file; would be removed with --prune", admin.Leaving: "paused, and not removed yet: sinks have still to take "}
	for _, r := range list {
		count[r.What]++
		if r.What == admin.Unchanged {
			continue
		}
		text := words[r.What] + owedIn(r.Owed)
		if r.Why != "" {
			text += ": " + r.Why
		}
		_, _ = fmt.Fprintf(w, "%s %s (%s) %s\n", marks[r.What], clean(r.Name), clean(string(r.ID)), clean(text))
		printChanges(w, r)
	}
	head := ""
	if dry {
		head = "nothing was changed; would be: "
	}
	_, err := fmt.Fprintf(w, "%s%d added, %d changed, %d unchanged, %d removed, %d not in the file", head, count[admin.Added], count[admin.Changed], count[admin.Unchanged], count[admin.Removed], count[admin.Surplus])
	for _, what := range []string{admin.Leaving, admin.Failed} {
		if n := count[what]; n > 0 {
			_, _ = fmt.Fprintf(w, ", %d %s", n, what)
		}
	}
	_, _ = fmt.Fprintln(w)
	return err
}

// printChanges shows members of a tenant that become others, and what follows.
func printChanges(w io.Writer, r admin.TenantResult) {
	for _, m := range r.Changes {
		_, _ = fmt.Fprintf(w, "    %s: %s → %s\n", m.Member, clean(m.Old), clean(m.New))
	}
	for _, n := range r.Notes {
		_, _ = fmt.Fprintf(w, "    note: %s\n", clean(n))
	}
}
