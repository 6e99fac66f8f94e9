package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// Canonical is the form of a report that is hashed: its JSON without the member
// sha256, the members of every object in the order of their names, no blanks,
// and no character escaped that need not be.
func Canonical(report []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(report))
	dec.UseNumber()
	var v map[string]any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	delete(v, "sha256")
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// Sign returns the SHA-256 of the report's canonical form in hex. The ledger's
// identity and incarnation are part of what is hashed. It shows that a report is
// as it was made, not by whom: whoever needs that keeps the hash apart.
func (r *Report) Sign() string {
	text, err := json.Marshal(r)
	if err == nil {
		text, err = Canonical(text)
	}
	if err != nil {
		panic("a report of words and numbers cannot be encoded: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// ErrChanged: a report is not as it was made.
var ErrChanged = errors.New("the report is not as it was made: its hash is another")

// Verify reads a report and checks its hash.
func Verify(report []byte) (*Report, error) {
	var r Report
	if err := json.Unmarshal(report, &r); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	if r.Format != Format {
		return nil, fmt.Errorf("the report is of the form %q, not %q", plain(r.Format), Format)
	}
	text, err := Canonical(report)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != r.SHA256 {
		return &r, ErrChanged
	}
	return &r, nil
}
