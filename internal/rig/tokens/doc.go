// Package tokens is the rig of the refresh tokens: the product's own code
// renews them against the pretend Entra, with a real ledger, and is killed at
// every point, has its power cut, races another, meets a ledger of last week,
// and is left alone for 200 days (reference faults-and-invariants T03, T04,
// T12).
package tokens
