// Package sqlite is the embedded ledger: one SQLite file in one directory, for
// one process. See package ledger for what it promises and docs/ledger.md for
// what is on disk.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"drover"
	"drover/internal/fault"
	"drover/internal/ledger"
	"drover/internal/vault"
)

// Options of a Store. Dir and Vault are required.
type Options struct {
	Dir            string
	Vault          *vault.Vault
	Limit          int64  // bytes the ledger may take, 0: as much as the volume has
	Region         string // bound to the ledger when it is created
	AllowNetworkFS bool
	// Place is where the ledger lives: by default the machine's ID
	// (/etc/machine-id, or else the host's name) and the real path of Dir. A
	// ledger that remembers another one is refused with ledger.ErrElsewhere.
	Place string
	// Recent is how many bytes of blocks are kept in memory for sinks that
	// keep up, three quarters of them open, a quarter sealed: 16 MiB by default,
	// negative for none.
	Recent int64
	// Clock is time.Now by default. Only ages, days and dates of records go by
	// it; no cursor does.
	Clock func() time.Time
}

// Store is the embedded ledger.
type Store struct {
	opt      Options
	identity ledger.Identity
	created  bool
	lock     closer
	state    *state
	readers  *readers
	w        *writer
	changed  chan struct{}
	inc      int64            // number of the incarnation
	names    map[int64]string // incarnations by number
	recent   recent
	closing  func() error
	checking atomic.Int32 // checks under way

	mu    sync.Mutex
	feeds map[drover.Feed]*feed
	keys  map[drover.TenantID]*vault.DataKey
}

type closer interface{ Close() error }

var _ ledger.Store = (*Store)(nil)

// Open opens the ledger in opt.Dir, or makes one if there is none; Created
// tells which. It refuses with ledger.ErrLocked when another process has it
// open, ledger.ErrElsewhere when it lived on another machine or path, and
// drover.Broken when its files are not as they were left.
func Open(ctx context.Context, opt Options) (*Store, error) { return openAt(ctx, opt, false) }

// Adopt makes the ledger in opt.Dir at home here, under a new incarnation:
// nothing outside that was named by the old one's sequence numbers is compared
// with the new one's.
func Adopt(ctx context.Context, opt Options) error {
	s, err := openAt(ctx, opt, true)
	if err != nil {
		return err
	}
	return s.Close()
}

func openAt(ctx context.Context, opt Options, adopt bool) (_ *Store, err error) {
	if opt.Vault == nil {
		return nil, errors.New("open ledger: no vault")
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Recent == 0 {
		opt.Recent = 16 << 20
	}
	if opt.Dir, err = prepare(opt); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if opt.Place == "" {
		opt.Place = machineID() + ":" + opt.Dir
	}
	s := &Store{opt: opt, changed: make(chan struct{}, 1), feeds: make(map[drover.Feed]*feed), keys: make(map[drover.TenantID]*vault.DataKey), names: make(map[int64]string)}
	s.recent.open.limit, s.recent.sealed.limit = max(0, opt.Recent*3/4), max(0, opt.Recent/4)
	s.closing = sync.OnceValue(s.close)
	if s.lock, err = lock(opt.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.release()
			err = fmt.Errorf("open ledger %s: %w", opt.Dir, err)
		}
	}()
	path := filepath.Join(opt.Dir, fileName)
	if s.state, err = readState(opt.Dir); err != nil {
		return nil, err
	}
	if !exists(path) {
		if err = s.create(ctx, path); err != nil {
			return nil, err
		}
	}
	if err = checkHeader(path); err != nil {
		return nil, err
	}
	if err = s.state.verify(); err != nil {
		return nil, err
	}
	clean := s.state.condition == closed
	if s.state.condition != unknown {
		// From here on the file changes, so its sum must not be believed.
		if err = s.state.write(ctx, between); err != nil {
			return nil, err
		}
	}
	if s.w, err = newWriter(ctx, opt.Dir, path, opt.Limit); err != nil {
		return nil, err
	}
	if err = s.w.migrate(ctx); err != nil {
		return nil, err
	}
	if err = s.identify(ctx, adopt); err != nil {
		return nil, err
	}
	if was := s.identity.Region; opt.Region != "" && opt.Region != was {
		return nil, &drover.Error{Op: "open ledger", Kind: drover.Denied, Err: fmt.Errorf("it was made for the region %q, and the config says %q", was, opt.Region),
			Hint: "a ledger's region never changes: put ledger: region: back, or begin another ledger in a directory of its own"}
	}
	if err = s.w.home.add(filepath.Join(opt.Dir, lockName)); err != nil {
		return nil, err
	}
	if s.readers, err = openReaders(ctx, path); err != nil {
		return nil, err
	}
	if err = s.checkKey(ctx); err != nil {
		return nil, err
	}
	if err = s.afterStop(ctx, clean); err != nil {
		return nil, err
	}
	s.state.id = s.identity.ID
	if err = s.state.write(ctx, inUse); err != nil {
		return nil, err
	}
	fault.At(fault.LedgerCreate)
	go s.w.run()
	return s, nil
}

// Identity returns the ledger's identity.
func (s *Store) Identity() ledger.Identity { return s.identity }

// Created reports whether Open found no ledger and made this one.
func (s *Store) Created() bool { return s.created }

// Changed gets a value after commits with new revisions.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// Close waits for what is under way and releases the ledger. Closed twice, it
// does nothing.
func (s *Store) Close() error { return s.closing() }

func (s *Store) close() error {
	ctx := context.Background()
	err := s.w.do(0, func(tx *tx) error {
		tx.exec(`UPDATE meta SET v = '1' WHERE k = 'clean'`)
		return tx.err
	})
	s.w.stop()
	if s.w.broken.Load() != nil {
		return errors.Join(err, s.release())
	}
	fault.At(fault.LedgerCreate)
	if serr := s.state.write(ctx, between); serr != nil {
		// The state says that there is a log, so it must stay: the last
		// connection, whose end would take it away, is left to the process's.
		return errors.Join(err, serr, s.readers.close(), s.lock.Close())
	}
	err = errors.Join(err, s.releaseFiles())
	fault.At(fault.LedgerCreate)
	if err == nil && !exists(filepath.Join(s.opt.Dir, fileName+"-wal")) {
		err = s.state.close(ctx)
	}
	return errors.Join(err, s.lock.Close())
}

// releaseFiles closes the connections. The last one brings the log into the
// file and removes it.
func (s *Store) releaseFiles() error {
	var errs []error
	if s.readers != nil {
		errs = append(errs, s.readers.close())
	}
	if s.w != nil {
		errs = append(errs, s.w.close())
	}
	return errors.Join(errs...)
}

func (s *Store) release() error {
	err := s.releaseFiles()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}
