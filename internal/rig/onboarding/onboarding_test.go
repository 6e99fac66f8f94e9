package onboarding

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"drover/internal/oracle"
	"drover/internal/proof"
)

// The ways mostly wait: for a consent that spreads, for the interval of a code.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestEveryWayLeadsFromAFreshStoreToADeliveringCustomerAndNothingSecretIsSaid(t *testing.T) {
	w := New(t, len(Ways))
	w.Walk(t)
	if t.Failed() {
		return
	}
	found, kinds, outputs := w.Leaks()
	for _, f := range found {
		t.Errorf("%+v", f)
	}
	// Each kind that the ways use must have been met, or the search is of nothing.
	for _, kind := range []string{"access_token", "refresh_token", "id_token", "code", "device_code", "secretText", "client_secret", "client_assertion", "code_verifier", "Bearer token"} {
		if kinds[kind] == 0 {
			t.Errorf("no %s was met", kind)
		}
	}
	// A secret of each kind that is said would be found.
	list, _ := w.purse.list()
	planted := 0
	for _, s := range list {
		kind, number, _ := strings.Cut(s.Name, " ")
		if number != "1" {
			continue
		}
		if found, _, _ := w.Leaks(oracle.Text("planted", []byte(fmt.Sprintf("msg=%q", s.Value[len(s.Value)/2-8:len(s.Value)/2+8])))); len(found) != 1 {
			t.Errorf("a %s that is said is not found", kind)
		}
		planted++
	}
	proof.Ran(t, "onboard.ways", "%d ways from a fresh store to a customer whose alerts are delivered", len(Ways))
	proof.Ran(t, "I15", "%d secrets of %d kinds, each in every spelling and in parts of 16 bytes: found in %d of %d outputs; %d planted, all found", len(list), len(kinds), len(found), outputs, planted)
}
