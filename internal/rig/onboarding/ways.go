package onboarding

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"drover/internal/lab"
	"drover/internal/lab/authority"
)

// crash ends a Go program with a trace of all that runs.
const crash = syscall.SIGQUIT

const (
	authorizePage = `(https://\S+/authorize\?\S+)`
	consentPage   = `(https://\S+/adminconsent\?\S+)`
	devicePage    = `open\s+(https://\S+/devicelogin)\s+and (?:type|enter) the code ([A-Z0-9]+)`
	msspAdmin     = "admin@mssp.example"
)

var clientID = regexp.MustCompile(`client_id: (\S+)`)

// registers has the MSSP's admin register the app, and puts the lines that are
// printed into the config. It returns the client ID.
func (s *Store) registers(args ...string) string {
	s.t.Helper()
	term := s.begin(append([]string{"app", "create", "--home", "mssp.example", "--cloud", "lab", "--name", s.name + " SIEM MSSP Connector", "--source", "graph.alerts,graph.incidents,mde.alerts"}, args...)...)
	m := term.sees(devicePage)
	s.visit(m[1], Visitor{User: msspAdmin, Code: m[2]})()
	said := term.ends(0)
	_, lines, _ := strings.Cut(said, "# add to drover.yaml:\n")
	lines, _, _ = strings.Cut(lines, "# each customer")
	id := clientID.FindStringSubmatch(lines)
	if id == nil {
		s.t.Fatalf("no lines for the config: %s", said)
	}
	s.add(lines)
	s.unknown(id[1])
	return id[1]
}

// partner has the partner's account sign in and connect the customer.
func (s *Store) partner(more ...string) {
	s.t.Helper()
	s.registers()
	onboarding, _ := s.Lab.OnboardingApp()
	s.add(fmt.Sprintf("partner: {tenant: %s, client_id: %s, cloud: lab, secret: {file: %q}, partner_center: %q}", lab.HomeTenant, onboarding, filepath.Join(s.World.dir, "onboarding"), "https://"+s.addr))
	term := s.begin(append([]string{"partner", "connect", "--only", s.Customer.Tenant, "--yes", "--no-open", "--keep"}, more...)...)
	last := s.visit(term.sees(authorizePage)[1], Visitor{User: lab.PartnerAccount})
	term.ends(0)
	last()
}

// Way is one way from a fresh store to a customer whose alerts are delivered.
type Way struct {
	Name string
	Walk func(s *Store)
}

// Ways are all.
var Ways = []Way{
	{"a sign-in and a consent in one browser", func(s *Store) {
		s.registers()
		term := s.begin("tenant", "connect", s.Customer.Tenant, "--name", s.Customer.Name, "--no-open")
		last := s.visit(term.sees(authorizePage)[1], s.admin())
		term.ends(0)
		last()
		s.delivers()
	}},
	{"the same at the older endpoints, with a client secret", func(s *Store) {
		s.registers("--credential", "secret")
		term := s.begin("tenant", "connect", s.Customer.Tenant, "--name", s.Customer.Name, "--no-open", "--v1")
		last := s.visit(term.sees(authorizePage)[1], s.admin())
		term.ends(0)
		last()
		s.delivers()
	}},
	{"a code and a consent page", func(s *Store) {
		s.registers()
		term := s.begin("tenant", "connect", s.Customer.Tenant, "--name", s.Customer.Name, "--admin-consent", "--device")
		m := term.sees(devicePage)
		as := s.admin()
		as.Code = m[2]
		s.visit(m[1], as)()
		last := s.visit(term.sees(consentPage)[1], s.admin())
		term.ends(0)
		last()
		s.delivers()
	}},
	{"a sign-in that is kept, by browser", func(s *Store) {
		app := s.registers()
		s.Lab.Directory().Consent(s.Customer.Tenant, app, authority.Delegated)
		term := s.begin("tenant", "connect", s.Customer.Tenant, "--name", s.Customer.Name, "--no-open", "--browser")
		last := s.visit(term.sees(authorizePage)[1], s.admin())
		term.ends(0)
		last()
		s.delivers()
	}},
	{"a sign-in that is kept, by code", func(s *Store) {
		app := s.registers()
		s.Lab.Directory().Consent(s.Customer.Tenant, app, authority.Delegated)
		term := s.begin("tenant", "connect", s.Customer.Tenant, "--name", s.Customer.Name, "--device")
		m := term.sees(devicePage)
		as := s.admin()
		as.Code = m[2]
		s.visit(m[1], as)()
		term.ends(0)
		s.delivers()
	}},
	{"a sign-in that is kept, by a pasted address", func(s *Store) {
		app := s.registers()
		s.Lab.Directory().Consent(s.Customer.Tenant, app, authority.Delegated)
		term := s.begin("tenant", "connect", s.Customer.Tenant, "--name", s.Customer.Name, "--paste")
		term.types(s.visit(term.sees(authorizePage)[1], s.admin())())
		term.ends(0)
		s.delivers()
	}},
	{"an invitation", func(s *Store) {
		s.registers("--redirect", "http://localhost,"+s.page+"/callback")
		run := s.begin("run")
		run.sees("drover runs")
		// The link is printed once, on purpose; it must stand nowhere else.
		term := s.beginWith(false, "tenant", "invite", s.Customer.Tenant, "--name", s.Customer.Name)
		link := term.sees(`(https://localhost:\d+/SiemMsspConnector/\S+)`)[1]
		term.ends(0)
		s.purse.add("link", link[strings.LastIndex(link, "/")+1:])
		s.visit(link, s.admin())()
		s.deliversBy(run)
	}},
	{"a partner's sign-in", func(s *Store) {
		s.partner()
		s.delivers()
		s.run("partner", "status")
		s.run("partner", "customers", "--json")
		s.run("partner", "forget")
		s.delivers()
	}},
	{"a partner's sign-in that is kept, to read by", func(s *Store) {
		s.partner("--delegated")
		s.delivers()
		if said := s.run("tenant", "show", s.Customer.Tenant); !strings.Contains(said, "unproven") {
			s.t.Errorf("it is not called unproven: %s", said)
		}
	}},
}

// Walk goes all ways side by side, each with a store and a customer of its own.
func (w *World) Walk(t *testing.T) {
	t.Run("ways", func(t *testing.T) {
		for _, way := range Ways {
			t.Run(way.Name, func(t *testing.T) {
				t.Parallel()
				way.Walk(w.fresh(t, way.Name))
			})
		}
	})
}
