// Package enrol connects a partner's customers, all at once: in each the app that
// reads is granted its permissions, by the partner's delegated rights, until the
// app's own token shows them. After that the partner is not needed for reading.
//
// It promises (reference partner-gdap §4, §6):
//
//   - A tenant is added only when a token of that tenant carries every permission
//     that was asked for, and it was chosen.
//   - One customer's trouble stays one customer's; what fails at the partner's own
//     endpoint ends the run, and is said once.
//   - What is there is not done again: the same run a second time changes nothing.
//   - Nothing is removed, renamed or taken back, but a consent of the onboarding
//     app that is made anew with more in it.
package enrol

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"drover"
	"drover/internal/gdap"
)

// Directory is a customer's directory as the partner may change it, with one
// token. Errors are *drover.Error.
type Directory interface {
	// Principal finds an app's service principal and the IDs of the roles that it
	// gives, by value; there false if it does not show.
	Principal(ctx context.Context, app string) (id string, roles map[string]string, there bool, err error)
	// Make makes an app known; Grant grants a role. What is there is no error.
	Make(ctx context.Context, app string) error
	Granted(ctx context.Context, id string) ([]gdap.Role, error)
	Grant(ctx context.Context, id string, r gdap.Role) error
}

// Partner is what is needed of the partner. Errors are *drover.Error.
type Partner interface {
	// Enter gets a new token at the customer's endpoint and says which scopes it
	// carries.
	Enter(ctx context.Context, customer drover.TenantID) (d Directory, scopes []string, err error)
	// Consent grants the onboarding app scopes of Microsoft Graph in the customer;
	// made false if it is said that they exist. Withdraw takes them back.
	Consent(ctx context.Context, customer drover.TenantID, scopes []string) (made bool, err error)
	Withdraw(ctx context.Context, customer drover.TenantID) error
	// Wide is why the partner's own endpoint refuses, nil if it does not.
	Wide(ctx context.Context) error
}

// Want is what the app that reads shall be granted of one API.
type Want struct {
	API    string          // application ID
	Values []string        // of its roles
	Source drover.SourceID // one that is read with a token of the API
	Graph  bool            // only a Privileged Role Administrator may grant it
}

// Candidate is a customer of the partner.
type Candidate struct {
	gdap.Customer
	Short string             // short name: the tenant's, if it is in the ledger
	State drover.TenantState // in the ledger, "" if it is not there
}

// Service enrols. All members are required but Parallel, Patience and Show.
type Service struct {
	Partner Partner
	// Roles asks for a token of the reading app's own and says what it carries;
	// known false if the app is not in the tenant, or not yet.
	Roles func(ctx context.Context, tenant drover.TenantID, source drover.SourceID) (roles []string, known bool, err error)
	// Add makes a tenant known, to be read from now on.
	Add    func(ctx context.Context, c Candidate) error
	Reader string // client ID of the app that reads
	Wants  []Want
	Scopes []string // of Microsoft Graph that the onboarding app needs in a customer
	// Keeps are scopes that the onboarding app does not lose where it has them, when
	// its consent is made anew.
	Keeps []string
	// Delegated: customers are to be read with the partner's account itself. Then
	// nothing is granted to the app that reads, Wants is not looked at, and a tenant
	// is added when the account's own token carries Scopes.
	Delegated bool
	// Parallel bounds the customers for which calls are made at the same time; 0: 8.
	// Who waits for Entra to spread something makes none.
	Parallel int
	// Patience is how long each thing that Entra has to spread in a customer is
	// waited for; 0: eight minutes (reference partner-gdap §4c).
	Patience time.Duration
	// Show is told of each result, one at a time.
	Show func(r Result, done, of int)

	slots   chan struct{}
	mu      sync.Mutex
	stopped error
	denied  int // refusals of the reading app itself since the last token
}

// many is how many customers in a row must meet a refusal of the reading app
// itself before it is believed of all: one customer can disable it for itself.
const many = 3

// begin makes the service ready for a run.
func (s *Service) begin() {
	if s.Parallel <= 0 {
		s.Parallel = 8
	}
	if s.Patience <= 0 {
		s.Patience = 8 * time.Minute
	}
	if s.Show == nil {
		s.Show = func(Result, int, int) {}
	}
	s.slots = make(chan struct{}, s.Parallel)
	s.stopped, s.denied = nil, 0
}

// stop ends the run for all; the first reason counts.
func (s *Service) stop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped == nil {
		s.stopped = err
	}
}

func (s *Service) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// errStopped is what a customer meets when the run has ended for all.
var errStopped = errors.New("the run has ended")

// step makes calls for one customer, as soon as it is its turn.
func (s *Service) step(ctx context.Context, do func(context.Context) error) error {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.why() != nil:
		return errStopped
	}
	return do(ctx)
}

// all does something for each candidate, all at the same time, and shows the
// results as they come.
func (s *Service) all(ctx context.Context, list []Candidate, one func(context.Context, Candidate) Result) []Result {
	out := make([]Result, len(list))
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for i, c := range list {
		wg.Go(func() {
			out[i] = one(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			done++
			s.Show(out[i], done, len(list))
		})
	}
	wg.Wait()
	return out
}

// surveyPatience is how long one customer is waited for while nothing is changed.
const surveyPatience = 2 * time.Minute

// Survey looks how each candidate stands, and changes nothing. The error is what
// ended it for all; the results are those that there are.
func (s *Service) Survey(ctx context.Context, list []Candidate) ([]Result, error) {
	s.begin()
	out := s.all(ctx, list, func(ctx context.Context, c Candidate) Result {
		o := s.one(c, min(s.Patience, surveyPatience))
		if r, done := o.stands(ctx); done {
			return r
		}
		return o.res.is(s.foreseen(c), nil)
	})
	return out, s.ended(ctx)
}

func (s *Service) ended(ctx context.Context) error {
	if err := s.why(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// foreseen is what would become of a customer that lacks permissions, by what the
// lists say alone.
func (s *Service) foreseen(c Candidate) Outcome {
	switch c.Standing() {
	case gdap.Pending:
		return Pending
	case gdap.Expired:
		return Expired
	case gdap.Terminated:
		return Terminated
	case gdap.Unrelated:
		return NoRelationship
	}
	held, known := c.Held()
	switch {
	case known && len(held) == 0 && len(c.Roles()) > 0:
		return NoGroup
	case known && len(s.lacks(held)) > 0, len(s.lacks(c.Roles())) > 0:
		return RoleMissing
	}
	return ToGrant
}

// lacks names the roles without which what is wanted cannot be granted.
func (s *Service) lacks(held []string) []string {
	if s.Delegated {
		return append(gdap.Lacks(held, false), gdap.LacksReading(held)...)
	}
	return gdap.Lacks(held, slices.ContainsFunc(s.Wants, func(w Want) bool { return w.Graph }))
}

// heard notes whether the reading app itself is refused.
func (s *Service) heard(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := errors.AsType[*drover.Error](err)
	switch {
	case err == nil:
		s.denied = 0
	case ok && e.App && e.Kind == drover.Denied:
		if s.denied++; s.denied >= many && s.stopped == nil {
			x := *e
			x.Tenant = ""
			s.stopped = &x
		}
	}
}

// Enrol grants in each candidate what it lacks, and adds it when its token shows
// that. The error is what ended the run for all.
func (s *Service) Enrol(ctx context.Context, list []Candidate) ([]Result, error) {
	s.begin()
	out := s.all(ctx, list, func(ctx context.Context, c Candidate) Result {
		return s.one(c, s.Patience).enrol(ctx)
	})
	return out, s.ended(ctx)
}
