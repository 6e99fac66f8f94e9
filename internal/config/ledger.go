package config

import (
	"os"
	"path/filepath"
	"time"
)

// Ledger is where everything that was read is kept.
type Ledger struct {
	// Directory of the ledger, on a local disk. Only the user that runs drover may read it.
	Dir string `yaml:"dir" kind:"path" standard:"$STATE_DIRECTORY; else /var/lib/drover for root; else $XDG_DATA_HOME/drover or ~/.local/share/drover"`
	// How much disk the ledger may take. Without it, as much as the volume has.
	Limit Size `yaml:"limit" min:"64MiB" standard:"the volume"`
	// How long alert bodies are kept once every sink has them.
	Bodies time.Duration `yaml:"bodies" default:"90d" min:"1d" max:"3650d"`
	// How long a sink that does not take alerts may hold them back; what is older becomes a gap at that sink.
	Hold time.Duration `yaml:"hold" default:"30d" min:"1h" max:"3650d"`
	// How much of the limit one sink may hold back.
	HoldShare Share `yaml:"hold_share" default:"20%" min:"1%" max:"90%"`
	// Region the ledger is bound to when it is made, for tenants whose data must stay in one.
	Region string `yaml:"region" kind:"word"`
	// Allow a network file system. Its locks and its fsync are often not what they say, and then a crash can lose alerts.
	AllowNetworkFS bool `yaml:"allow_network_fs" default:"false"`
}

// Validate checks the ledger's keys together.
func (l *Ledger) Validate(report Report) {
	if l.Hold > l.Bodies {
		report("hold", "a sink cannot hold back alerts for longer than their bodies are kept; write hold of at most the %s of bodies, or keep bodies longer", days(l.Bodies))
	}
}

// days renders a duration for a message: whole days, or as Go does.
func days(d time.Duration) string {
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return itoa(int(d/(24*time.Hour))) + "d"
	}
	return d.String()
}

// Vault says where the master key is kept: exactly one place.
type Vault struct {
	// File that holds the master key. It must not lie in the ledger's directory, and only the user that runs drover may read it.
	KeyFile string `yaml:"key_file" kind:"path" standard:"/etc/drover/master.key for root; else drover/master.key in the user's config directory"`
	// Environment variable that holds the master key. It is removed once read.
	KeyEnv string `yaml:"key_env" kind:"word"`
	// Name of the systemd credential (LoadCredential=) that holds the master key.
	KeyCredential string `yaml:"key_credential" kind:"word"`
}

// Validate checks that one place is named.
func (v *Vault) Validate(report Report) {
	if named(v.KeyFile, v.KeyEnv, v.KeyCredential) > 1 {
		report("", "vault names the master key more than once; keep one of key_file, key_env and key_credential")
	}
}

// named counts the texts that are not empty.
func named(texts ...string) int {
	n := 0
	for _, t := range texts {
		if t != "" {
			n++
		}
	}
	return n
}

// stateDir is the standard place of the ledger.
func stateDir() string {
	if dir := os.Getenv("STATE_DIRECTORY"); filepath.IsAbs(dir) {
		return filepath.Clean(dir)
	}
	if os.Geteuid() == 0 {
		return "/var/lib/drover"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "drover")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "drover")
	}
	return "drover-ledger"
}

// keyFile is the standard place of the master key.
func keyFile() string {
	if os.Geteuid() != 0 {
		if dir, err := os.UserConfigDir(); err == nil {
			return filepath.Join(dir, "drover", "master.key")
		}
	}
	return "/etc/drover/master.key"
}
