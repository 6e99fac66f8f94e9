package main

import (
	"path/filepath"
	"strings"
	"testing"

	"drover/internal/config"
	"drover/internal/entra"
)

// The config must not import the table of clouds; what it says of them is the
// same.
func TestTheConfigsDefaultsAreTheTables(t *testing.T) {
	dir := t.TempDir()
	load := func(cloud string) (*config.Config, error) {
		path := filepath.Join(dir, "drover.yaml")
		put(t, path, "clouds: {"+cloud+": {authority: \"https://login.own.example\", graph: \"https://graph.own.example\"}}\nledger: {dir: "+dir+"/ledger}\nvault: {key_file: "+dir+"/k}\nsinks: {a: {type: file, root: "+dir+"/out}}\n")
		return config.Load(path)
	}
	cfg, err := load("own")
	if err != nil {
		t.Fatal(err)
	}
	usual := entra.BuiltIn()[entra.DefaultCloud]
	if c := cfg.Clouds["own"]; c.SIEMResource != usual.SIEMResource || c.MDEResource != usual.MDEResource {
		t.Errorf("%s and %s, the table says %s and %s", c.SIEMResource, c.MDEResource, usual.SIEMResource, usual.MDEResource)
	}
	put(t, filepath.Join(dir, "drover.yaml"), "apps: {default: {client_id: 22222222-2222-4222-8222-222222222222, secret: {file: s}}}\npartner: {tenant: 22222222-2222-4222-8222-222222222223, client_id: 22222222-2222-4222-8222-222222222224, secret: {file: s}}\nledger: {dir: "+dir+"/ledger}\nvault: {key_file: "+dir+"/k}\nsinks: {a: {type: file, root: "+dir+"/out}}\n")
	if cfg, err = config.Load(filepath.Join(dir, "drover.yaml")); err != nil {
		t.Fatal(err)
	}
	if p := cfg.Partner; p.Center != entra.PartnerCenter || p.CenterResource != entra.PartnerCenter {
		t.Errorf("%s and %s, the table says %s", p.Center, p.CenterResource, entra.PartnerCenter)
	}
	for _, name := range entra.BuiltIn().Names() {
		if _, err := load(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a cloud of one's own may be named %s: %v", name, err)
		}
	}
}
