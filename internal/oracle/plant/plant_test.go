package plant

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drover/internal/oracle"
	"drover/internal/proof"
)

func judge(t *testing.T, r *Run) *oracle.Verdict {
	t.Helper()
	v, err := r.Judge()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func table(t *testing.T, v *oracle.Verdict) string {
	t.Helper()
	var b bytes.Buffer
	if err := v.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAGoodRunPasses(t *testing.T) {
	for seed := range uint64(10) {
		v := judge(t, Good(seed, Size{}))
		if !v.OK() {
			t.Fatalf("seed %d:\n%s", seed, table(t, v))
		}
		hec := v.Sum(HECPlace)
		if v.Shown() < 300 || hec.Repeated == 0 || hec.Repeated != hec.Explained || hec.Excused == 0 || hec.Unnamed == 0 || v.Totals.Kills != 1 {
			t.Errorf("seed %d does not reach every branch:\n%s", seed, table(t, v))
		}
	}
}

//citest:plain one plant after the other
func TestTheOracleNamesEachPlantedBug(t *testing.T) {
	byPromise, caughtOf := make(map[int]int), make(map[int]int)
	names := make(map[string]bool)
	good := []*Run{Good(1, Size{}), Good(2, Size{})}
	for _, p := range Plants() {
		if names[p.Name] {
			t.Errorf("plant %q is listed twice", p.Name)
		}
		names[p.Name] = true
		byPromise[p.Promise]++
		caughtAll := true
		for seed := range good {
			r := good[seed].Clone()
			want := p.Spoil(r)
			if want == (Want{}) {
				t.Fatalf("plant: %s: found nothing to spoil in seed %d", p.Name, seed)
			}
			v := judge(t, r)
			caught := false
			for _, f := range v.Findings {
				if (Want{f.Fault, f.Tenant, f.Place}) == want && f.Count > 0 && len(f.Examples) > 0 {
					caught = true
				}
			}
			if !caught {
				t.Errorf("plant: %s … MISSED (seed %d), want %+v:\n%s", p.Name, seed, want, table(t, v))
			}
			if blamed := others(v, r, want); len(blamed) > 0 && !moves[p.Name] {
				t.Errorf("plant: %s: others are blamed (seed %d): %v\n%s", p.Name, seed, blamed, table(t, v))
			}
			caughtAll = caughtAll && caught
		}
		if caughtAll {
			caughtOf[p.Promise]++
			fmt.Printf("plant: %s … caught (promise %d)\n", p.Name, p.Promise)
		}
	}
	for _, r := range good {
		if v := judge(t, r); !v.OK() {
			t.Errorf("a plant spoiled the good run too:\n%s", table(t, v))
		}
	}
	for _, promise := range []int{0, 1, 2, 3, 4, 6} {
		if byPromise[promise] < 3 {
			t.Errorf("promise %d has %d planted bugs, want at least 3", promise, byPromise[promise])
		}
	}
	for promise, n := range byPromise {
		id := fmt.Sprintf("promise.%d.plants", promise)
		if promise == 0 {
			id = "I3.plants"
		}
		proof.Ran(t, id, "caught %d of %d planted bugs, each by name", caughtOf[promise], n)
	}
}

func TestThePageListsEachPlantedBug(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "oracle.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Split(string(b), "\n")
	for _, p := range Plants() {
		if !slices.Contains(listed, "- "+p.Name) {
			t.Errorf("docs/oracle.md does not list %q", p.Name)
		}
	}
}

// moves names the plants that take a row from one tenant to another: the loss
// is the first one's, the foreign row the other's.
var moves = map[string]bool{
	"a row is delivered under another customer":                         true,
	"a row stands in another tenant's file":                             true,
	"a batch mixes tenants: a row goes out with another tenant's token": true,
}

// others returns the findings that blame a tenant who is not concerned.
func others(v *oracle.Verdict, r *Run, want Want) []oracle.Finding {
	var list []oracle.Finding
	for _, f := range v.Findings {
		if f.Tenant != want.Tenant {
			list = append(list, f)
		}
	}
	return list
}
