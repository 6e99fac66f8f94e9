package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"drover/internal/admin"
	"drover/internal/revision"
)

func newTenantVolume() *cobra.Command {
	var q admin.VolumeQuery
	var asJSON bool
	c := &cobra.Command{Use: "volume [NAME|ID…]", Short: "Count what each choice of revisions would have sent",
		Long: `volume counts, from the ledger, how many records of each tenant every sink would
have been given in the last days with each value of its key revisions: all,
no_touches, created or settled. What stands under "is" is the present one.

It reads the alerts of the period once; SINCE says when the first of them was
read. Alerts that the retention has thrown away are not counted.`,
		Example: "  drover tenant volume contoso --days 7",
		RunE: func(c *cobra.Command, args []string) error {
			q.Tenants = args
			return withOperator(c, func(api admin.API) error {
				list, err := api.Volume(c.Context(), q)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				return printVolume(c.OutOrStdout(), list)
			})
		}}
	c.Flags().IntVar(&q.Days, "days", 30, "how many days back")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printVolume(w io.Writer, list []admin.VolumeStatus) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no tenants; add one: drover tenant add TENANT-ID --name …")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "TENANT\tSINK\tIS\tALL\tNO_TOUCHES\tCREATED\tSETTLED\tSINCE")
	for _, v := range list {
		sink, is := string(v.Sink), v.Revisions
		if sink == "" {
			sink, is = "none", "-"
		} else if is == "" {
			is = revision.All
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\n", v.Name, sink, is, v.All, v.NoTouches, v.Created, v.Settled, short(v.Since))
	}
	return t.Flush()
}
