package sqlite

// applicationID marks a SQLite file as a drover ledger ("drvr").
const applicationID = 0x64727672

// migrations are applied in order, each in one transaction with the version it
// leads to (PRAGMA user_version). One that was released is never edited.
//
// No index of revisions holds free text: times, hashes, numbers and fixed words
// only. Bodies stand in blocks, sealed. feeds.floor is the last sequence number
// whose body is gone, feeds.bytes what the feed's blocks take, feeds.keys_from
// the change time below which keys may be gone, feeds.keys_sum a checksum of the
// keys that are there; places.start is
// where the sink began, so that what became of every number above it can be
// added up.
var migrations = [][]string{
	{
		`CREATE TABLE meta (k TEXT PRIMARY KEY, v TEXT NOT NULL) WITHOUT ROWID`,
		`CREATE TABLE incarnations (n INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, since INTEGER NOT NULL)`,
		`CREATE TABLE tenants (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, state TEXT NOT NULL, data TEXT NOT NULL, wrapped BLOB) WITHOUT ROWID`,
		`CREATE TABLE logbook (n INTEGER PRIMARY KEY, at INTEGER NOT NULL, what TEXT NOT NULL, tenant TEXT NOT NULL, source TEXT NOT NULL, detail TEXT NOT NULL)`,
		`CREATE TABLE credentials (tenant TEXT NOT NULL, app TEXT NOT NULL, kind TEXT NOT NULL, sealed BLOB NOT NULL, version INTEGER NOT NULL,
			stored INTEGER NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (tenant, app, kind)) WITHOUT ROWID`,
		`CREATE TABLE feeds (fid INTEGER PRIMARY KEY, tenant TEXT NOT NULL, source TEXT NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, head INTEGER NOT NULL DEFAULT 0,
			cursor_source TEXT NOT NULL DEFAULT '', cursor_version INTEGER NOT NULL DEFAULT 0, cursor_through INTEGER NOT NULL, whole INTEGER NOT NULL,
			parked TEXT NOT NULL DEFAULT '', floor INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
			keys_from INTEGER NOT NULL, keys_sum INTEGER NOT NULL DEFAULT 0, UNIQUE (tenant, source))`,
		// In the order of time: new rows append, a re-read hits the hot tail, pruning is a range delete.
		`CREATE TABLE keys (fid INTEGER NOT NULL, changed INTEGER NOT NULL, alert BLOB NOT NULL, ordinal INTEGER NOT NULL, sum BLOB NOT NULL,
			seq INTEGER NOT NULL, created INTEGER NOT NULL, PRIMARY KEY (fid, changed, alert, ordinal)) WITHOUT ROWID`,
		`CREATE TABLE newest (fid INTEGER NOT NULL, created INTEGER NOT NULL, alert BLOB NOT NULL, changed INTEGER NOT NULL, ordinal INTEGER NOT NULL,
			sum BLOB NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (fid, created, alert)) WITHOUT ROWID`,
		`CREATE TABLE blocks (n INTEGER PRIMARY KEY, fid INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, at INTEGER NOT NULL,
			min_changed INTEGER NOT NULL, max_changed INTEGER NOT NULL, incarnation INTEGER NOT NULL, codec INTEGER NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL)`,
		// Covers what prune and hold ask, so that they never touch bodies.
		`CREATE UNIQUE INDEX blocks_by_feed ON blocks (fid, first, last, at, min_changed, max_changed, size)`,
		`CREATE TABLE sinks (id TEXT PRIMARY KEY, retired INTEGER NOT NULL DEFAULT 0, added INTEGER NOT NULL) WITHOUT ROWID`,
		`CREATE TABLE places (sink TEXT NOT NULL, fid INTEGER NOT NULL, start INTEGER NOT NULL, seq INTEGER NOT NULL, beyond BLOB, PRIMARY KEY (sink, fid)) WITHOUT ROWID`,
		`CREATE TABLE attempts (sink TEXT NOT NULL, lane TEXT NOT NULL, ranges TEXT NOT NULL, generation INTEGER NOT NULL, at INTEGER NOT NULL,
			PRIMARY KEY (sink, lane)) WITHOUT ROWID`,
		`CREATE TABLE marks (sink TEXT NOT NULL, lane TEXT NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (sink, lane)) WITHOUT ROWID`,
		`CREATE TABLE aside (id INTEGER PRIMARY KEY, fid INTEGER NOT NULL, sink TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, seq INTEGER NOT NULL,
			event_id TEXT NOT NULL, sum BLOB NOT NULL, size INTEGER NOT NULL, raw BLOB, incarnation INTEGER NOT NULL, at INTEGER NOT NULL, count INTEGER NOT NULL,
			resolved INTEGER NOT NULL DEFAULT 0, UNIQUE (fid, sink, reason, sum, seq))`,
		`CREATE TABLE gaps (id INTEGER PRIMARY KEY, fid INTEGER NOT NULL, sink TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, first INTEGER NOT NULL,
			last INTEGER NOT NULL, provider TEXT NOT NULL, cause TEXT NOT NULL, state TEXT NOT NULL, opened INTEGER NOT NULL, changed INTEGER NOT NULL, tries INTEGER NOT NULL)`,
		`CREATE INDEX gaps_by_state ON gaps (state, fid)`,
		`CREATE TABLE counts (day TEXT NOT NULL, tenant TEXT NOT NULL, source TEXT NOT NULL, severity TEXT NOT NULL, sink TEXT NOT NULL, what TEXT NOT NULL,
			n INTEGER NOT NULL, PRIMARY KEY (day, tenant, source, severity, sink, what)) WITHOUT ROWID`,
		`INSERT INTO meta VALUES ('generation', '1'), ('credentials', '0'), ('ready', '0'), ('clean', '1')`,
	},
	{
		// Up to where manifests have told a sink what it was given, under which
		// incarnation, and what of the rest it was not given (runs).
		`CREATE TABLE vouched (sink TEXT NOT NULL, fid INTEGER NOT NULL, incarnation INTEGER NOT NULL, seq INTEGER NOT NULL, missed BLOB, PRIMARY KEY (sink, fid)) WITHOUT ROWID`,
	},
	{
		`CREATE TABLE backfills (id INTEGER PRIMARY KEY, fid INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, at INTEGER NOT NULL, first INTEGER NOT NULL,
			state TEXT NOT NULL, asked INTEGER NOT NULL, changed INTEGER NOT NULL, pages INTEGER NOT NULL DEFAULT 0, rows INTEGER NOT NULL DEFAULT 0, found INTEGER NOT NULL DEFAULT 0)`,
		`CREATE INDEX backfills_by_state ON backfills (state, fid)`,
	},
	{
		// Tenants of which nothing may be thrown away.
		`CREATE TABLE holds (tenant TEXT PRIMARY KEY, why TEXT NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID`,
		// What remains of tenants that were removed.
		`CREATE TABLE erasures (n INTEGER PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, customer TEXT NOT NULL, at INTEGER NOT NULL,
			incarnation INTEGER NOT NULL, host TEXT NOT NULL, counts TEXT NOT NULL)`,
	},
	{
		// Links by which customers' admins connect tenants: hashes of their tokens
		// and of browser sessions only. Data holds the rest, as JSON.
		`CREATE TABLE invitations (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, state TEXT NOT NULL, tenant TEXT NOT NULL,
			link BLOB UNIQUE, session BLOB UNIQUE, data TEXT NOT NULL)`,
		`CREATE INDEX invitations_by_tenant ON invitations (tenant)`,
	},
}
