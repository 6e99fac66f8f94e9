// Package splunk is a pretend Splunk HTTP Event Collector: the wire contract
// of reference sink-protocols §2 with its harsher readings, and a log of its
// own that says what was kept and what the sender was told. It is a product of
// its own and imports nothing of drover.
//
// What it promises:
//
//   - Each event is judged as the contract says: codes 0 to 28 with their
//     statuses, events before an invalid one indexed, the others not.
//   - The bytes of an event are never rewritten: what the log holds is what
//     came in.
//   - A line of the log is written when the fate of the answer is known, so
//     "answered" means that the whole answer was handed to the network.
//   - Memory is bounded by Options; two runs with the same requests and the
//     same clock give the same log.
//   - It works inside testing/synctest: it waits on timers and conditions
//     only, and starts no goroutine.
//
// Faults are switched on from Go (Receiver.Set) or over JSON
// (Receiver.Control), for a time, for a number of requests, or for good.
package splunk
