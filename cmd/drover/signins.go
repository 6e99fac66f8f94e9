package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/signin"
)

// signIn says how the sign-in stands by which a tenant is read; nil if it is
// read with the app's own permissions. One that cannot be opened is said by
// drover tenant check.
func (a *app) signIn(ctx context.Context, t drover.Tenant) *admin.SignInStatus {
	s, ok, err := a.keeping.Of(ctx, t)
	if err != nil || !ok {
		return nil
	}
	out := &admin.SignInStatus{Renewed: s.Renewed, Ends: s.Ends, Hint: s.Hint}
	if s.Trouble != nil {
		out.Trouble = s.Trouble.Error()
	}
	return out
}

// printSignIn says by what a tenant is read, and how old that is.
func printSignIn(w io.Writer, s *admin.SignInStatus, now time.Time) {
	if s == nil {
		_, _ = fmt.Fprintln(w, "read by\tthe app's own permissions")
		return
	}
	days := max(now.Sub(s.Renewed.Time()), 0) / (24 * time.Hour)
	_, _ = fmt.Fprintf(w, "read by\ta person's sign-in, renewed %s, %d of %d days ago; not used again it ends on %s\n", short(s.Renewed), days, signin.Life/(24*time.Hour), s.Ends.UTC().Format(time.DateOnly))
	if s.Trouble != "" {
		_, _ = fmt.Fprintf(w, "\tit could not be renewed: %s\n\thint: %s\n", clean(s.Trouble), clean(s.Hint))
	}
}

// refusedSignIns lists the sign-ins that Entra does not take any more, for
// drover status.
func refusedSignIns(refused map[drover.TenantID]signin.Status) (list []admin.EndStatus) {
	for _, id := range slices.Sorted(maps.Keys(refused)) {
		s := refused[id]
		list = append(list, admin.EndStatus{What: "the sign-in of tenant " + string(id), Until: s.Ends, Ended: true, Says: "the sign-in by which it is read is refused: " + s.Trouble.Error(), Hint: s.Hint})
	}
	return list
}
