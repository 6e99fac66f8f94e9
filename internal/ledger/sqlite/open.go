// Package sqlite is the embedded ledger: one SQLite file in one directory, for
// one process. See package ledger for what it promises and docs/ledger.md for
// what is on disk.
package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"drover"
	"drover/internal/fault"
	"drover/internal/ledger"
	"drover/internal/vault"
)

// fileName is the ledger in its directory.
const fileName = "ledger.db"

// minVersion is the oldest SQLite that does not lose commits when two
// connections checkpoint at once (reference faults-and-invariants, settings).
var minVersion = [3]int{3, 51, 3}

// Options of a Store. Dir and Vault are required.
type Options struct {
	Dir            string
	Vault          *vault.Vault
	Limit          int64  // bytes the ledger may take, 0: as much as the volume has
	Region         string // bound to the ledger when it is created
	AllowNetworkFS bool
	// Place is where the ledger lives: machine ID and path by default. A
	// ledger that remembers another one is refused with ledger.ErrElsewhere.
	Place string
	// Recent is how many bytes of rows just committed are kept in memory for
	// sinks that keep up, 16 MiB by default.
	Recent int64
	Clock  func() time.Time // time.Now by default; only ages go by it
}

// Store is the embedded ledger.
type Store struct {
	opt      Options
	identity ledger.Identity
	lock     *os.File
	db       *sql.DB // readers
	w        *writer
	changed  chan struct{}
	inc      int64            // number of the incarnation
	names    map[int64]string // incarnations by number
	used     atomic.Int64
	recent   recent

	mu    sync.Mutex
	feeds map[drover.Feed]*feed
	keys  map[drover.TenantID]*vault.DataKey
}

var _ ledger.Store = (*Store)(nil)

// Open opens the ledger in opt.Dir, or makes one if the directory is empty.
func Open(ctx context.Context, opt Options) (*Store, error) { return open(ctx, opt, false) }

// Adopt makes the ledger in opt.Dir at home here, under a new incarnation:
// nothing outside that was named by the old one's sequence numbers is compared
// with the new one's.
func Adopt(ctx context.Context, opt Options) error {
	s, err := open(ctx, opt, true)
	if err != nil {
		return err
	}
	return s.Close()
}

func open(ctx context.Context, opt Options, adopt bool) (_ *Store, err error) {
	if opt.Vault == nil {
		return nil, errors.New("open ledger: no vault")
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Recent == 0 {
		opt.Recent = 16 << 20
	}
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	opt.Dir = dir
	if opt.Place == "" {
		opt.Place = machineID() + ":" + dir
	}
	if err := prepare(opt); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	s := &Store{opt: opt, changed: make(chan struct{}, 1), feeds: make(map[drover.Feed]*feed), keys: make(map[drover.TenantID]*vault.DataKey), names: make(map[int64]string)}
	s.recent.limit = opt.Recent
	if s.lock, err = lock(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.w, err = newWriter(ctx, filepath.Join(dir, fileName)); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	if err := s.w.migrate(ctx); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	if err := s.identify(ctx, adopt); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	if s.db, err = openReaders(filepath.Join(dir, fileName)); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	if err := s.afterStop(ctx); err != nil {
		return nil, err
	}
	s.w.limit = opt.Limit
	go s.w.run()
	return s, nil
}

// prepare makes the directory and checks where it is and who may write there.
func prepare(opt Options) error {
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(opt.Dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others can write to %s; type: chmod 700 %s", opt.Dir, opt.Dir)
	}
	if fs := onNetwork(opt.Dir); fs != "" && !opt.AllowNetworkFS {
		return fmt.Errorf("%s lies on a network file system (%s), where locks and fsync cannot be relied on; use a local disk, or PostgreSQL for more than one machine", opt.Dir, fs)
	}
	return nil
}

func machineID() string {
	if b, err := os.ReadFile("/etc/machine-id"); err == nil && len(strings.TrimSpace(string(b))) > 0 {
		return strings.TrimSpace(string(b))
	}
	name, _ := os.Hostname()
	return name
}

// openReaders opens the connections that only read.
func openReaders(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)&_pragma=cache_size(-4000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	return db, db.Ping()
}

// identify reads who the ledger is, or makes it somebody.
func (s *Store) identify(ctx context.Context, adopt bool) error {
	meta := func(k string) (v string, err error) {
		err = s.w.conn.QueryRowContext(ctx, `SELECT v FROM meta WHERE k = ?`, k).Scan(&v)
		if errors.Is(err, sql.ErrNoRows) {
			return "", nil
		}
		return v, err
	}
	id, err := meta("id")
	if err != nil {
		return classify("read the identity", err)
	}
	place, err := meta("place")
	if err != nil {
		return classify("read the place", err)
	}
	fresh := id == ""
	if !fresh && place != s.opt.Place && !adopt {
		return fmt.Errorf("%w; if it was moved here on purpose and nothing runs there any more, type: drover ledger adopt", ledger.ErrElsewhere)
	}
	return s.w.now(ctx, func(tx *tx) error {
		if fresh {
			id = random(16)
			tx.exec(`INSERT INTO meta VALUES ('id', ?), ('region', ?), ('clean', '1')`, id, s.opt.Region)
		}
		if fresh || adopt {
			tx.exec(`INSERT INTO incarnations (name, since) VALUES (?, ?)`, random(8), int64(drover.InstantOf(s.opt.Clock())))
			tx.exec(`INSERT INTO meta VALUES ('place', ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v`, s.opt.Place)
		}
		rows := tx.query(`SELECT n, name FROM incarnations ORDER BY n`)
		for rows.next(&s.inc, &s.identity.Incarnation) {
			s.names[s.inc] = s.identity.Incarnation
		}
		s.identity.ID = id
		tx.row(`SELECT v FROM meta WHERE k = 'region'`).scan(&s.identity.Region)
		return tx.err
	})
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// quickCheckLimit is the largest ledger that is read as a whole after an
// unclean stop; of a larger one, the newest blocks are opened, and the rest is
// for Check.
const quickCheckLimit = 256 << 20

// afterStop checks the ledger if the last process did not close it, and notes
// that it is in use.
func (s *Store) afterStop(ctx context.Context) error {
	var clean string
	if err := s.w.conn.QueryRowContext(ctx, `SELECT v FROM meta WHERE k = 'clean'`).Scan(&clean); err != nil {
		return classify("read the state", err)
	}
	if clean != "1" {
		if info, err := os.Stat(filepath.Join(s.opt.Dir, fileName)); err == nil && info.Size() <= quickCheckLimit {
			if found := quickCheck(ctx, s.w.conn); len(found) > 0 {
				return broken("check the ledger after an unclean stop", errors.New(strings.Join(found, "; ")))
			}
		}
		if err := s.checkNewest(ctx); err != nil {
			return err
		}
	}
	return s.w.now(ctx, func(tx *tx) error {
		tx.exec(`UPDATE meta SET v = '0' WHERE k = 'clean'`)
		return tx.err
	})
}

func quickCheck(ctx context.Context, conn *sql.Conn) (found []string) {
	rows, err := conn.QueryContext(ctx, `PRAGMA quick_check(10)`)
	if err != nil {
		return []string{err.Error()}
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return append(found, err.Error())
		}
		if line != "ok" {
			found = append(found, line)
		}
	}
	if err := rows.Err(); err != nil {
		found = append(found, err.Error())
	}
	return found
}

// Identity returns the ledger's identity.
func (s *Store) Identity() ledger.Identity { return s.identity }

// Changed gets a value after commits with new revisions.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// Close waits for what is under way and releases the ledger.
func (s *Store) Close() error {
	err := s.w.do(context.Background(), 0, false, func(tx *tx) error {
		tx.exec(`UPDATE meta SET v = '1' WHERE k = 'clean'`)
		return tx.err
	})
	s.w.stop()
	return errors.Join(err, s.release())
}

func (s *Store) release() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.w != nil {
		errs = append(errs, s.w.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// settings are set on the writing connection, in this order, and then asserted.
var settings = []struct{ name, value, want string }{
	{"auto_vacuum", "incremental", "2"}, // before the first page is written
	{"journal_mode", "wal", "wal"},
	{"synchronous", "full", "2"},
	{"foreign_keys", "on", "1"},
	{"cache_size", "-16000", "-16000"},
	{"temp_store", "memory", "2"},
	{"wal_autocheckpoint", "2000", "2000"}, // pages: 8 MiB
	{"journal_size_limit", "67108864", "67108864"},
}

// configure sets and asserts the writing connection's settings.
func configure(ctx context.Context, conn *sql.Conn) error {
	var version string
	if err := conn.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version); err != nil {
		return classify("ask for SQLite's version", err)
	}
	if !atLeast(version) {
		return fmt.Errorf("SQLite %s can lose commits; at least %d.%d.%d is needed", version, minVersion[0], minVersion[1], minVersion[2])
	}
	for _, p := range settings {
		if _, err := conn.ExecContext(ctx, "PRAGMA "+p.name+" = "+p.value); err != nil {
			return classify("set "+p.name, err)
		}
		var got string
		if err := conn.QueryRowContext(ctx, "PRAGMA "+p.name).Scan(&got); err != nil {
			return classify("read "+p.name, err)
		}
		if got != p.want {
			return broken("check the settings", fmt.Errorf("%s is %s, and must be %s", p.name, got, p.want))
		}
	}
	return nil
}

func atLeast(version string) bool {
	for i, part := range strings.SplitN(version, ".", 3) {
		n, err := strconv.Atoi(part)
		if err != nil || n < minVersion[i] {
			return false
		}
		if n > minVersion[i] {
			return true
		}
	}
	return true
}

// migrate brings the schema to the version of this program.
func (w *writer) migrate(ctx context.Context) error {
	var app, version int
	if err := w.conn.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&app); err != nil {
		return classify("read the application ID", err)
	}
	if err := w.conn.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return classify("read the schema's version", err)
	}
	var tables int
	if err := w.conn.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema`).Scan(&tables); err != nil {
		return classify("read the schema", err)
	}
	switch {
	case app != applicationID && tables > 0:
		return errors.New("the file is not a drover ledger")
	case version > len(migrations):
		return fmt.Errorf("the ledger was written by a newer drover (schema %d, this program knows %d); use that version", version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		err := w.now(ctx, func(tx *tx) error {
			tx.exec(fmt.Sprintf(`PRAGMA application_id = %d`, applicationID))
			for _, statement := range migrations[version] {
				fault.At(fault.LedgerMigrate)
				tx.exec(statement)
			}
			tx.exec(fmt.Sprintf(`PRAGMA user_version = %d`, version+1))
			return tx.err
		})
		if err != nil {
			return fmt.Errorf("bring the schema to version %d: %w", version+1, err)
		}
	}
	return nil
}
