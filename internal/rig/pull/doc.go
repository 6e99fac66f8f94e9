// Package pull shows what becomes of the faults of pulling (reference
// faults-and-invariants P) from one end to the other: the real collector,
// sources, HTTP stack and ledger against the pretend cloud, in virtual time.
// One fault a tenant, so that a story deals many. It has tests only.
package pull
