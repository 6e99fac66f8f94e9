// Package config turns drover.yaml into checked values. It does no I/O but to
// read the file that Load is given and, when asked, the secrets that it names.
//
// It promises (reference faults-and-invariants, section C):
//
//   - Strict: a key that is unknown or stands in the wrong place, a key that
//     stands there twice, a value of another kind or out of bounds is an error.
//   - All faults at once, each with its file and line, what is right, and for
//     a misspelt word the nearest right one.
//   - No secret stands in the file, and none is in an error: secrets are named
//     by where they are kept.
//   - Bounded, whatever the file holds: size, depth, aliases.
//
// Every key with its default and bounds is listed in docs/config.md, which is
// made from the structs of this package.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"drover"
)

// Config is a whole drover.yaml. Parse returns it with every default filled
// in; relative paths in it begin at the folder of the file.
type Config struct {
	// Version of the config's layout. It is 1, and may be left out.
	Version int `yaml:"version" default:"1"`
	// Ledger is where everything that was read is kept.
	Ledger Ledger `yaml:"ledger"`
	// Vault says where the master key is kept, which seals credentials and alert bodies.
	Vault Vault `yaml:"vault"`
	// Apps are the app registrations with which tenants are read, by name. A tenant that names none is read with the one named default.
	Apps map[string]App `yaml:"apps" names:"slug"`
	// Partner is the MSSP's own standing as a Microsoft partner. Without it, customers are connected one by one.
	Partner *Partner `yaml:"partner"`
	// Clouds are national or private clouds beside the built-in ones: worldwide, gcc, gcc-high, dod, and those without security alerts: china, bleu, delos, govsg.
	Clouds map[string]Cloud `yaml:"clouds" names:"slug"`
	// Addresses from which Microsoft sees drover come, or networks such as 203.0.113.0/28: behind NAT or a proxy drover cannot know them. They are named to a customer's admin whose Conditional Access refuses.
	Egress []string `yaml:"egress" kind:"network"`
	// Proxy says how the outside is reached.
	Proxy Proxy `yaml:"proxy"`
	// CA names certificate authorities that are trusted besides the system's.
	CA CA `yaml:"ca"`
	// Collect says how tenants are read.
	Collect Collect `yaml:"collect"`
	// Sinks are where alerts are brought, by ID. The ID is fixed: what a sink has already been given is kept under it, so a changed address keeps its place and a new ID begins anew.
	Sinks map[drover.SinkID]Sink `yaml:"sinks" names:"slug"`
	// Routes say which tenants' alerts go to which sinks; the first that matches counts. Without routes everything goes to every sink. The last one must match everything.
	Routes Routes `yaml:"routes"`
	// Listen is where drover answers.
	Listen Listen `yaml:"listen"`
	// MSSP says who you are, to customers' admins.
	MSSP MSSP `yaml:"mssp"`
	// Log is what drover says of itself, on standard error.
	Log Log `yaml:"log"`

	file  string
	lines map[string]int
}

// DefaultApp is the app that reads tenants that name none.
const DefaultApp = "default"

// Load reads a config file. The error is Faults if the file could be read.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the config: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the config: %w", err)
	}
	return Parse(path, data)
}

// Parse checks the text of a config file. Name is its path: it stands in the
// faults, and relative paths begin at its folder. An empty text gives the
// defaults. The error is Faults.
func Parse(name string, data []byte) (*Config, error) {
	root, faults := document(configLayout, name, data)
	if len(faults) > 0 {
		return nil, faults
	}
	d := &decoder{layout: configLayout, file: name, dir: filepath.Dir(name), lines: make(map[string]int)}
	c := &Config{file: name, lines: d.lines}
	d.section("", root, reflect.ValueOf(c).Elem())
	c.fill()
	c.check(func(key, format string, args ...any) { d.fault(d.lineOf(key), format, args...) })
	if len(d.faults) > 0 {
		return nil, d.faults.sorted()
	}
	return c, nil
}

// fill sets the defaults that depend on the machine or on names.
func (c *Config) fill() {
	c.Ledger.Dir = cmp.Or(c.Ledger.Dir, stateDir())
	if c.Vault.none() {
		c.Vault.KeyFile = keyFile("master.key")
	}
	if k := c.Vault.KeyVault; k != nil {
		k.File = cmp.Or(k.File, keyFile("master.wrapped"))
	}
	if c.Collect.Sweeps == nil {
		c.Collect.Sweeps = defaultSweeps()
	}
	for name, a := range c.Apps {
		a.Name = name
		c.Apps[name] = a
	}
	for name, cl := range c.Clouds {
		cl.Name = name
		c.Clouds[name] = cl
	}
	for id, s := range c.Sinks {
		s.ID = id
		c.Sinks[id] = s
	}
}

// check is for what several sections must agree on. Keys are whole paths.
func (c *Config) check(report Report) {
	if c.Version != 1 {
		report("version", "this file has version %d and this drover knows version 1; install the drover that it was written for", c.Version)
	}
	if c.Vault.KeyFile != "" && c.Ledger.Dir != "" && within(c.Ledger.Dir, c.Vault.KeyFile) {
		report("vault.key_file", "the master key must not lie in the ledger's directory %s: whoever takes the one would have the other; name a file elsewhere", c.Ledger.Dir)
	}
	clouds := c.CloudNames()
	if k := c.Vault.KeyVault; k != nil {
		if k.File != "" && c.Ledger.Dir != "" && within(c.Ledger.Dir, k.File) {
			report("vault.key_vault.file", "the wrapped master key must not lie in the ledger's directory %s: a copy of the one would bring the other along, and who loses the one loses both; name a file elsewhere", c.Ledger.Dir)
		}
		if !slices.Contains(clouds, k.Cloud) {
			report("vault.key_vault.cloud", "there is no cloud named %q%s", clip(k.Cloud), didYouMean(k.Cloud, clouds))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Apps)) {
		if cloud := c.Apps[name].Cloud; !slices.Contains(clouds, cloud) {
			report("apps."+name+".cloud", "there is no cloud named %q%s", clip(cloud), didYouMean(cloud, clouds))
		}
	}
	sinks := c.SinkIDs()
	for i, r := range c.Routes {
		for j, id := range r.Sinks {
			if !slices.Contains(sinks, id) {
				report(fmt.Sprintf("routes.%d.sinks.%d", i, j), "there is no sink named %q%s", clip(string(id)), didYouMean(string(id), texts(sinks)))
			}
		}
	}
	c.Routes.check(report)
	c.checkClouds(report)
	c.checkInvitations(report)
	c.checkPartner(report)
	c.checkRoots(report)
}

// checkRoots refuses two sinks that write below one directory: each keeps all
// others out of its root.
func (c *Config) checkRoots(report Report) {
	first := make(map[string]drover.SinkID)
	for _, id := range c.SinkIDs() {
		f := c.Sinks[id].File
		if f == nil || f.Root == "" {
			continue
		}
		root := filepath.Clean(f.Root)
		if other, taken := first[root]; taken {
			report("sinks."+string(id)+".root", "the sink %s writes there too; give each sink of type file a root of its own", other)
			continue
		}
		first[root] = id
	}
}

// CloudNames lists the clouds that a tenant or an app may name, by name.
func (c *Config) CloudNames() []string {
	return slices.Sorted(maps.Keys(maps.Collect(func(yield func(string, bool) bool) {
		for _, n := range builtinClouds {
			if !yield(n, true) {
				return
			}
		}
		for n := range c.Clouds {
			if !yield(n, true) {
				return
			}
		}
	})))
}

// AppNames lists the apps by name.
func (c *Config) AppNames() []string { return slices.Sorted(maps.Keys(c.Apps)) }

// SinkIDs lists the sinks by ID.
func (c *Config) SinkIDs() []drover.SinkID { return slices.Sorted(maps.Keys(c.Sinks)) }

// Warnings lists what is allowed and yet worth a second thought.
func (c *Config) Warnings() Faults {
	var all Faults
	warn := func(path, format string, args ...any) {
		d := decoder{lines: c.lines}
		all = append(all, Fault{c.file, d.lineOf(path), fmt.Sprintf(format, args...)})
	}
	if len(c.Sinks) == 0 {
		warn("sinks", "no sinks: alerts are read and kept, and brought nowhere")
	}
	if len(c.Apps) == 0 {
		warn("apps", "no apps: no tenant can be read")
	}
	if c.Vault.KeyEnv != "" {
		warn("vault.key_env", "an environment variable can be read by more eyes than a file; key_file or key_credential is safer")
	}
	if why := c.KeyBesideLedger(); why != "" {
		warn("vault.key_file", "%s; keep the key elsewhere", why)
	}
	for _, name := range c.AppNames() {
		a := c.Apps[name]
		at := "apps." + name
		if a.Proof() == "" {
			warn(at, "the app %s has no secret, certificate, federated or managed_identity; it can read only tenants that were connected by a sign-in to a public client", name)
		}
		a.Secret.warn(func(text string) { warn(at+".secret", "%s", text) })
		a.NextSecret.warn(func(text string) { warn(at+".next_secret", "%s", text) })
	}
	if p := c.Partner; p != nil {
		p.Secret.warn(func(text string) { warn("partner.secret", "%s", text) })
	}
	for _, name := range slices.Sorted(maps.Keys(c.Clouds)) {
		if c.Clouds[name].AllowPrivate {
			warn("clouds."+name+".allow_private", "tokens for the cloud %s may be sent to private addresses", name)
		}
	}
	if c.Collect.Interval < shortInterval {
		warn("collect.interval", "reading more often than every %s takes much of what Microsoft allows an app and finds little earlier", "15s")
	}
	for _, id := range c.SinkIDs() {
		c.Sinks[id].warn(func(key, text string) { warn(join("sinks."+string(id), key), "%s", text) })
	}
	if c.Listen.Health != "none" && !loopback(c.Listen.Health) {
		warn("listen.health", "other machines can ask for health and metrics, which name tenants and sinks")
	}
	return all.sorted()
}

// within reports whether path lies in dir or is it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// texts makes plain strings of IDs.
func texts[T ~string](ids []T) []string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = string(id)
	}
	return all
}

// IsFaults returns the list of faults in err, nil if err is of another kind.
func IsFaults(err error) Faults {
	var f Faults
	if errors.As(err, &f) {
		return f
	}
	return nil
}
