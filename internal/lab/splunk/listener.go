package splunk

import "net"

// Listener wraps l so that an outage resets connections at accept, before a
// byte of TLS or HTTP. For a refused connection close l itself.
func (r *Receiver) Listener(l net.Listener) net.Listener { return &resetting{l, r} }

type resetting struct {
	net.Listener
	r *Receiver
}

// Accept implements net.Listener.
func (l *resetting) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || !l.r.out() {
			return c, err
		}
		l.r.mu.Lock()
		l.r.count.Faults["outage"]++
		l.r.mu.Unlock()
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // a reset rather than an orderly end
		}
		_ = c.Close()
	}
}
