package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
)

// bulk is a prepared statement of many rows with room for its arguments. It is
// run on the driver itself: database/sql would copy and look at each of some
// hundred arguments once more.
type bulk struct {
	stmt driver.Stmt
	args []driver.NamedValue
	n    int
}

// add sets the next arguments: int64 or []byte.
func (b *bulk) add(values ...driver.Value) {
	for _, v := range values {
		b.args[b.n].Value = v
		b.n++
	}
}

var errDriver = errors.New("the driver cannot run prepared statements with a context")

// many returns the prepared statement for a query with so many arguments, none
// of them set; nil after an error.
func (t *tx) many(query string, args int) *bulk {
	if t.err != nil {
		return nil
	}
	b := t.s.bulk[query]
	if b == nil {
		b = &bulk{args: make([]driver.NamedValue, args)}
		for i := range b.args {
			b.args[i].Ordinal = i + 1
		}
		t.err = t.s.conn.Raw(func(c any) (err error) {
			p, ok := c.(driver.ConnPrepareContext)
			if !ok {
				return errDriver
			}
			b.stmt, err = p.PrepareContext(context.WithoutCancel(t.ctx), query)
			return err
		})
		if t.err != nil {
			return nil
		}
		t.s.bulk[query] = b
	}
	b.n = 0
	return b
}

// run runs the statement once all its arguments are set, and forgets them.
func (t *tx) run(b *bulk) {
	if t.err != nil {
		return
	}
	defer func() {
		for i := range b.args {
			b.args[i].Value = nil
		}
	}()
	t.err = t.s.conn.Raw(func(any) error {
		s, ok := b.stmt.(driver.StmtExecContext)
		if !ok {
			return errDriver
		}
		_, err := s.ExecContext(t.ctx, b.args)
		return err
	})
}
