package config

import (
	"os"
	"path/filepath"
	"strings"
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
	// Entry of the keyring of the operating system that holds the master key (Secret Service, Keychain), filed under drover. For a drover that a person runs in a session; a service has no keyring.
	KeyKeyring string `yaml:"key_keyring" kind:"word"`
	// Key of an Azure Key Vault that wraps the master key, which then lies on this machine in a file that nobody can open without asking the vault.
	KeyVault *KeyVault `yaml:"key_vault"`
}

// Validate checks that one place is named.
func (v *Vault) Validate(report Report) {
	keyVault := ""
	if v.KeyVault != nil {
		keyVault = v.KeyVault.URL
	}
	if named(v.KeyFile, v.KeyEnv, v.KeyCredential, v.KeyKeyring, keyVault) > 1 {
		report("", "vault names the master key more than once; keep one of key_file, key_env, key_credential, key_keyring and key_vault")
	}
}

// none reports whether no place is named.
func (v *Vault) none() bool {
	return v.KeyVault == nil && named(v.KeyFile, v.KeyEnv, v.KeyCredential, v.KeyKeyring) == 0
}

// KeyBesideLedger says that key and ledger would be stolen together, "" if they
// lie apart or the key lies in no file.
func (c *Config) KeyBesideLedger() string {
	if c.Vault.KeyFile == "" || c.Ledger.Dir == "" {
		return ""
	}
	above := filepath.Dir(filepath.Clean(c.Ledger.Dir))
	// What lies apart below /var or /srv is not one thing.
	deep := strings.Count(above, string(filepath.Separator)) >= 3
	if filepath.Dir(c.Vault.KeyFile) != above && !(deep && within(above, c.Vault.KeyFile)) {
		return ""
	}
	return "the master key and the ledger both lie in " + above + ": whoever copies that has both"
}

// How drover signs in to a Key Vault.
const (
	ByManagedIdentity  = "managed_identity"
	ByWorkloadIdentity = "workload_identity"
	ByCertificate      = "certificate"
)

// KeyVault is a key in an Azure Key Vault or a managed HSM, and how drover may use it.
type KeyVault struct {
	// Address of the vault, such as https://contoso.vault.azure.net.
	URL string `yaml:"url" kind:"url" required:"true"`
	// Name of the key in the vault: RSA, with wrapKey and unwrapKey among its permitted operations.
	Key string `yaml:"key" kind:"word" required:"true"`
	// Version of the key that wraps a new master key. What was wrapped before is unwrapped by the version that wrapped it.
	Version string `yaml:"version" kind:"word" standard:"the newest"`
	// How the master key is wrapped. A256KW needs an AES key, which only a managed HSM has.
	Algorithm string `yaml:"algorithm" default:"RSA-OAEP-256" oneof:"RSA-OAEP-256,A256KW"`
	// File of the wrapped master key. Without it, too, nothing in the ledger can be read: keep a copy.
	File string `yaml:"file" kind:"path" standard:"/etc/drover/master.wrapped for root; else drover/master.wrapped in the user's config directory"`
	// What drover signs in as: the identity that Azure gives this machine, the one that Kubernetes gives a pod, or an application with a certificate.
	SignIn string `yaml:"sign_in" default:"managed_identity" oneof:"managed_identity,workload_identity,certificate"`
	// Application (client) ID of the identity. A managed identity of the machine's own needs none.
	ClientID string `yaml:"client_id" kind:"guid"`
	// ID of the directory that the vault and the identity are in.
	Tenant string `yaml:"tenant" kind:"guid"`
	// Cloud of that directory.
	Cloud string `yaml:"cloud" kind:"word" default:"worldwide"`
	// The certificate, for sign_in: certificate.
	Certificate *Certificate `yaml:"certificate"`
	// What the vault's tokens are for, in a cloud where it is not the vault's host without its own name (https://vault.azure.net).
	Resource string `yaml:"resource" kind:"url"`
}

// Validate checks that the sign-in is whole.
func (k *KeyVault) Validate(report Report) {
	switch {
	case k.SignIn == ByCertificate && (k.Certificate == nil || k.ClientID == "" || k.Tenant == ""):
		report("sign_in", "sign_in: certificate needs certificate, client_id and tenant")
	case k.SignIn != ByCertificate && k.Certificate != nil:
		report("certificate", "a certificate is used by sign_in: certificate only; write that, or leave the certificate out")
	case k.Certificate != nil && k.Certificate.Sealed:
		report("certificate", "a certificate that opens the master key cannot be sealed by it; name file and key_file")
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

// keyFile is the standard place of the master key, wrapped or not.
func keyFile(name string) string {
	if os.Geteuid() != 0 {
		if dir, err := os.UserConfigDir(); err == nil {
			return filepath.Join(dir, "drover", name)
		}
	}
	return "/etc/drover/" + name
}
