package config

import (
	"time"

	"drover"
)

// The types of sinks.
const (
	TypeFile      = "file"
	TypeStdout    = "stdout"
	TypeSplunkHEC = "splunk_hec"
)

var sinkTypes = []string{TypeFile, TypeStdout, TypeSplunkHEC}

// Sink is one destination. Its own keys stand beside these, by its type.
type Sink struct {
	ID drover.SinkID
	// What kind of destination it is.
	Type string `yaml:"type" oneof:"file,stdout,splunk_hec" required:"true"`
	// Where a new sink begins: now, or all that the ledger has.
	From string `yaml:"from" oneof:"now,all" default:"now"`
	// What a record looks like: json is one object with what drover knows and the alert exactly as received; raw is the alert alone.
	Format string `yaml:"format" oneof:"json,raw" default:"json"`
	// Which revisions of an alert it is given: all; no_touches leaves out those in which nothing but the change time has changed; created gives the first of each alert; settled gives its newest state once it has shown nothing new for 10 minutes, and of an alert that never rests the last of each hour.
	Revisions string `yaml:"revisions" oneof:"all,no_touches,created,settled" default:"all"`
	// How many of its destinations (files, indexes, tokens) are served at the same time.
	Lanes int `yaml:"lanes" default:"4" min:"1" max:"64"`
	// What is sent at once.
	Batch Batch `yaml:"batch"`
	// Every hour, and for each tenant's feed that had something, one record of kind manifest says what the sink was given of it, so that a search there can name what is missing, repeated or altered. Readers that take every record for an alert must leave it out.
	Manifests bool `yaml:"manifests" default:"false"`
	// Keys of a sink of type file.
	File *FileSink `variant:"file"`
	// Keys of a sink of type splunk_hec.
	SplunkHEC *SplunkHEC `variant:"splunk_hec"`
}

// Validate refuses manifests where no record says which alert it is.
func (s *Sink) Validate(report Report) {
	if s.Manifests && s.Format == "raw" {
		report("manifests", "manifests need format: json; a raw record does not say which alert it is")
	}
}

// Batch says what is sent at once.
type Batch struct {
	// Most records in one batch.
	MaxRecords int `yaml:"max_records" default:"500" min:"1" max:"100000"`
	// Most bytes in one batch, before compression. A larger record goes alone.
	MaxBytes Size `yaml:"max_bytes" default:"1MB" min:"1kB" max:"64MiB"`
	// How long a record waits for others.
	MaxAge time.Duration `yaml:"max_age" default:"1s" min:"1ms" max:"5m"`
}

// FileSink are the keys of a sink of type file: one line each, once per record.
type FileSink struct {
	// Directory below which all files stand. No other process may write there.
	Root string `yaml:"root" kind:"path" required:"true"`
	// Path of a file below root. {customer}, {tenant}, {name}, {source} and {sink} are the customer's short name, the tenant's ID, the tenant's name, the API and this sink's ID.
	Path string `yaml:"path" kind:"word" default:"{customer}/{tenant}.ndjson"`
	// When a file is put away under its time and a new one begun.
	Rotate Rotate `yaml:"rotate"`
}

// Validate checks the path.
func (f *FileSink) Validate(report Report) {
	if err := CheckPath(f.Path); err != nil {
		report("path", "%v", err)
	}
}

// Rotate says when a file is put away.
type Rotate struct {
	// When it has become this large.
	MaxBytes Size `yaml:"max_bytes" default:"256MiB" min:"1kB" max:"1TiB"`
	// When it has become this old.
	MaxAge time.Duration `yaml:"max_age" default:"24h" min:"1m" max:"365d"`
}

// SplunkHEC are the keys of a sink of type splunk_hec, Splunk's HTTP Event
// Collector.
type SplunkHEC struct {
	// Address of the collector, without a path: https://splunk.example:8088.
	URL string `yaml:"url" kind:"url" required:"true"`
	// Token of the collector: where it is kept.
	Token *SecretRef `yaml:"token" required:"true"`
	// Index; without it the token's own.
	Index string `yaml:"index" kind:"word"`
	// Host field of the events.
	Host string `yaml:"host" kind:"word"`
	// Source field of the events.
	Source string `yaml:"source" kind:"word" default:"drover"`
	// Sourcetype of the events.
	Sourcetype string `yaml:"sourcetype" kind:"word" default:"drover:alert"`
	// The token has indexer acknowledgement switched on: an alert counts as delivered when it is indexed, not when it is received.
	Ack bool `yaml:"ack" default:"false"`
	// PEM file of certificate authorities that are trusted for this sink besides the system's.
	CAFile string `yaml:"ca_file" kind:"path"`
	// What is different for single tenants, by the tenant's name or ID.
	Tenants map[string]SplunkTenant `yaml:"tenants" names:"tenant"`
}

// SplunkTenant is what is different for one tenant. A key that is left out is
// the sink's.
type SplunkTenant struct {
	// Token for this tenant: where it is kept.
	Token *SecretRef `yaml:"token"`
	// Index for this tenant.
	Index string `yaml:"index" kind:"word"`
	// Host field for this tenant.
	Host string `yaml:"host" kind:"word"`
	// Source field for this tenant.
	Source string `yaml:"source" kind:"word"`
	// Sourcetype for this tenant.
	Sourcetype string `yaml:"sourcetype" kind:"word"`
}

// For returns what counts for a tenant: its own entry, found by ID or by name,
// filled up with the sink's values.
func (s *SplunkHEC) For(t drover.Tenant) SplunkTenant {
	own, ok := s.Tenants[string(t.ID)]
	if !ok {
		own = s.Tenants[t.Name]
	}
	for _, f := range []struct {
		own   *string
		whole string
	}{{&own.Index, s.Index}, {&own.Host, s.Host}, {&own.Source, s.Source}, {&own.Sourcetype, s.Sourcetype}} {
		if *f.own == "" {
			*f.own = f.whole
		}
	}
	if own.Token == nil {
		own.Token = s.Token
	}
	return own
}

// warn names what is allowed and worth a second thought.
func (s Sink) warn(say func(key, text string)) {
	h := s.SplunkHEC
	if h == nil {
		return
	}
	if !h.Ack {
		say("ack", "without indexer acknowledgement Splunk says that it has received an alert, not that it has indexed it; what it loses in between is lost there")
	}
	h.Token.warn(func(text string) { say("token", text) })
}
