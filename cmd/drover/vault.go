package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"drover/internal/admin"
	"drover/internal/keyvault"
	"drover/internal/vault"
)

func newVault() *cobra.Command {
	c := &cobra.Command{Use: "vault", Short: "The master key: make it, check what it seals, let another follow it", Args: noArgs,
		Long: `The master key seals what a stolen ledger must not show: customers' refresh
tokens, and the data keys that seal alert bodies. It is kept in the one place that
the config names under vault: a file, an environment variable, a systemd
credential, the system's keyring, or a file that a key in Azure Key Vault wraps.

  drover vault check     does everything that is sealed open?
  drover vault rotate    let a new master key follow the one in use`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(newVaultCreate(), newVaultCheck(), newVaultRotate(), newVaultShow())
	return c
}

func newVaultCreate() *cobra.Command {
	var more bool
	c := &cobra.Command{Use: "create [FILE]", Short: "Make a master key where the config keeps it, or in a file", Args: cobra.MaximumNArgs(1),
		Long: `create makes the first master key in the place that the config names under vault.
drover run does the same for a new ledger; create lets you back the key up before.
With FILE the key is written into that file, to be handed to whatever keeps it: a
systemd credential, for example. A key that is there is never replaced.

--append puts a new key behind those of FILE. It is for keys that drover only reads:
start drover with both, type drover vault rotate, then take the old line away.`,
		Example: "  drover vault create\n  drover vault create /etc/drover/master.key\n  drover vault create --append /etc/drover/master.key",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				if more {
					return usageError{errors.New("--append wants the file")}
				}
				a, err := loadApp(c)
				if err != nil {
					return err
				}
				if err := a.createKey(c.Context()); err != nil {
					return err
				}
				v, err := a.readKey(c.Context())
				if err != nil {
					return err
				}
				return sayCreated(c.OutOrStdout(), v, a.keys.String())
			}
			make := vault.Create
			if more {
				make = vault.Append
			}
			if err := make(args[0]); err != nil {
				return denied("make a master key", "name another file, or use --append to put a key behind those that are there", err)
			}
			v, err := vault.Open(vault.Source{File: args[0]})
			if err != nil {
				return err
			}
			return sayCreated(c.OutOrStdout(), v, args[0])
		}}
	c.Flags().BoolVar(&more, "append", false, "put the new key behind those of FILE")
	return c
}

func sayCreated(w io.Writer, v *vault.Vault, where string) error {
	_, err := fmt.Fprintf(w, "the master key %s is in %s\nkeep a copy apart from the ledger: without it nothing in the ledger can be read, by anybody\n", v.KeyID(), clean(where))
	return err
}

func newVaultCheck() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "check", Short: "Read the master key anew and open everything that it seals", Args: noArgs,
		Long: `check reads the master key from where it is kept, as the next start would, and
opens every data key and every credential of the ledger. It says which key has
sealed what, and warns when something is still sealed with an older key, when the
key lies beside the ledger, and when Key Vault has a newer version of its key.
It changes nothing, and works beside a running drover. Exit code 1: something does
not open, or the next start would find no key.`,
		RunE: func(c *cobra.Command, _ []string) error {
			return withOperator(c, func(api admin.API) error {
				list, err := api.CheckVault(c.Context())
				if err != nil {
					return err
				}
				return sayFindings(c.OutOrStdout(), list, asJSON)
			})
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newVaultRotate() *cobra.Command {
	var keepOld, asJSON bool
	c := &cobra.Command{Use: "rotate", Short: "Let a new master key follow the one in use", Args: noArgs,
		Long: `rotate makes a new master key beside the old one, seals anew what the old one has
sealed (every tenant's data key, and the MSSP's own credentials), and then takes
the old key away: from then on it opens nothing. Bodies and tenants' credentials
are sealed with the data keys, which stay, so it takes seconds.

It may be stopped or killed at any moment: both keys can be read until nothing
needs the old one, and rotate typed again goes on. It works beside a running
drover, which does it itself, and without one.

Where drover only reads the key (systemd credential, environment, a mounted
secret), put a second key behind the first there (drover vault create --append),
start drover with both, and type drover vault rotate; then take the old one away.

A copy of the ledger that was made before needs the old key: keep one for as long
as the copy. With --keep-old the old key stays where the keys are kept, which is
for a key that another ledger uses too: rotate there as well, the last time without
it. After a theft of the old key together with a ledger the data keys are known to
the thief: see drover revoke.`,
		RunE: func(c *cobra.Command, _ []string) error {
			return withOperator(c, func(api admin.API) error {
				r, err := api.RotateVault(c.Context(), keepOld)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), r)
				}
				return sayRotated(c.OutOrStdout(), r)
			})
		}}
	c.Flags().BoolVar(&keepOld, "keep-old", false, "leave the old key where the keys are kept: another ledger uses it")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func sayRotated(w io.Writer, r admin.KeyRotation) error {
	var b strings.Builder
	old := strings.Join(r.Old, ", ")
	fmt.Fprintf(&b, "the master key %s follows %s in %s; seals made anew: %d\n", r.New, old, r.Place, r.Seals)
	if r.Resumed {
		b.WriteString("the new key was there already; for yet another one type it again\n")
	}
	switch {
	case r.WhyKept != "":
		fmt.Fprintf(&b, "the old key is needed no more; take it away: %s\n", r.WhyKept)
		for _, id := range r.Old {
			fmt.Fprintf(&b, "  its line begins with drover-key-1:%s\n", id)
		}
	case r.OldKept:
		b.WriteString("the old key stays there; the next drover vault rotate takes it away\n")
	default:
		b.WriteString("the old key is gone from there, and opens nothing here any more\n")
	}
	b.WriteString("keep a copy of the new key apart from the ledger, and one of the old for as long as you keep copies of the ledger from before\n")
	_, err := io.WriteString(w, clean(b.String()))
	return err
}

// keyShown is a master key as vault show tells of it.
type keyShown struct {
	ID      string `json:"id"`
	Seals   bool   `json:"seals"`                       // what is new is sealed with it
	Version string `json:"key_vault_version,omitempty"` // of the key that wraps it
}

// vaultShown is what vault show tells.
type vaultShown struct {
	Place    string     `json:"place"`
	ReadOnly string     `json:"read_only,omitempty"` // why only a person can write there
	Keys     []keyShown `json:"keys"`
}

func newVaultShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "show", Short: "Say where the master keys are and what they are called", Args: noArgs,
		Long: `show reads the master key and prints its place and ID, and for Azure Key Vault
the version of the key that wraps it. It prints no key and needs no ledger.`,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := loadApp(c)
			if err != nil {
				return err
			}
			v, err := a.readKey(c.Context())
			if err != nil {
				return err
			}
			out := vaultShown{Place: a.keys.String(), ReadOnly: a.keys.ReadOnly()}
			versions := make(map[string]string)
			if k, ok := a.keys.(*keyvault.Keeper); ok {
				list, err := k.Wrappings()
				if err != nil {
					return err
				}
				for _, w := range list {
					versions[w.ID] = w.Version
				}
			}
			for _, id := range v.KeyIDs() {
				out.Keys = append(out.Keys, keyShown{ID: id, Seals: id == v.KeyID(), Version: versions[id]})
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), out)
			}
			var b strings.Builder
			fmt.Fprintf(&b, "%s\n", out.Place)
			for _, k := range out.Keys {
				fmt.Fprintf(&b, "  %s", k.ID)
				if k.Seals {
					b.WriteString("  seals")
				} else {
					b.WriteString("  opens only")
				}
				if k.Version != "" {
					fmt.Fprintf(&b, "  wrapped by version %s", k.Version)
				}
				b.WriteString("\n")
			}
			_, err = io.WriteString(c.OutOrStdout(), clean(b.String()))
			return err
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// openToOthers says that others may look into the ledger's directory.
func openToOthers(dir string) string {
	if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o077 != 0 {
		return "others can look into " + dir
	}
	return ""
}
