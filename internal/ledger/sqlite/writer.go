package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	_ "modernc.org/sqlite" // the driver

	"drover"
	"drover/internal/fault"
	"drover/internal/ledger"
)

// writer is the one connection that writes. Work of many callers shares a
// transaction; each piece stands in its own savepoint, so that one that fails
// takes back only itself.
type writer struct {
	db    *sql.DB
	conn  *sql.Conn
	queue chan *work
	done  chan struct{}
	limit int64

	mu      sync.Mutex // held while queueing, so that stop cannot close the queue in between
	stopped bool
	broken  atomic.Pointer[error] // once set, nothing is written any more

	// Of the goroutine that writes.
	used  int64
	stmts map[string]*sql.Stmt
}

// work is one piece: run inside a savepoint, answered after the commit.
type work struct {
	run    func(*tx) error
	size   int
	grows  bool     // refused when the ledger is over its limit
	then   []string // statements to run after the commit, outside of it
	err    error
	answer chan struct{}
}

// shareBytes is how much one transaction takes in (design §4).
const shareBytes = 4 << 20

func newWriter(ctx context.Context, path string) (*writer, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, classify("open", err)
	}
	w := &writer{db: db, conn: conn, queue: make(chan *work, 256), done: make(chan struct{}), stmts: make(map[string]*sql.Stmt)}
	if err := configure(ctx, conn); err != nil {
		_ = w.close()
		return nil, err
	}
	return w, nil
}

func (w *writer) close() error {
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

// now runs f in a transaction of its own; only before run begins.
func (w *writer) now(ctx context.Context, f func(*tx) error) error {
	k := &work{run: f, answer: make(chan struct{})}
	w.share(ctx, []*work{k})
	return k.err
}

// do runs f inside a shared transaction and returns when that is durable.
func (w *writer) do(_ context.Context, size int, grows bool, f func(*tx) error) error {
	return w.put(&work{run: f, size: size, grows: grows, answer: make(chan struct{})})
}

// doThen is do with statements that run after the commit and before the
// answer.
func (w *writer) doThen(_ context.Context, f func(*tx) error, then ...string) error {
	return w.put(&work{run: f, then: then, answer: make(chan struct{})})
}

func (w *writer) put(k *work) error {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return errors.New("the ledger is closed")
	}
	w.queue <- k
	w.mu.Unlock()
	// Once queued it will be done; leaving early would hide its outcome.
	<-k.answer
	return k.err
}

func (w *writer) stop() {
	w.mu.Lock()
	if !w.stopped {
		w.stopped = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.done
}

// run writes what waits until the queue is closed.
func (w *writer) run() {
	defer close(w.done)
	for k := range w.queue {
		group, size := []*work{k}, k.size
	gather:
		for size < shareBytes {
			select {
			case more, ok := <-w.queue:
				if !ok {
					break gather
				}
				group, size = append(group, more), size+more.size
			default:
				break gather
			}
		}
		w.share(context.Background(), group)
		for _, k := range group {
			for _, statement := range k.then {
				if _, err := w.conn.ExecContext(context.Background(), statement); err != nil && k.err == nil {
					k.err = classify("tidy up", err)
				}
			}
			close(k.answer)
		}
	}
}

// share runs a group in one transaction and sets each one's error.
func (w *writer) share(ctx context.Context, group []*work) {
	all := func(err error) {
		for _, k := range group {
			k.err = err
		}
	}
	if err := w.broken.Load(); err != nil {
		all(*err)
		return
	}
	fault.At(fault.LedgerBegin)
	if _, err := w.conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		all(w.failed("begin", err))
		return
	}
	t := &tx{w: w, ctx: ctx}
	kept := 0
	for _, k := range group {
		if k.grows && w.limit > 0 && w.used >= w.limit {
			k.err = fmt.Errorf("the ledger has reached its limit of %d bytes: %w", w.limit, ledger.ErrFull)
			continue
		}
		if err := w.one(t, k); err != nil {
			// The transaction as a whole is lost.
			_, _ = w.conn.ExecContext(ctx, `ROLLBACK`)
			all(w.failed("write", err))
			return
		}
		if k.err == nil {
			kept++
		}
		fault.At(fault.LedgerStep)
	}
	if kept == 0 {
		_, _ = w.conn.ExecContext(ctx, `ROLLBACK`)
		return
	}
	fault.At(fault.LedgerBeforeCommit)
	if _, err := w.conn.ExecContext(ctx, `COMMIT`); err != nil {
		_, _ = w.conn.ExecContext(ctx, `ROLLBACK`)
		all(w.failed("commit", err))
		return
	}
	fault.At(fault.LedgerAfterCommit)
	if w.limit > 0 {
		w.measure(ctx)
	}
}

// one runs a piece in its savepoint. The returned error ends the transaction;
// the piece's own stands in k.err.
func (w *writer) one(t *tx, k *work) error {
	if _, err := w.conn.ExecContext(t.ctx, `SAVEPOINT one`); err != nil {
		return err
	}
	t.err = nil
	err := k.run(t)
	if err == nil {
		err = t.err
	}
	if err != nil {
		if isConstraint(err) {
			// The caller's mistake, not the store's: it takes back itself.
			err = broken("write to the ledger", err)
		} else if !isOurs(err) {
			if e := classify("write", err); !isOurs(e) || drover.KindOf(e) == drover.Broken || errors.Is(e, ledger.ErrFull) {
				return err
			}
		}
		if _, e := w.conn.ExecContext(t.ctx, `ROLLBACK TO one`); e != nil {
			return e
		}
		k.err = err
	}
	_, err = w.conn.ExecContext(t.ctx, `RELEASE one`)
	return err
}

// failed classifies an error of the connection. After one that is not passing
// nothing is written any more: what an fsync error left behind is unknown.
func (w *writer) failed(op string, err error) error {
	err = classify(op+" to the ledger", err)
	if drover.KindOf(err) == drover.Broken && !errors.Is(err, ledger.ErrFull) {
		w.broken.Store(&err)
	}
	return err
}

// measure notes how much of the file is in use; free pages count as free.
func (w *writer) measure(ctx context.Context) {
	var pages, free, size int64
	if w.conn.QueryRowContext(ctx, `SELECT page_count, freelist_count, page_size FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()`).Scan(&pages, &free, &size) == nil {
		w.used = (pages - free) * size
	}
}

// tx is the writer's transaction as its users see it. The first error sticks;
// after it everything else does nothing.
type tx struct {
	w   *writer
	ctx context.Context
	err error
}

// stmt returns the prepared statement for a query.
func (t *tx) stmt(query string) *sql.Stmt {
	if t.err != nil {
		return nil
	}
	if s := t.w.stmts[query]; s != nil {
		return s
	}
	s, err := t.w.conn.PrepareContext(t.ctx, query)
	if err != nil {
		t.err = err
		return nil
	}
	t.w.stmts[query] = s
	return s
}

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(query string, args ...any) int64 {
	if strings.HasPrefix(query, "PRAGMA") || strings.HasPrefix(query, "CREATE") {
		if t.err == nil {
			_, t.err = t.w.conn.ExecContext(t.ctx, query)
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
