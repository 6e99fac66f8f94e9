package lab

import (
	"crypto/tls"
	"net"

	"drover/internal/lab/fault"
)

// listener deals the faults of connections: those that come before any
// request.
type listener struct {
	net.Listener
	lab *Lab
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		faults := l.lab.faults.Deal("conn", "")
		if len(faults) == 0 {
			return c, nil
		}
		for kind := range faults {
			l.lab.truth.Event("connection", "fault", kind)
		}
		if f, ok := faults[fault.Reset]; ok && f.Value != "tls" {
			reset(c)
			continue
		}
		return &conn{Conn: c, faults: faults}, nil
	}
}

// reset closes a connection so that the other side sees a reset.
func reset(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = c.Close()
}

// conn is a connection with faults.
type conn struct {
	net.Conn
	faults map[string]fault.Rule
}

func (c *conn) Read(b []byte) (int, error) {
	if _, ok := c.faults[fault.Hang]; ok { // takes all and says nothing
		for {
			if _, err := c.Conn.Read(b); err != nil {
				return 0, err
			}
		}
	}
	n, err := c.Conn.Read(b)
	if _, ok := c.faults[fault.Reset]; ok {
		reset(c.Conn)
		return 0, net.ErrClosed
	}
	return n, err
}

// badTLS is the configuration of a connection whose handshake shall not hold;
// nil for the others.
func (l *Lab) badTLS(h *tls.ClientHelloInfo) (*tls.Config, error) {
	if l.Reach(h.ServerName) != nil {
		reset(h.Conn)
		return nil, net.ErrClosed
	}
	c, ok := h.Conn.(*conn)
	if !ok {
		return nil, nil
	}
	f, ok := c.faults[fault.TLS]
	if !ok {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return l.ca.bad(h, f.Value) }}
	if f.Value == "old" {
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 //nolint:gosec // that is the fault
	}
	return cfg, nil
}

var protocols = []string{"h2", "http/1.1"}
