package config

import (
	"strconv"
	"strings"
)

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
	// Page that the links of drover tenant invite lead to, for customers' admins. Without url there is none.
	Invitations Invitations `yaml:"invitations"`
}

// Invitations is the page that the links of drover tenant invite lead to.
type Invitations struct {
	// Public address of the page, as customers' browsers see it: https://<your domain>/SiemMsspConnector. The app's registration must have it, with /callback behind it, as a redirect URI of the platform Web, byte for byte.
	URL string `yaml:"url" kind:"url"`
	// Address to listen on. On loopback a reverse proxy is to stand before it; elsewhere certificate and key must be there.
	Address string `yaml:"address" kind:"address" default:"127.0.0.1:9465"`
	// PEM file of the certificate with its chain. It is read again when it has changed. Without it plain HTTP is spoken, to a reverse proxy on this machine.
	Certificate string `yaml:"certificate" kind:"path"`
	// PEM file of the certificate's key.
	Key string `yaml:"key" kind:"path"`
}

// Redirect is where a sign-in leads back to.
func (i Invitations) Redirect() string { return i.URL + "/callback" }

// MSSP says who you are, to customers' admins.
type MSSP struct {
	// Your company's name, as your customers know it.
	Name string `yaml:"name" kind:"word"`
	// How an admin reaches you with a question: a mail address or a telephone number.
	Contact string `yaml:"contact" kind:"word"`
}

// checkInvitations is for what the page's address, its listener and its words
// must agree on.
func (c *Config) checkInvitations(report Report) {
	i := c.Listen.Invitations
	switch {
	case i.URL == "":
		if i.Certificate != "" || i.Key != "" {
			report("listen.invitations", "say at which address customers find the page: url: https://<your domain>/SiemMsspConnector")
		}
		return
	case strings.Count(i.URL, "/") < 3:
		report("listen.invitations.url", "the address needs a path, such as %s/SiemMsspConnector", i.URL)
	}
	if c.MSSP.Name == "" {
		report("listen.invitations", "the page tells customers who asks: say so under mssp: name:")
	}
	switch {
	case i.Address == "none":
		report("listen.invitations.address", "to have no page, leave url out")
	case (i.Certificate == "") != (i.Key == ""):
		report("listen.invitations", "certificate and key belong together")
	case i.Certificate == "" && !loopback(i.Address):
		report("listen.invitations.address", "without certificate and key plain HTTP is spoken, on loopback only; name both, or put a reverse proxy on this machine before 127.0.0.1:9465")
	}
}

// Log is what drover says of itself, on standard error.
type Log struct {
	// Least important lines that are written.
	Level string `yaml:"level" oneof:"debug,info,warn,error" default:"info"`
	// Form of a line.
	Format string `yaml:"format" oneof:"text,json" default:"text"`
}

func itoa(n int) string { return strconv.Itoa(n) }
