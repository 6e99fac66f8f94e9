package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"drover"
	"drover/internal/ledger"
)

// record writes down what remains of a tenant, its counts as they are now.
func (s *Store) record(tx *tx, t *drover.Tenant) {
	sums := make(map[drover.SinkID]map[string]int64)
	var sink drover.SinkID
	var what string
	var n int64
	for rows := tx.query(`SELECT sink, what, sum(n) FROM counts WHERE tenant = ? GROUP BY sink, what`, string(t.ID)); rows.next(&sink, &what, &n); {
		if sums[sink] == nil {
			sums[sink] = make(map[string]int64)
		}
		sums[sink][what] = n
	}
	counts, err := json.Marshal(sums)
	if err != nil {
		panic("counts cannot be encoded: " + err.Error()) // they are words and numbers
	}
	host, _ := os.Hostname()
	tx.exec(`INSERT INTO erasures (tenant, name, customer, at, incarnation, host, counts) VALUES (?,?,?,?,?,?,?)`,
		string(t.ID), t.Name, string(t.Customer), s.now(), s.inc, clip(host), string(counts))
}

// Erasures lists what remains of removed tenants; see ledger.Tenants.
func (s *Store) Erasures(ctx context.Context) (out []ledger.Erasure, err error) {
	err = s.read(ctx, func(tx *tx) error {
		var e ledger.Erasure
		var counts string
		rows := tx.query(`SELECT e.tenant, e.name, e.customer, e.at, i.name, e.host, e.counts FROM erasures e JOIN incarnations i ON i.n = e.incarnation ORDER BY e.n`)
		for rows.next(&e.Tenant, &e.Name, &e.Customer, &e.At, &e.Incarnation, &e.Host, &counts) {
			e.Counts = nil
			if err := json.Unmarshal([]byte(counts), &e.Counts); err != nil {
				tx.err = fmt.Errorf("read an erasure: %w", err)
				continue
			}
			out = append(out, e)
		}
		return tx.err
	})
	return out, err
}
