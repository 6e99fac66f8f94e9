package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"drover"
	"drover/internal/ledger"
)

// twoTenants is a store that knows two tenants, one of them removed.
type twoTenants struct{ ledger.Store }

func (twoTenants) ListTenants(context.Context) ([]drover.Tenant, error) {
	return []drover.Tenant{{ID: "a", Name: "contoso", State: drover.Active}, {ID: "b", Name: "gone", State: drover.Removed}}, nil
}

func (twoTenants) FindTenant(_ context.Context, s string) (drover.Tenant, error) {
	if s == "gone" {
		return drover.Tenant{ID: "b"}, nil
	}
	return drover.Tenant{}, ledger.ErrNotFound
}

func TestAnAuditIsAskedOfARunningProcessAndTellsHowItGoes(t *testing.T) {
	told, free := make(chan struct{}), make(chan struct{})
	var asked []drover.TenantID
	l := &Local{Store: twoTenants{}, Sinks: []drover.SinkID{"soc"}, AuditWith: func(ctx context.Context, _ AuditOrder, tenants []drover.TenantID, says func(string)) (json.RawMessage, error) {
		asked = tenants
		says("half of it")
		told <- struct{}{}
		select {
		case <-free:
			return json.RawMessage(`{"verdict":"agree"}`), nil
		case <-ctx.Done():
			told <- struct{}{}
			return nil, ctx.Err()
		}
	}}
	dir := t.TempDir()
	sock, err := net.Listen("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = Serve(ctx, sock, l) }()
	api := Dial(dir)

	done := make(chan error, 1)
	go func() {
		text, err := api.Audit(t.Context(), AuditOrder{ID: "1"})
		if string(text) != `{"verdict":"agree"}` && err == nil {
			err = errors.New(string(text))
		}
		done <- err
	}()
	<-told
	if line, err := api.AuditProgress(t.Context(), "1"); err != nil || line != "half of it" {
		t.Errorf("%q, %v", line, err)
	}
	if _, err := api.Audit(t.Context(), AuditOrder{ID: "1"}); drover.KindOf(err) != drover.Transient {
		t.Errorf("the same once more: %v", err)
	}
	close(free)
	if err := <-done; err != nil || len(asked) != 1 || asked[0] != "a" {
		t.Errorf("%v of %v", err, asked)
	}
	if line, err := api.AuditProgress(t.Context(), "1"); err != nil || line != "" {
		t.Errorf("after its end: %q, %v", line, err)
	}

	for says, o := range map[string]AuditOrder{`no tenant "nobody"`: {ID: "2", Tenants: []string{"nobody"}}, `no sink named "x"`: {ID: "3", Sinks: []drover.SinkID{"x"}}} {
		if _, err := api.Audit(t.Context(), o); drover.KindOf(err) != drover.Refused || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %s", err, says)
		}
	}

	// Who asks goes away: the audit ends.
	free = make(chan struct{})
	gone, leave := context.WithCancel(t.Context())
	go func() { _, err := api.Audit(gone, AuditOrder{ID: "4"}); done <- err }()
	<-told
	leave()
	<-told
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
