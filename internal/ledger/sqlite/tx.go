package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"
)

// session is a connection with the statements that were prepared on it.
type session struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	bulk  map[string]*bulk
}

func newSession(conn *sql.Conn) *session {
	return &session{conn, make(map[string]*sql.Stmt), make(map[string]*bulk)}
}

// end closes the statements and the connection.
func (s *session) end() error {
	var errs []error
	for _, st := range s.stmts {
		errs = append(errs, st.Close())
	}
	for _, b := range s.bulk {
		errs = append(errs, b.stmt.Close())
	}
	return errors.Join(append(errs, s.conn.Close())...)
}

// prepared returns the statement for a query.
func (s *session) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if st := s.stmts[query]; st != nil {
		return st, nil
	}
	st, err := s.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s.stmts[query] = st
	return st, nil
}

// direct runs a statement that begins, ends or divides a transaction.
func (s *session) direct(ctx context.Context, statement string) error {
	st, err := s.prepared(ctx, statement)
	if err == nil {
		_, err = st.ExecContext(ctx)
	}
	return err
}

// tx is a transaction as its users see it. The first error sticks;
// after it everything else does nothing.
type tx struct {
	s   *session
	ctx context.Context
	err error
}

// stmt returns the prepared statement for a query.
func (t *tx) stmt(query string) *sql.Stmt {
	if t.err != nil {
		return nil
	}
	s, err := t.s.prepared(t.ctx, query)
	t.err = err
	return s
}

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(query string, args ...any) int64 {
	if strings.HasPrefix(query, "PRAGMA") || strings.HasPrefix(query, "CREATE") {
		if t.err == nil {
			_, t.err = t.s.conn.ExecContext(t.ctx, query)
		}
		return 0
	}
	s := t.stmt(query)
	if s == nil {
		return 0
	}
	res, err := s.ExecContext(t.ctx, args...)
	if err != nil {
		t.err = err
		return 0
	}
	n, err := res.RowsAffected()
	if err != nil {
		t.err = err
	}
	return n
}

// insert returns the rowid of the row that it adds.
func (t *tx) insert(query string, args ...any) int64 {
	s := t.stmt(query)
	if s == nil {
		return 0
	}
	res, err := s.ExecContext(t.ctx, args...)
	if err != nil {
		t.err = err
		return 0
	}
	id, err := res.LastInsertId()
	if err != nil {
		t.err = err
	}
	return id
}

type row struct {
	t   *tx
	row *sql.Row
}

func (t *tx) row(query string, args ...any) row {
	s := t.stmt(query)
	if s == nil {
		return row{t: t}
	}
	return row{t, s.QueryRowContext(t.ctx, args...)}
}

// scan reads the row and reports whether there was one.
func (r row) scan(dest ...any) bool {
	if r.row == nil {
		return false
	}
	err := r.row.Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false
	}
	if err != nil {
		r.t.err = err
		return false
	}
	return true
}

type rows struct {
	t    *tx
	rows *sql.Rows
}

func (t *tx) query(query string, args ...any) rows {
	s := t.stmt(query)
	if s == nil {
		return rows{t: t}
	}
	r, err := s.QueryContext(t.ctx, args...)
	if err != nil {
		t.err = err
		return rows{t: t}
	}
	return rows{t, r}
}

// next scans the next row; at the end, or after an error, it closes the rows
// and returns false. It must be called until then.
func (r rows) next(dest ...any) bool {
	if r.rows == nil {
		return false
	}
	if !r.rows.Next() {
		if err := errors.Join(r.rows.Err(), r.rows.Close()); err != nil {
			r.t.err = err
		}
		return false
	}
	if err := r.rows.Scan(dest...); err != nil {
		_ = r.rows.Close()
		r.t.err = err
		return false
	}
	return true
}
