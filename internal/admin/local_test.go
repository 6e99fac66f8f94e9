package admin

import (
	"context"
	"errors"
	"testing"

	"drover"
	"drover/internal/ledger"
)

// placeless is a store whose Places ends in an error.
type placeless struct {
	ledger.Store
	err error
}

func (p placeless) Places(context.Context, drover.SinkID) ([]ledger.Place, error) { return nil, p.err }

func TestOnlyASinkThatNobodyHasServedYetMayHaveNoPlaces(t *testing.T) {
	lost := &drover.Error{Op: "read places", Kind: drover.Broken, Err: errors.New("a place is gone")}
	for name, tt := range map[string]struct{ err, want error }{
		"never served":    {&drover.Error{Op: "read places", Kind: drover.Broken, Err: ledger.ErrNotFound}, nil},
		"a place is lost": {lost, lost},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := (&Local{Store: placeless{err: tt.err}}).sink(t.Context(), "soc", nil)
			if !errors.Is(err, tt.want) || s.ID != "soc" {
				t.Errorf("got %+v, %v, want %v", s, err, tt.want)
			}
		})
	}
}
