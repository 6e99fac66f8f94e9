// Package oracle judges a run from outside: what the pretend cloud showed (its
// truth log) against what arrived (files, the receiver log of a pretend Splunk,
// an export of the ledger). It reads files and nothing else.
//
// It shares no code with the product and imports the standard library only:
// it takes the exact bytes of a row, reads times, hashes and compares on its
// own, so that a misreading does not sit on both sides and agree with itself.
//
// What it promises:
//
//   - A revision that was shown and is nowhere is named, with tenant, alert and
//     place; so is everything that arrived and should not have: twice, under
//     another customer, with other bytes, out of order.
//   - No finding holds a body: IDs, hashes and counts only.
//   - One pass over each file (two over the truth log), a few hundred bytes for
//     each revision: a million revisions at three places stay below 1 GB.
//
// The rules of the verdict are in docs/oracle.md; the planted bugs that prove
// them are in package plant beside this one.
package oracle
