package sqlite

import (
	"encoding/binary"
	"hash/crc64"

	"drover"
)

var crcTable = crc64.MakeTable(crc64.ECMA)

// keySum is a checksum of one key. A feed keeps the exclusive or of those of
// all its keys, so that Check notices a key that has changed, was lost or was
// added even when the body that it could be compared with is gone.
func keySum(changed drover.Instant, alert []byte, ordinal uint8, sum []byte, seq uint64, created drover.Instant) uint64 {
	var buf [8 + alertKey + 1 + len(drover.Hash{}) + 8 + 8]byte
	b := binary.BigEndian.AppendUint64(buf[:0], uint64(changed))
	b = append(b, alert...)
	b = append(b, ordinal)
	b = append(b, sum...)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint64(b, uint64(created))
	return crc64.Checksum(b, crcTable)
}

const keyColumns = `changed, alert, ordinal, sum, seq, created`

// sumRows adds up the keys that a query returns, and how many they are.
func sumRows(tx *tx, query string, args ...any) (sum uint64, n int64) {
	var (
		changed, created drover.Instant
		alert, hash      []byte
		ordinal          uint8
		seq              uint64
	)
	for rows := tx.query(query, args...); rows.next(&changed, &alert, &ordinal, &hash, &seq, &created); n++ {
		sum ^= keySum(changed, alert, ordinal, hash, seq, created)
	}
	return sum, n
}

// changeKeySum puts keys into, or takes them out of, a feed's sum.
func changeKeySum(tx *tx, fid int64, by uint64) {
	var sum int64
	tx.row(`SELECT keys_sum FROM feeds WHERE fid = ?`, fid).scan(&sum)
	tx.exec(`UPDATE feeds SET keys_sum = ? WHERE fid = ?`, sum^int64(by), fid)
}

// checkKeySums compares every feed's keys with their sum.
func checkKeySums(tx *tx) (found []string) {
	type feedSum struct {
		fid, sum int64
		name     string
	}
	var feeds []feedSum
	var f feedSum
	for rows := tx.query(`SELECT fid, keys_sum, tenant || '/' || source FROM feeds`); rows.next(&f.fid, &f.sum, &f.name); {
		feeds = append(feeds, f)
	}
	for _, f := range feeds {
		if sum, _ := sumRows(tx, `SELECT `+keyColumns+` FROM keys WHERE fid = ?`, f.fid); tx.err == nil && sum != uint64(f.sum) {
			found = append(found, "the keys of feed "+f.name+" are not those that were stored")
		}
	}
	return found
}
