package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// minVersion is the oldest SQLite that does not lose commits when two
// connections checkpoint at once (reference faults-and-invariants, settings).
var minVersion = [3]int{3, 51, 3}

// pageSize is that of a new ledger: a block of 64 rows takes a dozen pages of
// this size, and each page is three calls on its way into the file. A ledger
// keeps the size that it was made with.
const pageSize = 8 << 10

// settings are set on the writing connection, in this order, and then asserted.
var settings = []struct{ name, value, want string }{
	{"auto_vacuum", "incremental", "2"}, // before the first page is written
	{"journal_mode", "wal", "wal"},
	{"synchronous", "full", "2"},
	{"foreign_keys", "on", "1"},
	{"cache_size", "-8000", "-8000"},
	{"temp_store", "memory", "2"},
	{"secure_delete", "fast", "2"},   // what is overwritten is not left in a page that is written anyway
	{"wal_autocheckpoint", "0", "0"}, // the writer does it, and hears of errors
	{"journal_size_limit", "67108864", "67108864"},
	{"cell_size_check", "on", "1"},
	{"trusted_schema", "off", "0"},
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
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA page_size = %d", pageSize)); err != nil {
		return classify("set the page size", err)
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
	parts := strings.SplitN(version, ".", 3)
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < minVersion[i] {
			return false
		}
		if n > minVersion[i] {
			return true
		}
	}
	return len(parts) == len(minVersion)
}

// dsn is how the driver is told to open a file.
func dsn(path string, pragmas ...string) string {
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	return u.String()
}
