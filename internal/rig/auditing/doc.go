// Package auditing shows that an audit finds what is wrong and nothing else: the
// real collector, sources, ledger, deliverer and file sink against the pretend
// cloud, in virtual time, with one bug planted at a time. It has tests only.
package auditing
