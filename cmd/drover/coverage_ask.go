package main

import (
	"context"
	"errors"
	"slices"

	"drover"
	"drover/internal/admin"
	"drover/internal/coverage"
	"drover/internal/defender"
	"drover/internal/entra"
)

// cover asks each feed of a tenant: what its token carries, whether the API
// answers, and which products the answer says are not there.
func (a *app) cover(ctx context.Context, t drover.Tenant, fresh bool) (out []coverage.Source) {
	if fresh {
		a.tokens.Forget(t.ID)
	}
	known := a.sources()
	for _, id := range t.Sources {
		s := coverage.Source{ID: id, Answer: coverage.Open}
		if wants := entra.Wants(id); wants != nil {
			s.Wants = wants[0]
		}
		i := slices.IndexFunc(known, func(s drover.Source) bool { return s.ID() == id })
		if i < 0 {
			s.Answer, s.Says = coverage.Denied, "this drover cannot read it"
			out = append(out, s)
			continue
		}
		token, err := a.tokens.Token(ctx, t, id)
		if err == nil {
			if p, ok := entra.Carried(token); ok {
				a.carried(&s, t, p)
			}
			err = probe(ctx, known[i], t, &s)
		} else if unfit, ok := errors.AsType[*entra.Unfit](err); ok {
			a.carried(&s, t, unfit.Permissions)
		}
		if err != nil {
			s.Answer, s.Says, s.Hint = answerOf(err, id), err.Error(), admin.Hint(err)
			if de, ok := errors.AsType[*drover.Error](err); ok && de.Err != nil {
				s.Says = de.Op + ": " + de.Err.Error() // the tenant is named above
			}
		}
		out = append(out, s)
	}
	return out
}

// carried notes what a token carries, and which sources of its API that opens.
func (a *app) carried(s *coverage.Source, t drover.Tenant, p entra.Permissions) {
	s.Permissions, s.Delegated = p.List, p.Delegated
	c, err := a.clouds.Of(t)
	if err != nil {
		return
	}
	for _, other := range allSources {
		if open, known := p.Open(other); open && known && c.Resource(other) == c.Resource(s.ID) {
			s.Opens = append(s.Opens, other)
		}
	}
}

// probe reads the newest minute.
func probe(ctx context.Context, source drover.Source, t drover.Tenant, s *coverage.Source) error {
	page, err := newest(ctx, source, t)
	s.Absent = page.Absent
	for _, gap := range page.Skipped {
		if gap.Provider != "" && !slices.Contains(s.Failed, gap.Provider) {
			s.Failed = append(s.Failed, gap.Provider)
		}
	}
	return err
}

// newest reads the newest minute of a feed. The page's rows are not valid.
func newest(ctx context.Context, source drover.Source, t drover.Tenant) (drover.Page, error) {
	now := nowInstant()
	pass := source.Read(t, drover.Span{From: now.Add(-minute), To: now})
	if c, ok := pass.(interface{ Close() }); ok {
		defer c.Close()
	}
	return pass.Next(ctx)
}

// answerOf says what a refusal means for coverage.
func answerOf(err error, id drover.SourceID) coverage.Answer {
	if drover.KindOf(err) != drover.Denied {
		return coverage.Unasked
	}
	if r, ok := errors.AsType[*defender.Refusal](err); ok {
		return map[defender.Reason]coverage.Answer{defender.MissingRole: coverage.NotGranted, defender.NoDefender: coverage.NotOnboarded, defender.EitherOne: coverage.Ambiguous}[r.Reason]
	}
	if u, ok := errors.AsType[*entra.Unfit](err); ok {
		if open, known := u.Open(id); known && !open {
			return coverage.NotGranted
		}
	}
	if r, ok := errors.AsType[*entra.Refusal](err); ok {
		switch r.Class {
		case entra.Consent, entra.NoPrincipal:
			return coverage.NotGranted
		case entra.NotLicensed:
			return coverage.NotOnboarded
		}
	}
	return coverage.Denied
}
