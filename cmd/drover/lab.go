package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"drover/internal/lab"
	"drover/internal/lab/api"
	"drover/internal/lab/estate"
	"drover/internal/lab/splunk"
)

func newLab() *cobra.Command {
	var (
		listen, dir, data string
		identity          string
		partner           bool
		customers         int
		backlog           int
		rate              float64
		seed              uint64
	)
	c := &cobra.Command{
		Use: "lab", Short: "Serve a pretend Microsoft cloud, for anyone's client",
		Long: `lab serves, on one loopback address and over TLS, what an MSSP meets: an Entra
authority for each pretend customer, Graph's security/alerts_v2 and incidents,
the alerts of Defender for Endpoint's own API, the SIEM detections API, and a
Splunk event collector. It writes its CA, the app's credentials and a fitting
drover.yaml into a directory, and a log of everything that it truly showed. That
drover.yaml has a page for invitations on https://localhost:8444. Consents, the
portal's MSSP list and what sign-ins do can be changed while it runs. See
docs/lab.md, docs/lab-entra.md, docs/lab-partner.md and docs/lab-keyvault.md.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rows, err := readData(data)
			if err != nil {
				return err
			}
			s, err := newStage(stageOptions{dir: dir, listen: listen, page: "localhost:8444", seed: seed, customers: customers, data: rows, partner: partner, switches: api.Documented(), story: func(i int) estate.Options {
				return estate.Options{Backlog: backlog, PerMinute: rate, Horizon: 24 * time.Hour, Updates: 0.5, Shuffle: i%2 == 0, LiveField: i%3 == 0, LateShare: 0.02, LateMax: 5 * time.Minute, SIEM: true, Incidents: true, MDE: true, Silent: 0.02}
			}})
			if err != nil {
				return err
			}
			defer s.close()
			out := c.OutOrStdout()
			_, _ = fmt.Fprintf(out, "listening on https://%s (CA: %s)\nconfig for drover: %s\napp %s, secret in %s\napp %s, for people who sign in\nsign-in desk https://%s/lab/entra/, customers' portal https://%s/lab/portal\n",
				s.addr, filepath.Join(s.dir, "ca.pem"), s.config, s.lab.AppID(), filepath.Join(s.dir, "secret"), s.lab.PublicAppID(), s.addr, s.addr)
			if partner {
				id, _ := s.lab.OnboardingApp()
				_, _ = fmt.Fprintf(out, "onboarding app %s, secret in %s; the partner's account is %s\n", id, filepath.Join(s.dir, "onboarding-secret"), lab.PartnerAccount)
			}
			for _, k := range s.lab.Customers() {
				_, _ = fmt.Fprintf(out, "customer %-12s tenant %s\n", k.Name, k.Tenant)
			}
			if identity != "" {
				stop, err := s.serveIdentity(identity, out)
				if err != nil {
					return err
				}
				defer func() { _ = stop() }()
			}
			<-c.Context().Done()
			s.lab.End()
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:8443", "address to listen on")
	f.StringVar(&dir, "dir", "drover-lab", "directory for CA, credentials, config and logs")
	f.StringVar(&data, "data", "", "directory of real-shaped rows (graph_alerts, graph_incidents, mde_alerts, siem_detections) to serve instead of made ones")
	f.StringVar(&identity, "identity", "", "address on which to play the identity service of the machine, such as 127.0.0.1:8445 (default: none)")
	f.BoolVar(&partner, "partner", false, "make the MSSP a Microsoft partner of all customers, none of which has consented to anything (docs/lab-partner.md)")
	f.IntVar(&customers, "customers", 8, "how many customers")
	f.IntVar(&backlog, "backlog", 500, "alerts that each has at the start")
	f.Float64Var(&rate, "rate", 6, "new alerts a minute for each")
	f.Uint64Var(&seed, "seed", 1, "of everything that is drawn")
	return c
}

// stage is a lab with what a client needs to know of it, in a directory.
type stage struct {
	dir, addr, config   string
	page                string
	lab                 *lab.Lab
	splunk              *splunk.Receiver
	truthLog, splunkLog *os.File
}

type stageOptions struct {
	page        string // where the drover of its config has its page for invitations; "": nowhere
	dir, listen string
	seed        uint64
	customers   int
	data        *estate.Data
	partner     bool
	quiet       bool // no truth log: it would cost what is to be measured
	switches    api.Switches
	story       func(i int) estate.Options
}

// readData reads a directory of real-shaped rows; none if there is no name.
func readData(dir string) (*estate.Data, error) {
	if dir == "" {
		return nil, nil
	}
	return estate.ReadData(dir)
}

// newStage builds the lab, writes its files and listens.
func newStage(opt stageOptions) (*stage, error) {
	dir, err := filepath.Abs(opt.dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &stage{dir: dir, config: filepath.Join(dir, "drover.yaml"), page: opt.page}
	if s.truthLog, err = os.Create(filepath.Join(dir, "truth.ndjson")); err != nil {
		return nil, err
	}
	if s.splunkLog, err = os.Create(filepath.Join(dir, "splunk.ndjson")); err != nil {
		return nil, err
	}
	splunkToken := rand.Text()
	if s.splunk, err = splunk.New(splunk.Options{Tokens: []splunk.Token{{Name: "soc", Value: splunkToken}}, Log: s.splunkLog}); err != nil {
		return nil, err
	}
	var truth io.Writer = s.truthLog
	if opt.quiet {
		truth = nil
	}
	if s.lab, err = lab.New(lab.Options{Seed: opt.seed, Customers: opt.customers, Story: opt.story, Data: opt.data, Partner: opt.partner, Switches: opt.switches, Truth: truth, Splunk: s.splunk}); err != nil {
		return nil, err
	}
	if s.addr, err = s.lab.Start(opt.listen); err != nil {
		return nil, err
	}
	cert, key := s.lab.AppCertificate()
	pageCert, pageKey, err := s.lab.ServerCertificate()
	if err != nil {
		return nil, err
	}
	if s.page != "" {
		s.lab.Directory().AddRedirect(s.lab.AppID(), s.pageURL()+"/callback")
	}
	for name, content := range map[string][]byte{"ca.pem": s.lab.CAPEM(), "secret": []byte(s.lab.AppSecret() + "\n"), "splunk-token": []byte(splunkToken + "\n"), "app-cert.pem": cert, "app-key.pem": key, "page-cert.pem": pageCert, "page-key.pem": pageKey, "drover.yaml": []byte(s.yaml())} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	if id, secret := s.lab.OnboardingApp(); id != "" {
		if err := os.WriteFile(filepath.Join(dir, "onboarding-secret"), []byte(secret+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// yaml is a config that points drover at this lab.
func (s *stage) yaml() string {
	return fmt.Sprintf(`# A drover that reads the pretend cloud on https://%[1]s.
ledger:
  dir: %[2]s/ledger
vault:
  key_file: %[2]s/keys/master.key
clouds:
  lab:
    authority: https://%[1]s
    graph: https://%[1]s
    mde: https://%[1]s/mde
    siem: {eu: "https://%[1]s"}
    ca_file: %[2]s/ca.pem
    allow_private: true
apps:
  default:
    client_id: %[3]s
    cloud: lab
    secret: {file: %[2]s/secret}
collect:
  interval: 1s
  overlap: 30s
  start: 60d
  sweeps: [{depth: 2m, every: 5s}]
sinks:
  archive:
    type: file
    root: %[2]s/out
    from: all
    batch: {max_age: 100ms}
  soc:
    type: splunk_hec
    url: https://%[1]s
    token: {file: %[2]s/splunk-token}
    index: main
    ca_file: %[2]s/ca.pem
    from: all
    batch: {max_age: 200ms}
listen: {health: none%[4]s}
mssp: {name: Example Security, contact: soc@mssp.example}
`, s.addr, s.dir, s.lab.AppID(), s.pageYAML()) + s.partnerYAML()
}

// partnerYAML is the section of an MSSP that is a partner.
func (s *stage) partnerYAML() string {
	id, _ := s.lab.OnboardingApp()
	if id == "" {
		return ""
	}
	return fmt.Sprintf(`partner:
  tenant: %s
  client_id: %s
  cloud: lab
  secret: {file: %s/onboarding-secret}
  partner_center: https://%s
`, lab.HomeTenant, id, s.dir, s.addr)
}

// pageURL is the address of the page for invitations.
func (s *stage) pageURL() string { return "https://" + s.page + "/SiemMsspConnector" }

func (s *stage) pageYAML() string {
	if s.page == "" {
		return ""
	}
	return fmt.Sprintf(", invitations: {url: %q, address: %q, certificate: %s/page-cert.pem, key: %s/page-key.pem}", s.pageURL(), s.page, s.dir, s.dir)
}

func (s *stage) close() {
	_ = s.lab.Close()
	_ = errors.Join(s.splunk.Settle(), s.truthLog.Close(), s.splunkLog.Close())
}
