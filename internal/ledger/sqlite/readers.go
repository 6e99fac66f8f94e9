package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"

	"drover"
)

// readerCount is how many connections read at once.
const readerCount = 4

// readers are the connections that only read, with their prepared statements.
type readers struct {
	db     *sql.DB
	n      int
	free   chan *session
	closed chan struct{} // whoever comes now gets no connection
}

func openReaders(ctx context.Context, path string) (*readers, error) {
	db, err := sql.Open("sqlite", dsn(path, "query_only(1)", "busy_timeout(5000)", "cache_size(-2000)", "cell_size_check(1)", "trusted_schema(0)"))
	if err != nil {
		return nil, err
	}
	r := &readers{db: db, free: make(chan *session, readerCount), closed: make(chan struct{})}
	for range readerCount {
		conn, err := db.Conn(ctx)
		if err != nil {
			return nil, errors.Join(classify("open the ledger for reading", err), r.close())
		}
		r.n++
		r.free <- newSession(conn)
	}
	return r, nil
}

// close waits for readers under way and closes the connections.
func (r *readers) close() error {
	close(r.closed)
	var errs []error
	for range r.n {
		errs = append(errs, (<-r.free).end())
	}
	return errors.Join(append(errs, r.db.Close())...)
}

// with runs f on a connection that nobody else uses.
func (r *readers) with(ctx context.Context, f func(*session) error) error {
	var s *session
	select {
	case s = <-r.free:
	default:
		select {
		case s = <-r.free:
		case <-r.closed:
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { r.free <- s }()
	return f(s)
}

// ask runs a look-up of one statement, which takes no longer than a page. It
// does not end with its context: to watch that costs more than the look-up.
func (s *Store) ask(ctx context.Context, f func(*tx) error) error {
	if err := s.usable(); err != nil {
		return err
	}
	return s.unread(s.readers.with(ctx, func(r *session) error {
		t := &tx{s: r, ctx: context.WithoutCancel(ctx)}
		if err := f(t); err != nil {
			return err
		}
		return t.err
	}))
}

// unread classifies an error of reading. One of the disk ends the store: what
// it answers from then on could be anything. A check goes on, to name the rest.
func (s *Store) unread(err error) error {
	disk := isDisk(err) && s.checking.Load() == 0
	err = classify("read the ledger "+filepath.Join(s.opt.Dir, fileName), err)
	if disk {
		s.w.broken.CompareAndSwap(nil, &err)
	}
	return err
}

// read runs f in a read transaction.
func (s *Store) read(ctx context.Context, f func(*tx) error) error {
	if err := s.usable(); err != nil {
		return err
	}
	return s.unread(s.readers.with(ctx, func(r *session) error {
		if err := r.direct(ctx, `BEGIN`); err != nil {
			return err
		}
		t := &tx{s: r, ctx: ctx}
		err := f(t)
		if err == nil {
			err = t.err
		}
		if end := r.direct(context.WithoutCancel(ctx), `ROLLBACK`); err == nil {
			err = end
		}
		return err
	}))
}

// usable returns the error that every call gets once the ledger is broken.
func (s *Store) usable() error {
	if err := s.w.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// now is the moment, by the local clock.
func (s *Store) now() int64 { return int64(drover.InstantOf(s.opt.Clock())) }

// day is today, by the local clock.
func (s *Store) day() string { return s.opt.Clock().UTC().Format("2006-01-02") }
