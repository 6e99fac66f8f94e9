// Package filter shows that a sink is given what its config says, from the
// pretend cloud to files: the real collector, deliverer, routes and ledger over
// days of virtual time, and the oracle, which reads the config's words on its
// own. Faults of the choice are put in the product's way and into its files;
// each must be named. It has tests only.
package filter
