package tokens

import (
	"bufio"
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/lab/authority"
	"drover/internal/proof"
)

// deaths is what came of processes that were killed.
type deaths struct {
	kills, inside     int // inside: at a failpoint
	renewals          int
	lockouts, between int
}

// kill runs processes that renew, one after the other on one ledger, and kills
// each: by itself at a failpoint, or at a moment from outside. The next one must
// be able to go on.
func kill(t *testing.T, switches authority.Switches, kills int, seed uint64) (d deaths) {
	t.Helper()
	w := newWorld(t, 1)
	w.lab.Directory().Switch(func(s *authority.Switches) { *s = switches })
	dir, key, x := t.TempDir(), newKey(t), w.tenant(0)
	w.signsIn(dir, key, x, true)
	env := append(w.serve(), partEnv+"=mortal", dirEnv+"="+dir, keyEnv+"="+key)
	rng := rand.New(rand.NewPCG(seed, 3))
	for d.kills < kills {
		point, after := 1+rng.IntN(60), time.Duration(0)
		if rng.IntN(3) == 0 {
			point, after = 0, time.Duration(1+rng.IntN(60))*time.Millisecond
		}
		said := w.mortal(append(env, pointEnv+"="+strconv.Itoa(point)), after)
		d.renewals += strings.Count(said, "USED\n")
		d.inside += strings.Count(said, "DIES ")
		if !strings.Contains(said, "LOCKED OUT") {
			d.kills++
			continue
		}
		d.lockouts++
		if !strings.Contains(said, "LOCKED OUT "+drover.Denied.String()) {
			t.Fatalf("a lock-out that does not show as denied:\n%s", said)
		}
		if w.unkept(dir, key, x) {
			d.between++
		}
		w.signsIn(dir, key, x, false)
	}
	return d
}

// signsIn stores the token of a new sign-in, in a new ledger or in the old one.
func (w *world) signsIn(dir, key string, x drover.Tenant, fresh bool) {
	w.Helper()
	l, err := open(dir, key)
	w.must(err)
	if fresh {
		w.must(l.AddTenant(w.Context(), x))
	}
	w.must(errors.Join(signIns(l, base).Seal(w.Context(), x, w.signIn(x)), l.Close()))
}

// unkept reports whether Entra has given a token after those that the ledger
// holds.
func (w *world) unkept(dir, key string, x drover.Tenant) bool {
	w.Helper()
	l, err := open(dir, key)
	w.must(err)
	defer func() { w.must(l.Close()) }()
	r, _, err := signIns(l, base).Load(w.Context(), x)
	w.must(err)
	have := max(w.born(r.Token), w.born(r.Previous))
	w.mu.Lock()
	defer w.mu.Unlock()
	return have < len(w.issued)-1
}

// mortal runs one process until it has died, and returns what it said. If after
// is not 0, or the process does not die by itself, it is killed.
func (w *world) mortal(env []string, after time.Duration) string {
	w.Helper()
	self, err := os.Executable()
	w.must(err)
	cmd := exec.Command(self)
	cmd.Env = env
	out, err := cmd.StdoutPipe()
	w.must(err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	w.must(cmd.Start())
	var said strings.Builder
	var once sync.Once
	var timer *time.Timer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		once.Do(func() { // it has begun to work
			if after > 0 {
				timer = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			}
		})
	}
	err = cmd.Wait()
	if timer != nil {
		timer.Stop()
	}
	if cmd.ProcessState.Exited() && err != nil {
		w.Fatalf("the process failed: %v\n%s%s", err, said.String(), stderr.String())
	}
	return said.String()
}

func TestARealProcessThatIsKilledLocksNoTenantOut(t *testing.T) { killBoth(t, 30, 1) }

func killBoth(t *testing.T, kills int, seed uint64) {
	for name, switches := range behaviours {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			d := kill(t, switches, kills, seed)
			if d.lockouts != d.between || !switches.ReuseKillsFamily && d.lockouts > 0 {
				t.Errorf("%d lock-outs, %d of them because Entra's answer was not kept yet", d.lockouts, d.between)
			}
			if d.inside < kills/3 || d.renewals < kills {
				t.Errorf("the kills do not cover the process: %+v", d)
			}
			proof.Ran(t, "T03", "%s: %d processes killed with SIGKILL (%d at a failpoint) in %d renewals: lock-outs %d, %d of them between Entra's answer and the fsync and each shown as denied (%v)",
				name, d.kills, d.inside, d.renewals, d.lockouts, d.between, time.Since(begun).Round(time.Second))
		})
	}
}
