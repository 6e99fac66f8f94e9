package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"drover"
)

// SocketName is the socket's name in the ledger's directory.
const SocketName = "admin.sock"

// maxPath is the longest path of a socket, in bytes.
func maxPath() int {
	if runtime.GOOS == "linux" {
		return 107
	}
	return 103 // macOS and the BSDs
}

// maxMessage bounds a request and an answer: 10,000 tenants fit many times.
const maxMessage = 64 << 20

// call describes one method on the wire: POST /v1/<name>, JSON both ways.
type call func(ctx context.Context, api API, arg json.RawMessage) (any, error)

var calls = map[string]call{
	"add_tenant":     with(func(ctx context.Context, a API, n NewTenant) (any, error) { return a.AddTenant(ctx, n) }),
	"apply_tenants":  with(func(ctx context.Context, a API, o ApplyOrder) (any, error) { return a.ApplyTenants(ctx, o) }),
	"import_tenants": with(func(ctx context.Context, a API, o ImportOrder) (any, error) { return a.ImportTenants(ctx, o) }),
	"hold_tenant": with(func(ctx context.Context, a API, h holdOrder) (any, error) {
		return nil, a.HoldTenant(ctx, h.Tenant, h.Why)
	}),
	"erasures":    with(func(ctx context.Context, a API, _ struct{}) (any, error) { return a.Erasures(ctx) }),
	"move_tenant": with(func(ctx context.Context, a API, o moveOrder) (any, error) { return a.MoveTenant(ctx, o.From, o.To) }),
	"release_tenant": with(func(ctx context.Context, a API, h holdOrder) (any, error) {
		return nil, a.ReleaseTenant(ctx, h.Tenant, h.Why)
	}),
	"check_vault":        with(func(ctx context.Context, a API, _ struct{}) (any, error) { return a.CheckVault(ctx) }),
	"rotate_vault":       with(func(ctx context.Context, a API, keepOld bool) (any, error) { return a.RotateVault(ctx, keepOld) }),
	"sealed_credentials": with(func(ctx context.Context, a API, _ struct{}) (any, error) { return a.SealedCredentials(ctx) }),
	"tenants":            with(func(ctx context.Context, a API, _ struct{}) (any, error) { return a.Tenants(ctx) }),
	"tenant":             with(func(ctx context.Context, a API, s string) (any, error) { return a.Tenant(ctx, s) }),
	"pause_tenant":       with(func(ctx context.Context, a API, s string) (any, error) { return nil, a.PauseTenant(ctx, s) }),
	"resume_tenant":      with(func(ctx context.Context, a API, s string) (any, error) { return nil, a.ResumeTenant(ctx, s) }),
	"remove_tenant": with(func(ctx context.Context, a API, r removal) (any, error) {
		return a.RemoveTenant(ctx, r.Tenant, r.Discard)
	}),
	"seal_tenant": with(func(ctx context.Context, a API, s sealing) (any, error) {
		return nil, a.SealTenant(ctx, s.Tenant, drover.NewSecret(s.RefreshToken))
	}),
	"invite":             with(func(ctx context.Context, a API, o InviteOrder) (any, error) { return a.Invite(ctx, o) }),
	"invitations":        with(func(ctx context.Context, a API, _ struct{}) (any, error) { return a.Invitations(ctx) }),
	"confirm_invitation": with(func(ctx context.Context, a API, o InviteConfirm) (any, error) { return a.ConfirmInvitation(ctx, o) }),
	"end_invitation":     with(func(ctx context.Context, a API, o inviteEnd) (any, error) { return a.EndInvitation(ctx, o.ID, o.Why) }),
	"volume":             with(func(ctx context.Context, a API, q VolumeQuery) (any, error) { return a.Volume(ctx, q) }),
	"status":             with(func(ctx context.Context, a API, _ struct{}) (any, error) { return a.Status(ctx) }),
	"prune":              with(func(ctx context.Context, a API, confirmed bool) (any, error) { return a.Prune(ctx, confirmed) }),
	"audit":              with(func(ctx context.Context, a API, o AuditOrder) (any, error) { return a.Audit(ctx, o) }),
	"audit_progress":     with(func(ctx context.Context, a API, id string) (any, error) { return a.AuditProgress(ctx, id) }),
	"alert":              with(func(ctx context.Context, a API, r AlertRef) (any, error) { return a.Alert(ctx, r) }),
	"alert_body":         with(func(ctx context.Context, a API, r AlertRef) (any, error) { return a.AlertBody(ctx, r) }),
	"alert_diff": with(func(ctx context.Context, a API, d diffOrder) (any, error) {
		return a.AlertDiff(ctx, d.AlertRef, d.From, d.To)
	}),
	"partner":         with(func(ctx context.Context, a API, fresh bool) (any, error) { return a.Partner(ctx, fresh) }),
	"keep_partner":    with(func(ctx context.Context, a API, k PartnerKeep) (any, error) { return nil, a.KeepPartner(ctx, k) }),
	"forget_partner":  with(func(ctx context.Context, a API, _ struct{}) (any, error) { return a.ForgetPartner(ctx) }),
	"backfill":        with(func(ctx context.Context, a API, b NewBackfill) (any, error) { return a.Backfill(ctx, b) }),
	"backfills":       with(func(ctx context.Context, a API, _ struct{}) (any, error) { return a.Backfills(ctx) }),
	"cancel_backfill": with(func(ctx context.Context, a API, id int64) (any, error) { return nil, a.CancelBackfill(ctx, id) }),
	"acknowledge_gap": with(func(ctx context.Context, a API, g gapAck) (any, error) {
		return nil, a.AcknowledgeGap(ctx, g.ID, g.Why)
	}),
}

type removal struct {
	Tenant  string `json:"tenant"`
	Discard bool   `json:"discard"`
}

type gapAck struct {
	ID  int64  `json:"id"`
	Why string `json:"why"`
}

func with[T any](f func(context.Context, API, T) (any, error)) call {
	return func(ctx context.Context, api API, arg json.RawMessage) (any, error) {
		var v T
		if len(arg) > 0 {
			if err := json.Unmarshal(arg, &v); err != nil {
				return nil, fmt.Errorf("read the request: %w", err)
			}
		}
		return f(ctx, api, v)
	}
}

// wireError carries an error over the socket.
type wireError struct {
	Op     string          `json:"op"`
	Tenant drover.TenantID `json:"tenant,omitempty"`
	Kind   drover.Kind     `json:"kind"`
	Code   string          `json:"code,omitempty"`
	Hint   string          `json:"hint,omitempty"`
	Text   string          `json:"text"`
}

// Listen opens the socket for its owner only. A socket that an ended process
// left behind is replaced; the caller holds the ledger's lock, so there is no
// other living one.
func Listen(dir string) (net.Listener, error) {
	path := filepath.Join(dir, SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace the admin socket: %w", err)
	}
	if len(path) > maxPath() {
		return nil, &drover.Error{Op: "open the admin socket", Kind: drover.Refused, Hint: "choose a ledger directory with a shorter path (ledger: dir:)", Err: fmt.Errorf("%s has %d bytes; a socket's path may have %d", path, len(path), maxPath())}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("close the admin socket to others: %w", err)
	}
	return l, nil
}

// Serve answers until ctx ends.
func Serve(ctx context.Context, l net.Listener, api API) error {
	mux := http.NewServeMux()
	all := maps.Clone(calls)
	maps.Copy(all, appCalls)
	for name, f := range all {
		mux.HandleFunc("POST /v1/"+name, func(w http.ResponseWriter, r *http.Request) { answer(w, r, api, f) })
	}
	mux.HandleFunc("POST /v1/alerts", func(w http.ResponseWriter, r *http.Request) { list(w, r, api.Alerts) })
	mux.HandleFunc("POST /v1/coverage", func(w http.ResponseWriter, r *http.Request) {
		list(w, r, func(ctx context.Context, q CoverageQuery, each func(Covered) error) (struct{}, error) {
			return struct{}{}, api.Coverage(ctx, q, each)
		})
	})
	mux.HandleFunc("POST /v1/check_tenants", func(w http.ResponseWriter, r *http.Request) {
		list(w, r, func(ctx context.Context, q CheckQuery, each func(Checked) error) (struct{}, error) {
			return struct{}{}, api.CheckTenants(ctx, q, each)
		})
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stopped := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stopped()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the admin socket: %w", err)
	}
	return nil
}

func answer(w http.ResponseWriter, r *http.Request, api API, f call) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	var v any
	if err == nil {
		v, err = f(r.Context(), api, body)
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(onWire(err))
		return
	}
	_ = json.NewEncoder(w).Encode(v)
}

// onWire is an error for the socket, err what it says at the other end.
func onWire(err error) *wireError {
	e := &wireError{Kind: drover.KindOf(err), Hint: Hint(err), Text: err.Error()}
	var de *drover.Error
	if errors.As(err, &de) {
		e.Op, e.Tenant, e.Code = de.Op, de.Tenant, de.Code
		if de.Err != nil {
			e.Text = de.Err.Error()
		}
	}
	return e
}

func (e *wireError) err() error {
	return &drover.Error{Op: e.Op, Tenant: e.Tenant, Kind: e.Kind, Code: e.Code, Hint: e.Hint, Err: errors.New(e.Text)}
}

// Answers reports whether a process answers for the ledger in dir.
func Answers(dir string) bool {
	c, err := net.Dial("unix", filepath.Join(dir, SocketName))
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// Client asks a running process.
type Client struct{ http *http.Client }

var _ API = (*Client)(nil)

// Dial returns a client of the process that has the ledger in dir open. It
// connects with the first call.
func Dial(dir string) *Client {
	var d net.Dialer
	return &Client{&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", filepath.Join(dir, SocketName))
	}}}}
}

func ask[T any](ctx context.Context, c *Client, name string, arg any) (out T, err error) {
	body, err := json.Marshal(arg)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://drover/v1/"+name, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return out, fmt.Errorf("ask the running process: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	dec := json.NewDecoder(io.LimitReader(res.Body, maxMessage))
	if res.StatusCode != http.StatusOK {
		var e wireError
		if err := dec.Decode(&e); err != nil {
			return out, fmt.Errorf("ask the running process: status %d", res.StatusCode)
		}
		return out, e.err()
	}
	if err := dec.Decode(&out); err != nil {
		return out, fmt.Errorf("read the answer of the running process: %w", err)
	}
	return out, nil
}

// AddTenant is API.AddTenant.
func (c *Client) AddTenant(ctx context.Context, t NewTenant) (drover.Tenant, error) {
	return ask[drover.Tenant](ctx, c, "add_tenant", t)
}

// Tenants is API.Tenants.
func (c *Client) Tenants(ctx context.Context) ([]TenantStatus, error) {
	return ask[[]TenantStatus](ctx, c, "tenants", struct{}{})
}

// Tenant is API.Tenant.
func (c *Client) Tenant(ctx context.Context, s string) (TenantStatus, error) {
	return ask[TenantStatus](ctx, c, "tenant", s)
}

// PauseTenant is API.PauseTenant.
func (c *Client) PauseTenant(ctx context.Context, s string) error {
	_, err := ask[any](ctx, c, "pause_tenant", s)
	return err
}

// ResumeTenant is API.ResumeTenant.
func (c *Client) ResumeTenant(ctx context.Context, s string) error {
	_, err := ask[any](ctx, c, "resume_tenant", s)
	return err
}

// RemoveTenant is API.RemoveTenant.
func (c *Client) RemoveTenant(ctx context.Context, s string, discard bool) (Removal, error) {
	return ask[Removal](ctx, c, "remove_tenant", removal{s, discard})
}

// Status is API.Status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, "status", struct{}{})
}

// AcknowledgeGap is API.AcknowledgeGap.
func (c *Client) AcknowledgeGap(ctx context.Context, id int64, why string) error {
	_, err := ask[any](ctx, c, "acknowledge_gap", gapAck{id, why})
	return err
}

// Prune is API.Prune.
func (c *Client) Prune(ctx context.Context, confirmed bool) (PruneStatus, error) {
	return ask[PruneStatus](ctx, c, "prune", confirmed)
}
