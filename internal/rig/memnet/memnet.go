// Package memnet is a network in memory, for rigs in virtual time: in a bubble
// of testing/synctest there are no sockets.
package memnet

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Network leads from any name to one server. It is the server's net.Listener.
type Network struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// New returns a network on which nobody serves yet; who dials waits.
func New() *Network {
	return &Network{accept: make(chan net.Conn), closed: make(chan struct{})}
}

var errNobody = errors.New("nobody listens")

// Dial connects to the server, whatever the address.
func (n *Network) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case n.accept <- there:
		return here, nil
	case <-n.closed:
		return nil, errNobody
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (n *Network) Accept() (net.Conn, error) {
	select {
	case c := <-n.accept:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (n *Network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

// Addr implements net.Listener.
func (n *Network) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "memory"} }
