package main

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/entra"
	"drover/internal/registration"
)

func newAppManual() *cobra.Command {
	var o appOptions
	var p permissionFlags
	var m modelFlags
	var credential, clientID string
	c := &cobra.Command{Use: "manual [NAME]", Short: "Print the portal's steps, for those who may not use Graph",
		Long: `manual prints what app create would do as steps of the Entra admin center, with
the values filled in. It needs no network and no account. With --client-id, the
application ID that the portal shows in step 1, the links and the lines of the
config are complete.`,
		Example: "  drover app manual --home mssp.example\n  drover app manual contoso --customer Contoso --client-id 9d2e4b70-1111-4c2b-9a55-77aa88bb99cc",
		RunE: func(c *cobra.Command, args []string) error {
			a, err := o.begin(c, args)
			if err != nil {
				return err
			}
			perms, err := p.list()
			if err != nil {
				return err
			}
			if credential != "certificate" && credential != "secret" {
				return usageError{fmt.Errorf("--credential is certificate or secret, not %q", credential)}
			}
			if clientID != "" && !drover.IsGUID([]byte(clientID)) {
				return usageError{fmt.Errorf("%q is no application ID", clientID)}
			}
			m.withPage(a.cfg)
			files, err := o.files(c, a.cfg)
			if err != nil {
				return err
			}
			printManual(c.OutOrStdout(), manual{o: o, m: m, perms: perms, credential: credential, appID: cmp.Or(clientID, a.cfg.Apps[o.name].ClientID, "APPLICATION-ID"), files: files, cloud: a.clouds[o.cloud]})
			return nil
		}}
	o.flags(c)
	for _, unused := range []string{"sign-in-with", "browser", "device", "no-open"} {
		_ = c.Flags().MarkHidden(unused)
	}
	p.flags(c)
	m.flags(c)
	c.Flags().StringVar(&credential, "credential", "certificate", "how the app proves itself: certificate or secret")
	c.Flags().StringVar(&clientID, "client-id", "", "application ID, as the portal shows it after step 1")
	return c
}

// manual is what the steps are filled in with.
type manual struct {
	o          appOptions
	m          modelFlags
	perms      []registration.Permission
	credential string
	appID      string
	files      appFiles
	cloud      entra.Cloud
}

// printManual prints the steps of today's portal. The vendor's page had a
// single-tenant app and a redirect URI that its own script does not send: both
// are refused (reference mssp-onboarding §2).
func printManual(w io.Writer, m manual) {
	name, n := m.m.displayName(m.o.home), 0
	step := func(title string, lines ...string) {
		n++
		say(w, "%d. %s", n, title)
		for _, l := range lines {
			say(w, "     %s", l)
		}
	}
	until := time.Now().AddDate(0, 0, usualDays)
	say(w, "Register %q in the MSSP's own tenant%s.\n", name, map[bool]string{true: " (" + m.o.home + ")", false: ""}[m.o.home != ""])
	step("Open "+m.cloud.AdminCenter+" as Application Administrator, Cloud Application Administrator or Application Developer.",
		"Entra ID > App registrations > New registration",
		"Name:                     "+name,
		"Supported account types:  Accounts in any organizational directory (Multitenant); newer: Multiple Entra ID tenants, Allow all tenants",
		"                          not the single tenant: no customer's tenant knows such an app (AADSTS700016)",
		"Redirect URI:             Web, "+first(m.m.redirects),
		"Register, then copy from Overview: Application (client) ID")
	if len(m.m.redirects) > 1 {
		step("Authentication > Add redirect URI, platform Web, each exactly so:", m.m.redirects[1:]...)
	}
	var lines []string
	for _, p := range m.perms {
		where := "Microsoft APIs > Microsoft Graph"
		switch p.API {
		case registration.Defender:
			where = "APIs my organization uses > WindowsDefenderATP"
		case registration.OldGraph:
			where = "APIs my organization uses > Windows Azure Active Directory"
		}
		kind := " > Application permissions > "
		if p.Scope {
			kind = " > Delegated permissions > "
		}
		lines = append(lines, where+kind+p.Value)
	}
	lines = append(lines, "and no other; the delegated User.Read of Microsoft Graph that is there already may be removed")
	step("API permissions > Add a permission:", lines...)
	switch m.credential {
	case "certificate":
		step("Make a key and a certificate on the machine that runs drover:",
			"mkdir -p -m 700 "+quote(filepath.Dir(m.files.key)),
			fmt.Sprintf("(umask 077; openssl req -x509 -newkey rsa:%d -nodes -days %d -subj %s -keyout %s -out %s)", keyBits, usualDays, quote("/CN="+strings.ReplaceAll(name, "/", " ")), quote(m.files.key), quote(m.files.cert)),
			"Certificates & secrets > Certificates > Upload certificate: "+m.files.cert,
			"never the .key file: it stays on that machine")
	default:
		step("Certificates & secrets > Client secrets > New client secret",
			"Description: drover; Expires: 365 days (12 months)",
			"copy the Value, not the Secret ID; it is shown once",
			"(umask 077; mkdir -p "+quote(filepath.Dir(m.files.secret))+"; cat > "+quote(m.files.secret)+")   paste it, Return, Ctrl-D")
	}
	step("Owners: only who must be able to change the app; each can add a credential and so read every customer.")
	step("Each customer's Privileged Role Administrator opens, signs in and accepts (their tenant ID in it):", consentLink(m.cloud, m.appID, m.m.redirects))
	step("Add to drover.yaml:", strings.Split(appLines(m.o.name, m.appID, m.o.cloud, m.credential, filePairs{m.files.cert, m.files.key}, m.files, until), "\n")...)
	step("See that it works, for each customer:",
		"drover tenant add CUSTOMER-TENANT-ID --name CUSTOMER --app "+m.o.name,
		"drover tenant check CUSTOMER")
}

func first(list []string) string {
	if len(list) == 0 {
		return "(none)"
	}
	return list[0]
}

// quote is a word for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
