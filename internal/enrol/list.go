package enrol

import (
	"context"
	"fmt"
	"sync"

	"drover"
	"drover/internal/gdap"
)

// Lists are what says who the customers are. Errors are *drover.Error.
type Lists interface {
	Relationships(ctx context.Context) ([]gdap.Of, error)
	// Groups are those that the account is in; Assigned, the roles of a
	// relationship that one of them holds.
	Groups(ctx context.Context) (map[string]bool, error)
	Assigned(ctx context.Context, relationship string, groups map[string]bool) (roles []string, err error)
	Customers(ctx context.Context) ([]gdap.Named, error)
	Contracts(ctx context.Context) ([]gdap.Named, error)
	CenterCustomers(ctx context.Context) ([]gdap.Named, error)
}

// sideBySide bounds the calls that are made at the same time for one list.
const sideBySide = 8

// List puts the partner's customers together. Without the relationships there is
// no list; what else cannot be had stands in notes.
func List(ctx context.Context, l Lists) (customers []gdap.Customer, notes []string, err error) {
	relationships, err := l.Relationships(ctx)
	if err != nil {
		return nil, nil, err
	}
	note := func(what string, err error) {
		if err != nil {
			text := fmt.Sprintf("%s: %v", what, err)
			if hint := drover.HintOf(err); hint != "" {
				text += "; " + hint
			}
			notes = append(notes, text)
		}
	}
	groups, err := l.Groups(ctx)
	note("which roles the account holds cannot be told", err)
	if err == nil {
		note("which roles the account holds cannot be told of every relationship", hold(ctx, l, relationships, groups))
	}
	lists := make(map[string][]gdap.Named)
	for _, x := range []struct {
		name string
		get  func(context.Context) ([]gdap.Named, error)
	}{{gdap.FromCustomers, l.Customers}, {gdap.FromCenter, l.CenterCustomers}, {gdap.FromContracts, l.Contracts}} {
		rows, err := x.get(ctx)
		note("names from the list "+x.name+" are missing", err)
		if err == nil {
			lists[x.name] = rows
		}
	}
	return gdap.Merge(relationships, lists), notes, ctx.Err()
}

// hold fills in which roles the account holds by each active relationship. The
// error is one of those that were met.
func hold(ctx context.Context, l Lists, list []gdap.Of, groups map[string]bool) (failed error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, sideBySide)
	for i := range list {
		r := &list[i].Relationship
		if r.Status != gdap.Active {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			roles, err := l.Assigned(ctx, r.ID, groups)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
				return
			}
			r.Held, r.HeldKnown = roles, true
		})
	}
	wg.Wait()
	return failed
}
