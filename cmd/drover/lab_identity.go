package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"drover/internal/lab"
	"drover/internal/lab/authority"
)

// serveIdentity plays the identity service of the machine on an address, and
// says how a client finds it and what an app's registration must trust.
func (s *stage) serveIdentity(listen string, out io.Writer) (stop func() error, err error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, denied("listen for the identity service", "give --identity a free address", err)
	}
	header := rand.Text()
	srv := &http.Server{Handler: s.lab.IdentityService(s.addr, header), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }()
	id := authority.Identity{ClientID: "c1000000-0000-4000-8000-000000000001", Tenant: lab.HomeTenant}
	s.lab.Directory().AddIdentity(id)
	_, err = fmt.Fprintf(out, "identity of this machine: client ID %s\n  drover finds it with IDENTITY_ENDPOINT=http://%s/msi/token IDENTITY_HEADER=%s\n  an app trusts it by --issuer https://%s/%s/v2.0 --subject %s\n",
		id.ClientID, l.Addr(), header, s.addr, lab.HomeTenant, id.Principal())
	return srv.Close, err
}
