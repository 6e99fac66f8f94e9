package tokens

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"drover"
	"drover/internal/lab/authority"
	"drover/internal/ledger"
	"drover/internal/proof"
	"drover/internal/rig/powercut"
)

// behaviours are the two authorities of T03.
var behaviours = map[string]authority.Switches{
	"old tokens stay valid":  {},
	"reuse kills the family": {ReuseKillsFamily: true, OldRefreshDies: true},
}

// tally is what came of kills and cuts.
type tally struct {
	points, images, torn   int
	lockouts, between, bad int
}

func (a *tally) add(b tally) {
	a.points, a.images, a.torn = a.points+b.points, a.images+b.images, a.torn+b.torn
	a.lockouts, a.between, a.bad = a.lockouts+b.lockouts, a.between+b.between, a.bad+b.bad
}

// serve puts the cloud on loopback, over TLS, and says how a child reaches it.
func (w *world) serve() (env []string) {
	w.Helper()
	srv := httptest.NewUnstartedServer(w)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // clients die in handshakes here
	srv.StartTLS()
	w.Cleanup(srv.Close)
	ca := pemOf(srv)
	return append(os.Environ(), baseEnv+"="+srv.URL, caEnv+"="+ca, clientEnv+"="+w.lab.AppID(), secretEnv+"="+w.lab.AppSecret(), tenantEnv+"="+string(w.tenant(0).ID))
}

// cut records a process that renews and judges what a disk could hold after
// each moment of it.
func cut(t *testing.T, switches authority.Switches, images int, seed uint64) (sum tally) {
	t.Helper()
	if err := powercut.Here(); err != nil {
		proof.NotHere(t, "T03", "%v", err)
	}
	w := newWorld(t, 1)
	w.lab.Directory().Switch(func(s *authority.Switches) { *s = switches })
	first := w.signIn(w.tenant(0))
	w.mu.Lock()
	w.keeps = true
	w.states = append(w.states, w.lab.Directory().KeepRefreshTokens())
	w.mu.Unlock()
	key, root := newKey(t), filepath.Join(t.TempDir(), "disk")
	w.must(os.Mkdir(root, 0o700))
	self, err := os.Executable()
	w.must(err)
	cmd := exec.Command(self)
	cmd.Env = append(w.serve(), partEnv+"=story", dirEnv+"="+root, keyEnv+"="+key, firstEnv+"="+first.Reveal())
	trace, err := powercut.Record(cmd, root)
	w.must(err)
	w.mu.Lock()
	w.keeps = false
	known := len(w.states)
	w.mu.Unlock()
	if known != storied+1 {
		t.Fatalf("the process renewed %d times", known-1)
	}
	check := func(img powercut.Image) error {
		one, err := w.judge(img, key)
		sum.add(one)
		return err
	}
	n, err := trace.Kills(ramDir(t), check)
	w.must(err)
	w.must(trace.Images(ramDir(t), images, seed, check))
	sum.points, sum.images = n, images
	return sum
}

// moment is what a process had said by a cut.
type moment struct {
	sealed                bool
	asked, answered, used int
}

func momentOf(said []string) (m moment) {
	for _, line := range said {
		switch line {
		case "SEALED":
			m.sealed = true
		case "ASK":
			m.asked++
		case "ANSWER 200":
			m.answered++
		case "USED":
			m.used++
		}
	}
	return m
}

// judge opens the ledger that a cut left and has a new process renew, for each
// state that Entra may have been in. Whoever was told of an access token holds
// the refresh token that came with it.
func (w *world) judge(img powercut.Image, key string) (sum tally, err error) {
	if img.Torn > 0 {
		sum.torn = 1
	}
	m := momentOf(img.Said)
	for state := m.answered; state <= m.asked; state++ {
		dir := filepath.Join(img.Dir, fmt.Sprint("as-", state))
		if err := os.CopyFS(filepath.Join(dir, "ledger"), os.DirFS(filepath.Join(img.Dir, "ledger"))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return sum, err
		}
		if err := w.renewsFrom(dir, key, m, state, &sum); err != nil {
			return sum, fmt.Errorf("with %d redemptions answered: %w", state, err)
		}
	}
	return sum, nil
}

func (w *world) renewsFrom(dir, key string, m moment, state int, sum *tally) error {
	l, err := open(dir, key)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	x := w.tenant(0)
	store := signIns(l, base)
	saved, ok, err := store.Load(w.Context(), x)
	switch {
	case errors.Is(err, ledger.ErrNotFound) || err == nil && !ok:
		if m.sealed {
			return errors.New("the sign-in is gone")
		}
		return nil
	case err != nil:
		return err
	}
	have := w.born(saved.Token)
	if have < m.used {
		return fmt.Errorf("%d access tokens were out, and refresh token %d is what is kept", m.used, have)
	}
	w.mu.Lock()
	w.states[state]()
	w.mu.Unlock()
	strict := w.lab.Directory().ReuseKillsFamily
	var failed error
	tokens := w.tokens(store)
	for range 2 { // the second is with what the first one brought
		token, err := tokens.Token(w.Context(), x, drover.GraphAlerts)
		if err != nil {
			failed = err
			break
		}
		tokens.Invalidate(x, drover.GraphAlerts, token)
	}
	if failed == nil {
		return nil
	}
	sum.lockouts++
	switch {
	case drover.KindOf(failed) != drover.Denied:
		return fmt.Errorf("a lock-out that does not show as denied: %w", failed)
	case !strict || have >= state:
		sum.bad++
		return fmt.Errorf("locked out, though what Entra knows is kept (%d of %d): %w", have, state, failed)
	}
	sum.between++
	return nil
}

func TestNoKillAndNoPowerCutLocksATenantOut(t *testing.T) { cutBoth(t, 400, 1) }

// cutBoth cuts with both authorities, as often as it is said with each.
func cutBoth(t *testing.T, images int, seeds ...uint64) {
	for name, switches := range behaviours {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			var sum tally
			for _, seed := range seeds {
				sum.add(cut(t, switches, images, seed))
			}
			if sum.points < 60 || sum.torn < sum.images/50 {
				t.Errorf("the cuts do not cover the process: %+v", sum)
			}
			if switches.ReuseKillsFamily != (sum.between > 0) {
				t.Errorf("%d lock-outs between answer and fsync: the rig is not what it says", sum.between)
			}
			proof.Ran(t, "T03", "%s: killed at each of %d calls and cut at %d moments (%d with a torn write): lock-outs %d, %d of them between Entra's answer and the fsync and each shown as denied, others %d (%v)",
				name, sum.points, sum.images, sum.torn, sum.lockouts, sum.between, sum.lockouts-sum.between, time.Since(begun).Round(time.Second))
		})
	}
}

// pemOf is the certificate of a test server.
func pemOf(srv *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
}

// ramDir is a directory in memory if there is one: images are many small files.
func ramDir(t *testing.T) string {
	if dir, err := os.MkdirTemp("/dev/shm", "drover-tokens-"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}
