// Package powercut judges durability the way a power cut does: it takes the
// system calls that a real process made to real files, and builds directories
// as a disk could hold them after the power went at any moment. Everything
// that was fsynced is there; of the rest, each write is there, is missing, or
// is there in part (reference faults-and-invariants S02, S03, rig R4).
//
// The calls are recorded with strace, so nothing in the judged program knows
// of it. What the program told the outside before the cut is recorded too: the
// lines it wrote to standard output.
package powercut

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// kind of a recorded call.
type kind uint8

const (
	opCreate kind = iota // the file exists from here on
	opWrite
	opTruncate
	opSync   // of a file or a directory
	opRename // path → to
	opUnlink
	opMkdir
	opSay // a line on standard output
)

// op is one recorded call on a file below the root.
type op struct {
	kind kind
	path string // relative to the root
	to   string
	off  int64
	data []byte
}

// Trace is what a process did to the files below a root, and what it said.
type Trace struct {
	ops []op
}

// Calls is the number of recorded calls; a cut lies before one of them.
func (t *Trace) Calls() int { return len(t.ops) }

// Here reports whether traces can be recorded on this machine.
func Here() error {
	path, err := exec.LookPath("strace")
	if err != nil {
		return fmt.Errorf("strace is not installed")
	}
	if out, err := exec.Command(path, "-qq", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		return fmt.Errorf("strace does not work here: %s", bytes.TrimSpace(out))
	}
	return nil
}

// calls are those that change files, or the offset at which a write lands.
const calls = "open,openat,creat,write,writev,pwrite64,pwritev,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,lseek"

// Record runs cmd under strace and returns what it did below root, which must
// be absolute. The process's standard output must be left to Record.
func Record(cmd *exec.Cmd, root string) (*Trace, error) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return nil, err
	}
	log, err := os.CreateTemp("", "trace-*.log")
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close(); _ = os.Remove(log.Name()) }()
	cmd.Args = append([]string{strace, "-f", "-qq", "-y", "-xx", "-s", "16777216", "-e", "signal=none", "-e", "trace=" + calls, "-o", log.Name(), cmd.Path}, cmd.Args[1:]...)
	cmd.Path = strace
	cmd.Stdout = io.Discard // a pipe would be copied by us; strace records the write itself
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run under strace: %w: %s", err, stderr.Bytes())
	}
	return parse(log, root)
}

// parse reads strace's log.
func parse(r io.Reader, root string) (*Trace, error) {
	root = filepath.Clean(root)
	p := &parser{root: root, offsets: make(map[string]int64), appends: make(map[string]bool), sizes: make(map[string]int64), open: make(map[string]string)}
	lines := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if line != "" {
			if err := p.line(strings.TrimSuffix(line, "\n")); err != nil {
				return nil, fmt.Errorf("strace line %d: %w", n, err)
			}
		}
		if err == io.EOF {
			return &Trace{p.ops}, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// parser turns lines into ops. Offsets are kept per file and descriptor.
type parser struct {
	root    string
	ops     []op
	offsets map[string]int64  // fd+path → offset of write(2)
	appends map[string]bool   // fd+path → O_APPEND
	sizes   map[string]int64  // path → size, for appends
	open    map[string]string // pid → the unfinished half of a call
}

func (p *parser) line(line string) error {
	pid, rest, ok := strings.Cut(line, " ")
	if !ok {
		return nil
	}
	rest = strings.TrimLeft(rest, " ")
	if before, cut := strings.CutSuffix(rest, " <unfinished ...>"); cut {
		p.open[pid] = before
		return nil
	}
	if strings.HasPrefix(rest, "<... ") {
		_, after, _ := strings.Cut(rest, " resumed>")
		rest = p.open[pid] + after
		delete(p.open, pid)
	}
	name, args, ok := strings.Cut(rest, "(")
	if !ok || strings.HasPrefix(rest, "+++") || strings.HasPrefix(rest, "---") {
		return nil
	}
	end := strings.LastIndex(args, " = ") // strace pads; names and data are in hex
	if end < 0 {
		return nil
	}
	result := args[end+3:]
	inside, whole := strings.CutSuffix(strings.TrimRight(args[:end], " "), ")")
	if !whole {
		return fmt.Errorf("a call has no end")
	}
	if strings.HasPrefix(result, "-") || strings.HasPrefix(result, "?") {
		return nil // it changed nothing, or nobody lived to know
	}
	return p.call(name, splitArgs(inside), result)
}

// splitArgs splits at commas outside of brackets and quotes.
func splitArgs(s string) []string {
	var out []string
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted:
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '[' || c == '{' || c == '<':
			depth++
		case c == ']' || c == '}' || c == '>':
			depth--
		case c == ',' && depth == 0:
			out = append(out, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	return append(out, strings.TrimSpace(s[start:]))
}

func (p *parser) call(name string, args []string, result string) error {
	switch name {
	case "open", "openat", "creat":
		return p.opened(name, args, result)
	case "write":
		return p.wrote(args[0], args[1], -1)
	case "pwrite64":
		off, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return err
		}
		return p.wrote(args[0], args[1], off)
	case "writev", "pwritev":
		if _, _, in := p.fd(args[0]); in {
			return fmt.Errorf("%s on a judged file is not understood", name)
		}
	case "lseek":
		if path, key, in := p.fd(args[0]); in {
			off, err := strconv.ParseInt(result, 10, 64)
			if err != nil {
				return err
			}
			_ = path
			p.offsets[key] = off
		}
	case "fsync", "fdatasync":
		if path, _, in := p.fd(args[0]); in {
			p.ops = append(p.ops, op{kind: opSync, path: path})
		}
	case "ftruncate":
		if path, _, in := p.fd(args[0]); in {
			size, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil {
				return err
			}
			p.sizes[path] = size
			p.ops = append(p.ops, op{kind: opTruncate, path: path, off: size})
		}
	case "rename":
		return p.renamed(args[0], args[1], "", "")
	case "renameat", "renameat2":
		return p.renamed(args[1], args[3], args[0], args[2])
	case "unlink":
		return p.name(opUnlink, args[0], "")
	case "unlinkat":
		return p.name(opUnlink, args[1], args[0])
	case "mkdir":
		return p.name(opMkdir, args[0], "")
	case "mkdirat":
		return p.name(opMkdir, args[1], args[0])
	}
	return nil
}

// opened notes creation, truncation and append mode.
func (p *parser) opened(name string, args []string, result string) error {
	path, key, in := p.fd(result)
	if !in {
		return nil
	}
	flags := "O_CREAT|O_TRUNC"
	switch name {
	case "open":
		flags = args[1]
	case "openat":
		flags = args[2]
	}
	p.offsets[key] = 0
	p.appends[key] = strings.Contains(flags, "O_APPEND")
	if _, known := p.sizes[path]; strings.Contains(flags, "O_CREAT") && !known {
		p.sizes[path] = 0
		p.ops = append(p.ops, op{kind: opCreate, path: path})
	}
	if strings.Contains(flags, "O_TRUNC") {
		p.sizes[path] = 0
		p.ops = append(p.ops, op{kind: opTruncate, path: path})
	}
	return nil
}

// wrote notes a write; off -1 means at the descriptor's own offset.
func (p *parser) wrote(fd, text string, off int64) error {
	if strings.HasPrefix(fd, "1<") {
		data, err := unhex(text)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			p.ops = append(p.ops, op{kind: opSay, data: []byte(strings.TrimSuffix(line, "\n"))})
		}
		return nil
	}
	path, key, in := p.fd(fd)
	if !in {
		return nil
	}
	data, err := unhex(text)
	if err != nil {
		return err
	}
	if off < 0 {
		off = p.offsets[key]
		if p.appends[key] {
			off = p.sizes[path]
		}
		p.offsets[key] = off + int64(len(data))
	}
	p.sizes[path] = max(p.sizes[path], off+int64(len(data)))
	p.ops = append(p.ops, op{kind: opWrite, path: path, off: off, data: data})
	return nil
}

func (p *parser) renamed(from, to, fromDir, toDir string) error {
	a, inA, err := p.resolve(from, fromDir)
	if err != nil {
		return err
	}
	b, inB, err := p.resolve(to, toDir)
	if err != nil {
		return err
	}
	if inA != inB {
		return fmt.Errorf("a rename across the judged root is not understood")
	}
	if inA {
		p.sizes[b] = p.sizes[a]
		delete(p.sizes, a)
		p.ops = append(p.ops, op{kind: opRename, path: a, to: b})
	}
	return nil
}

func (p *parser) name(k kind, arg, dir string) error {
	path, in, err := p.resolve(arg, dir)
	if err != nil || !in {
		return err
	}
	if k == opUnlink {
		delete(p.sizes, path)
	}
	p.ops = append(p.ops, op{kind: k, path: path})
	return nil
}

// resolve returns a name argument relative to the root.
func (p *parser) resolve(arg, dir string) (string, bool, error) {
	b, err := unhex(arg)
	if err != nil {
		return "", false, err
	}
	name := string(b)
	if !filepath.IsAbs(name) && dir != "" {
		_, text, _ := strings.Cut(dir, "<")
		d, err := unhex(strings.TrimSuffix(text, ">"))
		if err != nil {
			return "", false, err
		}
		name = filepath.Join(string(d), name)
	}
	rel, in := p.below(name)
	return rel, in, nil
}

// fd splits "5</path>" and returns the path relative to the root.
func (p *parser) fd(arg string) (path, key string, in bool) {
	_, text, ok := strings.Cut(arg, "<")
	if !ok {
		return "", "", false
	}
	b, err := unhex(strings.TrimSuffix(text, ">"))
	if err != nil {
		return "", "", false
	}
	path, in = p.below(string(b))
	return path, arg, in
}

func (p *parser) below(name string) (string, bool) {
	if name == p.root {
		return ".", true
	}
	return strings.CutPrefix(name, p.root+"/")
}

// unhex reads strace's -xx text, with or without quotes.
func unhex(s string) ([]byte, error) {
	s = strings.Trim(s, `"`)
	return hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
}
