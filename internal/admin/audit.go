package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"drover"
)

// audits are the audits under way, with what each has told last.
type audits struct {
	mu   sync.Mutex
	says map[string]string
}

// maxAudits bounds how many run at once: each of them reads from the APIs.
const maxAudits = 2

func (a *audits) begin(id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.says == nil {
		a.says = make(map[string]string)
	}
	if _, taken := a.says[id]; taken || len(a.says) >= maxAudits {
		return &drover.Error{Op: "audit", Kind: drover.Transient, Err: fmt.Errorf("%d audits run already", len(a.says)), Hint: "wait for them to end"}
	}
	a.says[id] = "begins"
	return nil
}

func (a *audits) say(id, line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.says[id] = line
}

func (a *audits) end(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.says, id)
}

// Audit compares a window with what the APIs show.
func (l *Local) Audit(ctx context.Context, o AuditOrder) (json.RawMessage, error) {
	const op = "audit"
	if l.AuditWith == nil {
		return nil, errors.New("no audit is available here")
	}
	var tenants []drover.TenantID
	for _, name := range o.Tenants {
		t, err := l.find(ctx, op, name)
		if err != nil {
			return nil, err
		}
		tenants = append(tenants, t.ID)
	}
	if len(o.Tenants) == 0 {
		all, err := l.Store.ListTenants(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			if t.State != drover.Removed {
				tenants = append(tenants, t.ID)
			}
		}
	}
	for _, s := range o.Sinks {
		known := make([]string, len(l.Sinks))
		for i := range l.Sinks {
			known[i] = string(l.Sinks[i])
		}
		if err := oneOf("sink", string(s), known); err != nil {
			return nil, usage(op, "see sinks: in the config", err)
		}
	}
	if err := l.audits.begin(o.ID); err != nil {
		return nil, err
	}
	defer l.audits.end(o.ID)
	return l.AuditWith(ctx, o, tenants, func(line string) { l.audits.say(o.ID, line) })
}

// AuditProgress tells how an audit goes; "" if there is none such.
func (l *Local) AuditProgress(_ context.Context, id string) (string, error) {
	l.audits.mu.Lock()
	defer l.audits.mu.Unlock()
	return l.audits.says[id], nil
}

// Audit is API.Audit.
func (c *Client) Audit(ctx context.Context, o AuditOrder) (json.RawMessage, error) {
	return ask[json.RawMessage](ctx, c, "audit", o)
}

// AuditProgress is API.AuditProgress.
func (c *Client) AuditProgress(ctx context.Context, id string) (string, error) {
	return ask[string](ctx, c, "audit_progress", id)
}
