package splunk

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Token is one token of the collector.
type Token struct {
	Name         string   `json:"name"`          // what logs and switches call it
	Value        string   `json:"value"`         // the secret; never shown again
	Indexes      []string `json:"indexes"`       // allowed indexes; empty: all
	DefaultIndex string   `json:"default_index"` // for events without index; empty: main
	Disabled     bool     `json:"disabled"`
	UseACK       bool     `json:"use_ack"` // requests need a channel and get an ackId
}

// token is a Token with its value hashed.
type token struct {
	Token
	sum [sha256.Size]byte
}

// allows reports whether events may name the index.
func (t *token) allows(index string) bool {
	return len(t.Indexes) == 0 || slices.Contains(t.Indexes, index)
}

// PutToken adds a token, or replaces the one of that name. Name and Value must
// not be empty.
func (r *Receiver) PutToken(t Token) error {
	if t.Name == "" || t.Value == "" {
		return errors.New("a token needs a name and a value")
	}
	if t.DefaultIndex == "" {
		t.DefaultIndex = "main"
	}
	n := &token{Token: t, sum: sha256.Sum256([]byte(t.Value))}
	n.Value = ""
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, old := range r.tokens {
		if old.Name == t.Name {
			r.tokens[i] = n
			return nil
		}
	}
	r.tokens = append(r.tokens, n)
	return nil
}

// DisableToken switches a token off, or on again.
func (r *Receiver) DisableToken(name string, disabled bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, t := range r.tokens {
		if t.Name == name {
			n := *t // requests under way keep what they began with
			n.Disabled = disabled
			r.tokens[i] = &n
			return nil
		}
	}
	return fmt.Errorf("there is no token named %q", name)
}

// authorize finds the token of a request. A code above 0 is the answer; it
// takes the same time for every wrong token.
func (r *Receiver) authorize(req *http.Request) (*token, int) {
	header := req.Header.Get("Authorization")
	if header == "" {
		if req.URL.Query().Has("token") {
			return nil, 16
		}
		return nil, 2
	}
	scheme, value, ok := strings.Cut(header, " ")
	if value = strings.TrimSpace(value); !ok || value == "" || !strings.EqualFold(scheme, "Splunk") {
		return nil, 3
	}
	sum := sha256.Sum256([]byte(value))
	r.mu.Lock()
	defer r.mu.Unlock()
	var found *token
	for _, t := range r.tokens {
		if subtle.ConstantTimeCompare(t.sum[:], sum[:]) == 1 {
			found = t
		}
	}
	switch {
	case found == nil:
		return nil, 4
	case found.Disabled:
		return nil, 1
	}
	return found, 0
}
