package sqlite

import (
	"context"

	"drover"
	"drover/internal/ledger"
)

// enter writes down what an operator did.
func (s *Store) enter(tx *tx, what string, f drover.Feed, detail string) {
	tx.exec(`INSERT INTO logbook (at, what, tenant, source, detail) VALUES (?,?,?,?,?)`, s.now(), what, string(f.Tenant), string(f.Source), clip(detail))
}

// Logbook lists what was done to the ledger; see ledger.Bookkeeping.
func (s *Store) Logbook(ctx context.Context) (out []ledger.Entry, err error) {
	err = s.read(ctx, func(tx *tx) error {
		var e ledger.Entry
		for rows := tx.query(`SELECT at, what, tenant, source, detail FROM logbook ORDER BY n`); rows.next(&e.At, &e.What, &e.Feed.Tenant, &e.Feed.Source, &e.Detail); {
			out = append(out, e)
		}
		return tx.err
	})
	return out, err
}
