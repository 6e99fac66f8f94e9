// Package restore is the rig that puts an older ledger back: the real engines,
// HTTP stack, ledger and sinks run in virtual time against the pretend cloud;
// at a random moment the ledger is copied, later it is lost, the copy is
// adopted, and life goes on with numbers that were given before. The oracle
// counts what is at each sink (reference faults-and-invariants S23). It has
// tests only.
package restore
