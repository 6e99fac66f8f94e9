package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
)

func newTenantImport() *cobra.Command {
	var o admin.ImportOrder
	var asJSON bool
	c := &cobra.Command{Use: "import FILE.csv", Short: "Add tenants from a CSV list, with a result for each row", Args: oneArg("a file, or - for standard input"),
		Long: `import adds the tenants of a list. Its first row names the columns, which are the
keys of an entry of tenants.yaml: id and name must be there, customer, cloud, app,
region, regions, sources, state and start may. Values are separated by commas, or by
semicolons if the first row is; several sources or regions in one value by blanks or
semicolons. Each row is told by itself: added, exists, or refused and why. A tenant
that exists is not changed: drover tenant apply does that.

It exits with 1 if a row was refused.`,
		Example: "  drover tenant import customers.csv --dry-run",
		RunE: func(c *cobra.Command, args []string) error {
			name, text, err := readList(c, args[0])
			if err != nil {
				return err
			}
			rows, err := config.ParseTenantsCSV(name, text)
			if err != nil {
				return err
			}
			return withOperator(c, func(api admin.API) error {
				list, err := importTenants(c, api, o, rows)
				if asJSON {
					err = errors.Join(err, printJSON(c.OutOrStdout(), list))
				} else {
					err = errors.Join(err, printImported(c.OutOrStdout(), list, o.DryRun))
				}
				for _, r := range list {
					if err == nil && (r.What == admin.Refused || r.What == admin.Failed) {
						return errFinding
					}
				}
				return err
			})
		}}
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "only say what would be added")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// imported is what became of a row.
type imported struct {
	Line int `json:"line"`
	admin.TenantResult
}

// importTenants adds the rows that are right by themselves, and tells of all in
// their order. After an error it tells of those that were dealt with.
func importTenants(c *cobra.Command, api admin.API, o admin.ImportOrder, rows []config.TenantRow) ([]imported, error) {
	list := make([]imported, len(rows))
	var sent []int
	for i, r := range rows {
		list[i] = imported{r.Line, admin.TenantResult{Row: i, ID: drover.TenantID(r.ID), Name: r.Name}}
		if len(r.Faults) > 0 {
			list[i].What, list[i].Why = admin.Refused, r.Faults[0].Text
			continue
		}
		o.Tenants, sent = append(o.Tenants, wantedTenant(r.Tenant)), append(sent, i)
	}
	res, err := api.ImportTenants(c.Context(), o)
	for j, r := range res {
		r.Row = sent[j]
		list[sent[j]].TenantResult = r
	}
	if err != nil {
		for i := range list {
			if list[i].What == "" {
				list[i].What, list[i].Why = admin.Failed, "what became of it is not known; type the same again"
			}
		}
	}
	return list, err
}

func printImported(w io.Writer, list []imported, dry bool) error {
	count := make(map[string]int)
	for _, r := range list {
		count[r.What]++
		text := r.What
		if dry && r.What == admin.Added {
			text = "would be added"
		}
		if r.Why != "" {
			text += ": " + r.Why
		}
		if r.What == admin.Exists && len(r.Changes) > 0 {
			text += ", and differs; drover tenant apply would change it"
		}
		_, _ = fmt.Fprintf(w, "%s line %d: %s (%s) %s\n", marks[r.What], r.Line, clean(r.Name), clean(string(r.ID)), clean(text))
		printChanges(w, r.TenantResult)
	}
	head := ""
	if dry {
		head = "nothing was changed; would be: "
	}
	_, err := fmt.Fprintf(w, "%s%d added, %d exist, %d refused", head, count[admin.Added], count[admin.Exists], count[admin.Refused])
	if n := count[admin.Failed]; n > 0 {
		_, _ = fmt.Fprintf(w, ", %d failed", n)
	}
	_, _ = fmt.Fprintln(w)
	return err
}
