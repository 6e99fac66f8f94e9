package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"drover"
	"drover/internal/fault"
	"drover/internal/ledger"
)

// fileName is the ledger in its directory, newName the ledger while it is made.
const (
	fileName = "ledger.db"
	newName  = "ledger.new"
)

// prepare makes the directory, checks where it is and who may write there, and
// returns its real path.
func prepare(opt Options) (string, error) {
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", noSpace(err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("others can write to %s; type: chmod 700 %s", dir, dir)
	}
	if fs := onNetwork(dir); fs != "" && !opt.AllowNetworkFS {
		return "", fmt.Errorf("%s lies on a network file system (%s), where locks and fsync cannot be relied on; use a local disk", dir, fs)
	}
	return dir, nil
}

func machineID() string {
	if b, err := os.ReadFile("/etc/machine-id"); err == nil && len(strings.TrimSpace(string(b))) > 0 {
		return strings.TrimSpace(string(b))
	}
	name, _ := os.Hostname()
	return name
}

// create makes a new ledger beside its final name, so that a file of that name
// is always a whole one. What an earlier attempt left is removed.
func (s *Store) create(ctx context.Context, path string) (err error) {
	if s.state.condition != unknown {
		return broken("find the ledger", fmt.Errorf("%s is gone; restore it, or remove %s to begin a new ledger", fileName, stateName))
	}
	if exists(path + "-wal") {
		return broken("find the ledger", fmt.Errorf("%s is gone, but its log is there; restore the file", fileName))
	}
	fresh := filepath.Join(s.opt.Dir, newName)
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(fresh + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove what is left of an earlier attempt: %w", err)
		}
	}
	f, err := os.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) // SQLite's other files take its mode
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("make the ledger: %w", noSpace(err))
	}
	w, err := newWriter(ctx, s.opt.Dir, fresh, 0)
	if err != nil {
		return fmt.Errorf("make the ledger: %w", err)
	}
	err = w.migrate(ctx)
	fault.At(fault.LedgerCreate)
	if err = errors.Join(err, w.close()); err != nil {
		return fmt.Errorf("make the ledger: %w", err)
	}
	fault.At(fault.LedgerCreate)
	if err = os.Rename(fresh, path); err == nil {
		fault.At(fault.LedgerCreate)
		err = syncDir(s.opt.Dir)
	}
	if err != nil {
		return fmt.Errorf("make the ledger: %w", noSpace(err))
	}
	s.created = true
	return nil
}

// checkHeader looks at a file before SQLite may touch it: that it is a ledger,
// of a schema that this program knows (SQLite file format, database header).
func checkHeader(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return classify("open the ledger", err)
	}
	defer func() { _ = f.Close() }()
	var head [100]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return broken("open the ledger", fmt.Errorf("%s is empty or cut short; restore it", fileName))
	}
	if string(head[:16]) != "SQLite format 3\x00" {
		return broken("open the ledger", fmt.Errorf("%s is not a SQLite file, or its first page is damaged; restore it", fileName))
	}
	return checkSchema(int(binary.BigEndian.Uint32(head[68:])), int(binary.BigEndian.Uint32(head[60:])))
}

// checkSchema refuses what is not a ledger, or one from the future.
func checkSchema(application, version int) error {
	switch {
	case application != applicationID:
		return broken("open the ledger", fmt.Errorf("%s is not a drover ledger", fileName))
	case version > len(migrations):
		return fmt.Errorf("the ledger was written by a newer drover (schema %d, this program knows %d); use that version", version, len(migrations))
	}
	return nil
}

// migrate brings the schema to the version of this program, each step in one
// transaction together with its number.
func (w *writer) migrate(ctx context.Context) error {
	var version, tables int
	if err := w.conn.QueryRowContext(ctx, `SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version()`).Scan(&version, &tables); err != nil {
		return classify("read the schema", err)
	}
	if tables > 0 {
		var application int
		if err := w.conn.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&application); err != nil {
			return classify("read the application ID", err)
		}
		if err := checkSchema(application, version); err != nil {
			return err
		}
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

// identify reads who the ledger is, or makes it somebody.
func (s *Store) identify(ctx context.Context, adopt bool) error {
	meta := func(k string) (v string, err error) {
		err = s.w.conn.QueryRowContext(ctx, `SELECT v FROM meta WHERE k = ?`, k).Scan(&v)
		if errors.Is(err, sql.ErrNoRows) {
			return "", nil
		}
		return v, classify("read who the ledger is", err)
	}
	id, err := meta("id")
	if err != nil {
		return err
	}
	place, err := meta("place")
	if err != nil {
		return err
	}
	fresh := id == ""
	switch {
	case !fresh && s.state.id != "" && id != s.state.id:
		return broken("open the ledger", fmt.Errorf("%s is ledger %s, but %s was here; if it was exchanged on purpose, remove %s", fileName, id, s.state.id, stateName))
	case !fresh && place != s.opt.Place && !adopt:
		return fmt.Errorf("%w; if it was moved here on purpose and nothing runs there any more, type: drover ledger adopt", ledger.ErrElsewhere)
	}
	return s.w.now(ctx, func(tx *tx) error {
		what := "adopted"
		if fresh {
			id, what = random(16), "created"
			tx.exec(`INSERT INTO meta VALUES ('id', ?), ('region', ?)`, id, s.opt.Region)
		}
		if fresh || adopt {
			name := random(8)
			tx.exec(`INSERT INTO incarnations (name, since) VALUES (?, ?)`, name, s.now())
			tx.exec(`INSERT INTO meta VALUES ('place', ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v`, s.opt.Place)
			s.enter(tx, what, drover.Feed{}, "incarnation "+name)
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

// afterStop checks the ledger if the last process did not close it, and notes
// that it is in use.
func (s *Store) afterStop(ctx context.Context, closed bool) error {
	var clean string
	if err := s.w.conn.QueryRowContext(ctx, `SELECT v FROM meta WHERE k = 'clean'`).Scan(&clean); err != nil {
		return classify("read the state", err)
	}
	if clean != "1" || !closed && !s.created {
		if info, err := os.Stat(filepath.Join(s.opt.Dir, fileName)); err == nil && info.Size() <= sumLimit {
			if found := pragmaCheck(ctx, s.w.conn, `PRAGMA quick_check(10)`); len(found) > 0 {
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
