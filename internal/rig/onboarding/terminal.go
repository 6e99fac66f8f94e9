package onboarding

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// patience is how long something that must come is waited for: far longer than
// it takes, and reached only by what fails.
const patience = 4 * time.Minute

// terminal is a terminal with one command on it.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	line string
	tty  *os.File
	came chan struct{}
	mu   sync.Mutex
	said bytes.Buffer
	end  bool
	by   []string // typed by a person
}

// onTerminal begins a command on a terminal of its own.
func onTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 4000}) // no address is broken
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, cmd: cmd, tty: tty, came: make(chan struct{}, 1)}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid)); err == nil {
		term.line = strings.ReplaceAll(string(b), "\x00", " ")
	}
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := tty.Read(buf)
			term.mu.Lock()
			term.said.Write(buf[:n])
			term.end = err != nil
			term.mu.Unlock()
			select {
			case term.came <- struct{}{}:
			default:
			}
			if err != nil {
				close(term.came)
				return
			}
		}
	}()
	return term
}

// text is what stands on the terminal.
func (t *terminal) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ReplaceAll(t.said.String(), "\r\n", "\n")
}

// ended reports whether the command has closed its terminal.
func (t *terminal) ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end
}

// sees waits until the command says something that fits.
func (t *terminal) sees(pattern string) []string {
	t.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(patience)
	for open := true; ; {
		if m := re.FindStringSubmatch(t.text()); m != nil {
			return m
		}
		if !open {
			t.t.Fatalf("%s ended without %s:\n%s", t.line, pattern, t.text())
		}
		select {
		case _, open = <-t.came:
		case <-late:
			t.t.Fatalf("%s does not say %s:\n%s", t.line, pattern, t.text())
		}
	}
}

// own is what the command itself has written: without what a person has typed,
// which the terminal repeats.
func (t *terminal) own() string {
	text := t.text()
	for _, line := range t.by {
		text = strings.Replace(text, line, "", 1)
	}
	return text
}

// types writes a line.
func (t *terminal) types(line string) {
	t.t.Helper()
	t.by = append(t.by, line)
	if _, err := io.WriteString(t.tty, line+"\n"); err != nil {
		t.t.Fatal(err)
	}
}

// ends waits for the end and wants an exit code.
func (t *terminal) ends(want int) string {
	t.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- t.cmd.Wait() }()
	select {
	case err := <-ended:
		if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
			t.t.Fatal(err)
		}
	case <-time.After(patience):
		_ = t.cmd.Process.Signal(syscall.SIGQUIT)
		err := <-ended
		t.t.Fatalf("%s\n%s does not end (%v)", t.text(), t.line, err)
	}
	for range t.came { // until all has been read
	}
	_ = t.tty.Close()
	if code := t.cmd.ProcessState.ExitCode(); code != want {
		t.t.Fatalf("%s: exit code %d, want %d:\n%s", t.line, code, want, t.text())
	}
	return t.text()
}
