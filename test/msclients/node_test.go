package msclients

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
)

// npmInstall puts a folder with its packages into a directory of the test's.
func npmInstall(t *testing.T, folder string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

// node is a process of node/clients.mjs that talks to one lab.
type node struct {
	*place
	in     io.WriteCloser
	out    *bufio.Scanner
	opened string // a pipe: the addresses that a client has opened in a browser by itself
}

// nodes starts a lab and a process of Node.
func nodes(t *testing.T) *node {
	t.Helper()
	p := places(t)["at its address"]
	dir := npmInstall(t, "node")
	ca := filepath.Join(dir, "ca.pem")
	opened := filepath.Join(dir, "opened")
	browser := filepath.Join(dir, "browser")
	for name, text := range map[string][]byte{ca: p.CAPEM(), browser: []byte("#!/bin/sh\nprintf '%s\\n' \"$1\" >'" + opened + "'\n")} {
		if err := os.WriteFile(name, text, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(opened, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "node", "clients.mjs") // it ends with its input
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+ca, "BROWSER="+browser)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := &node{p, in, bufio.NewScanner(out), opened}
	n.out.Buffer(nil, 1<<20)
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("node: %v\n%s", err, errs.Bytes())
		}
	})
	if got := n.read(t); got.Ready == "" {
		t.Fatalf("node says %+v", got)
	}
	return n
}

// said is a line of node's.
type said struct {
	Ready   string
	Ways    []string
	Token   string
	Tokens  []string
	Refused string
	IDs     []string `json:"ids"`
	One     string
	Tenants []string
	Error   string
	Kind    string
	Code    string
	Status  int
	Numbers []int
	Ask     *struct {
		Open, Device, Code string
		Follow, Revoke     bool
	}
}

func (n *node) read(t *testing.T) (s said) {
	t.Helper()
	if !n.out.Scan() {
		t.Fatalf("node has ended: %v", n.out.Err())
	}
	if err := json.Unmarshal(n.out.Bytes(), &s); err != nil {
		t.Fatalf("node says %q: %v", n.out.Text(), err)
	}
	return s
}

func (n *node) write(t *testing.T, what any) {
	t.Helper()
	line, err := json.Marshal(what)
	if err == nil {
		_, err = n.in.Write(append(line, '\n'))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ask has node do something for a customer; a person answers what it asks for.
func (n *node) ask(t *testing.T, c lab.Customer, what string, more map[string]any) said {
	t.Helper()
	certPEM, keyPEM := n.AppCertificate()
	block, _ := pem.Decode(certPEM)
	if block == nil {
		t.Fatal("the app's certificate is no PEM")
	}
	sum := sha256.Sum256(block.Bytes)
	order := map[string]any{"do": what, "tenant": c.Tenant, "authority": strings.TrimSuffix(n.authority, "/"), "graph": n.graph, "scope": n.scope, "app": n.AppID(), "publicApp": n.PublicAppID(),
		"secret": n.AppSecret(), "certificate": string(certPEM), "key": string(keyPEM), "thumbprint": hex.EncodeToString(sum[:]), "redirect": "http://localhost:8400/callback"}
	for k, v := range more {
		order[k] = v
	}
	n.write(t, order)
	for {
		s := n.read(t)
		switch a := s.Ask; {
		case a == nil:
			return s
		case a.Revoke:
			n.Directory().RevokeRefreshTokens(c.Tenant)
			n.write(t, struct{}{})
		case a.Device != "":
			n.person(t, a.Device, url.Values{"user": {admin(c)}, "code": {a.Code}})
			n.write(t, struct{}{})
		default:
			back, err := url.Parse(n.person(t, a.Open, url.Values{"user": {admin(c)}}))
			if err != nil {
				t.Fatal(err)
			}
			if a.Follow {
				if err := follow(t.Context(), back.String()); err != nil {
					t.Error(err)
				}
			}
			n.write(t, map[string]string{"code": back.Query().Get("code")})
		}
	}
}

// opens does what a person does at the address that a client opens by itself.
func (n *node) opens(ctx context.Context, c lab.Customer) error {
	f, err := os.Open(n.opened) // until somebody writes
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	target, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err != nil {
		return err
	}
	back, err := n.browse(ctx, strings.TrimSpace(string(target)), url.Values{"user": {admin(c)}})
	if err != nil {
		return err
	}
	return follow(ctx, back)
}

// All of Node's stands in one test: one process is enough, and installing takes
// longer than everything else.
func TestMicrosoftsClientsForNode(t *testing.T) {
	n := nodes(t)
	first := n.Customers()[0]
	mild := func(s *authority.Switches) { *s = authority.Switches{} }
	ways := n.ask(t, first, "ways", nil).Ways
	tokens := 0
	for mood, with := range map[string]func(*authority.Switches){"mild": mild, "harsh": harsh} {
		for _, way := range ways {
			t.Run(way+", "+mood, func(t *testing.T) {
				n.Directory().Switch(with)
				for _, c := range n.Customers() {
					led := make(chan error, 1)
					if way == "identity: interactive" {
						go func() { led <- n.opens(t.Context(), c) }()
					} else {
						led <- nil
					}
					got := n.ask(t, c, "token", map[string]any{"way": way})
					if got.Error != "" {
						t.Fatalf("%s: %s", got.Kind, got.Error)
					}
					if err := <-led; err != nil {
						t.Error(err)
					}
					n.is(t, got.Token, c)
					tokens++
				}
			})
		}
	}
	proof.Ran(t, "promise.clients", "msal-node and @azure/identity: %d tokens by %d ways under mild and harsh switches, each reads its tenant's alerts", tokens, len(ways))

	t.Run("renewed silently", func(t *testing.T) {
		n.Directory().Switch(func(s *authority.Switches) {
			harsh(s)
			s.Life = authority.Span(2 * time.Minute) // MSAL renews what has less than five left
		})
		c := n.Customers()[1]
		got := n.ask(t, c, "renew", map[string]any{"times": 4})
		if got.Error != "" {
			t.Fatal(got.Error)
		}
		for _, token := range got.Tokens {
			n.is(t, token, c)
		}
		if slices.Sort(got.Tokens); len(slices.Compact(got.Tokens)) != 5 {
			t.Errorf("%d tokens in four renewals", len(got.Tokens))
		}
		if !strings.Contains(got.Refused, "AADSTS50173") {
			t.Errorf("after a revocation: %s", got.Refused)
		}
		proof.Ran(t, "promise.clients", "msal-node: renewed %d times with rotating refresh tokens that work once", len(got.Tokens)-1)
	})

	t.Run("refused", func(t *testing.T) {
		n.Directory().Switch(mild)
		refusals := 0
		for want, do := range map[int]func(undo bool){
			7000229: func(undo bool) {
				n.Directory().Consent(first.Tenant, n.AppID(), map[bool]authority.Consent{false: authority.None, true: authority.Granted}[undo])
			},
			7000112: func(undo bool) { n.Directory().Disable(n.AppID(), !undo) },
			7000215: nil,
		} {
			more := map[string]any{}
			if do != nil {
				do(false)
			} else {
				more["secret"] = "wrong"
			}
			for _, way := range []string{"msal: secret", "identity: secret"} {
				more["way"] = way
				if got := n.ask(t, first, "token", more); !strings.Contains(got.Error, fmt.Sprintf("AADSTS%d", want)) {
					t.Errorf("%s: %+v, want %d", way, got, want)
				} else {
					refusals++
				}
			}
			if do != nil {
				do(true)
			}
		}
		proof.Ran(t, "promise.clients", "msal-node and @azure/identity: %d refusals under their own numbers", refusals)
	})

	t.Run("Graph's client pages through all alerts", func(t *testing.T) {
		n.Directory().Switch(mild)
		read := 0
		for _, c := range n.Customers() {
			got := n.ask(t, c, "alerts", map[string]any{"top": 2})
			if got.Error != "" {
				t.Fatal(got.Error)
			}
			if !slices.Equal(got.Tenants, []string{c.Tenant}) || got.One != got.IDs[0] {
				t.Errorf("alerts of %v; the first by itself is %s of %s", got.Tenants, got.One, got.IDs[0])
			}
			if slices.Sort(got.IDs); len(got.IDs) != backlog || len(slices.Compact(got.IDs)) != backlog {
				t.Errorf("%d alerts, want %d", len(got.IDs), backlog)
			}
			read += len(got.IDs)
		}
		proof.Ran(t, "promise.clients", "microsoft-graph-client: %d alerts of %d tenants in pages of 2 by its own iterator", read, len(n.Customers()))
	})
}
