// Package sim is the simulator (reference faults-and-invariants, rig R1): the
// real engines, HTTP stack, ledger and sinks against the pretend cloud, in
// virtual time over an in-memory network, with everything that goes wrong drawn
// from one seed. When the faults have ended and a calm has passed, the oracle
// judges. It has tests only.
package sim
