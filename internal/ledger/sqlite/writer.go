package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	_ "modernc.org/sqlite" // the driver

	"drover"
	"drover/internal/fault"
	"drover/internal/ledger"
)

// writer is the one connection that writes, and that checkpoints the log. Work
// of many callers shares a transaction; each piece stands in its own savepoint,
// so that one that fails takes back only itself.
type writer struct {
	*session
	db    *sql.DB
	dir   string
	home  home
	queue chan *work
	done  chan struct{}
	space space
	// logged is about how many bytes went into the log since it was looked at.
	logged int

	mu      sync.RWMutex // held for reading while queueing, so that stop cannot close the queue in between
	stopped bool
	broken  atomic.Pointer[error] // once set, nothing is written or read any more
}

// work is one piece: run inside a savepoint, answered after the commit. run
// may be called twice, when the transaction that it shared found no space.
type work struct {
	run    func(*tx) error
	size   int  // about how many bytes it writes
	grows  bool // refused when the ledger is full
	then   func(context.Context, *writer) error
	err    error
	answer chan struct{}
}

// shareBytes is how much one transaction takes in (design §4).
const shareBytes = 4 << 20

func newWriter(ctx context.Context, dir, path string, limit int64) (*writer, error) {
	db, err := sql.Open("sqlite", dsn(path, "busy_timeout(5000)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, classify("open", err)
	}
	w := &writer{session: newSession(conn), db: db, dir: dir, home: home{path: path}, queue: make(chan *work, 256), done: make(chan struct{}), space: space{limit: limit, pageSize: pageSize, logPages: logBytes / pageSize}}
	if err := configure(ctx, conn); err != nil {
		_ = w.close()
		return nil, err
	}
	return w, nil
}

// close closes the connection. A broken one is left to the end of the process:
// closing it would write and fsync once more.
func (w *writer) close() error {
	if w.broken.Load() != nil {
		return nil
	}
	return errors.Join(w.end(), w.db.Close())
}

// now runs f in a transaction of its own; only before run begins.
func (w *writer) now(ctx context.Context, f func(*tx) error) error {
	k := &work{run: f}
	w.share(ctx, []*work{k})
	return k.err
}

// do runs f inside a shared transaction and returns when that is durable. Once
// queued it will be done, so it does not end with a context: leaving early
// would hide the outcome.
func (w *writer) do(size int, f func(*tx) error) error {
	return w.put(&work{run: f, size: size})
}

// grow is do for what is refused when the ledger is full.
func (w *writer) grow(size int, f func(*tx) error) error {
	return w.put(&work{run: f, size: size, grows: true})
}

// doThen is do with something to run after the commit, before the answer.
func (w *writer) doThen(f func(*tx) error, then func(context.Context, *writer) error) error {
	return w.put(&work{run: f, then: then})
}

func (w *writer) put(k *work) error {
	k.answer = make(chan struct{})
	w.mu.RLock()
	if w.stopped {
		w.mu.RUnlock()
		return errClosed
	}
	w.queue <- k
	w.mu.RUnlock()
	<-k.answer
	return k.err
}

// stop lets what is queued end.
func (w *writer) stop() {
	w.mu.Lock()
	if !w.stopped {
		w.stopped = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.done
}

// run writes what waits until the queue is closed. Nobody is waited for: while
// one transaction is on its way to the disk, the next one gathers.
func (w *writer) run() {
	defer close(w.done)
	ctx := context.Background()
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
		w.share(ctx, group)
		w.logged += size + perCommit
		for _, k := range group {
			if k.then != nil && k.err == nil {
				k.err = k.then(ctx, w)
			}
			close(k.answer)
		}
		w.checkpoint(ctx)
	}
}

// share runs a group in one transaction and sets each one's error. If there is
// no space, what makes the ledger grow is refused and the rest, such as what
// became of deliveries, is tried again without it.
func (w *writer) share(ctx context.Context, group []*work) {
	err := w.transact(ctx, group)
	if errors.Is(err, ledger.ErrFull) {
		w.space.pressed = true
		var rest []*work
		for _, k := range group {
			if k.grows {
				k.err = err
			} else {
				rest = append(rest, k)
			}
		}
		if len(rest) == len(group) {
			err = fmt.Errorf("write to the ledger: %w", err)
		} else if group = rest; len(group) > 0 {
			err = w.transact(ctx, group)
		} else {
			err = nil
		}
	}
	if err != nil {
		for _, k := range group {
			k.err = err
		}
	}
}

// transact runs a group in one transaction. The returned error is about all of
// it; nothing of it is stored then.
func (w *writer) transact(ctx context.Context, group []*work) error {
	if err := w.broken.Load(); err != nil {
		return *err
	}
	fault.At(fault.LedgerBegin)
	if err := w.direct(ctx, `BEGIN IMMEDIATE`); err != nil {
		return w.failed("begin", err)
	}
	t := &tx{s: w.session, ctx: ctx}
	kept := 0
	for _, k := range group {
		if k.err = nil; k.grows {
			if k.err = w.space.full(); k.err != nil {
				continue
			}
		}
		if err := w.one(t, k); err != nil {
			_ = w.direct(ctx, `ROLLBACK`) // most such errors have done it already
			return w.failed("write", err)
		}
		if k.err == nil {
			kept++
		}
		fault.At(fault.LedgerStep)
	}
	if kept == 0 {
		if err := w.direct(ctx, `ROLLBACK`); err != nil {
			return w.failed("roll back", err)
		}
		return nil
	}
	t.err = nil
	now, measured := w.measured(t)
	fault.At(fault.LedgerBeforeCommit)
	if err := w.home.check(); err != nil {
		_ = w.direct(ctx, `ROLLBACK`)
		return w.failed("commit", err)
	}
	if err := w.direct(ctx, `COMMIT`); err != nil {
		_ = w.direct(ctx, `ROLLBACK`)
		return w.failed("commit", err)
	}
	fault.At(fault.LedgerAfterCommit)
	// Once more, since a commit to files without a name is on no disk.
	if err := w.home.check(); err != nil {
		return w.failed("commit", err)
	}
	if measured {
		now.onVolume(w.dir)
		w.space = now
	}
	return nil
}

// one runs a piece in its savepoint. The returned error ends the transaction;
// the piece's own stands in k.err.
func (w *writer) one(t *tx, k *work) error {
	if err := w.direct(t.ctx, `SAVEPOINT one`); err != nil {
		return err
	}
	t.err = nil
	err := k.run(t)
	if err == nil {
		err = t.err
	}
	if err != nil {
		switch {
		case isConstraint(err):
			// The caller's mistake, not the store's: it takes back itself.
			err = broken("write to the ledger", err)
		case !isOurs(err):
			return err
		}
		if err := w.direct(t.ctx, `ROLLBACK TO one`); err != nil {
			return err
		}
		k.err = err
	}
	return w.direct(t.ctx, `RELEASE one`)
}

// failed classifies an error of the connection. After one that does not pass
// nothing is written any more: what an fsync error left behind is unknown, and
// asking again could hide it.
func (w *writer) failed(op string, err error) error {
	err = classify(op+" to the ledger", err)
	var e *drover.Error
	switch {
	case errors.Is(err, ledger.ErrFull):
		return err
	case errors.As(err, &e) && e.Kind == drover.Transient:
		return err
	}
	err = broken(op+" to the ledger", err)
	w.broken.CompareAndSwap(nil, &err)
	return *w.broken.Load()
}
