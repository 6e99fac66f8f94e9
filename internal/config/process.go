package config

import "strconv"

// Proxy says how the outside is reached: none, environment (HTTPS_PROXY and
// NO_PROXY), or the proxy's URL.
type Proxy struct {
	// Way to Microsoft.
	Microsoft string `yaml:"microsoft" kind:"proxy" default:"environment"`
	// Way to the sinks.
	Sinks string `yaml:"sinks" kind:"proxy" default:"none"`
}

// CA names PEM files of certificate authorities, for networks that break TLS
// open on the way out.
type CA struct {
	// Trusted besides the system's for everything of Microsoft.
	Microsoft string `yaml:"microsoft" kind:"path"`
	// Trusted besides the system's for all sinks. A sink's own ca_file is added to it.
	Sinks string `yaml:"sinks" kind:"path"`
}

// Listen is where drover answers.
type Listen struct {
	// Address for health and metrics, or none.
	Health string `yaml:"health" kind:"address" default:"127.0.0.1:9464"`
}

// Log is what drover says of itself, on standard error.
type Log struct {
	// Least important lines that are written.
	Level string `yaml:"level" oneof:"debug,info,warn,error" default:"info"`
	// Form of a line.
	Format string `yaml:"format" oneof:"text,json" default:"text"`
}

func itoa(n int) string { return strconv.Itoa(n) }
