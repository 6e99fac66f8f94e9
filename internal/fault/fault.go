// Package fault holds the places at which tests make drover die. At does
// nothing unless a test armed it; the names are listed here and nowhere else
// (reference faults-and-invariants, failpoints).
package fault

import "sync/atomic"

// The failpoints.
const (
	LedgerBegin        = "ledger.begin"         // before the writer's transaction
	LedgerStep         = "ledger.step"          // between two savepoints of a shared commit
	LedgerBeforeCommit = "ledger.commit.before" // everything written, nothing durable
	LedgerAfterCommit  = "ledger.commit.after"  // durable, nobody told
	LedgerCheckpoint   = "ledger.checkpoint"    // before the log is brought into the file
	LedgerCreate       = "ledger.create"        // between two steps of making, opening or closing the file
	LedgerMigrate      = "ledger.migrate"       // between two statements of a migration
	LedgerPrune        = "ledger.prune"         // between two slices of a prune
	TokenAsk           = "token.ask"            // before a refresh token is redeemed
	TokenAnswered      = "token.answered"       // Entra has answered, nothing is saved
	TokenSaved         = "token.saved"          // the new refresh token is durable, its access token not used yet
	FileBeforeWrite    = "file.write.before"    // a batch is claimed, nothing written
	FileAfterWrite     = "file.write.after"     // written, not fsynced
	FileAfterSync      = "file.sync.after"      // fsynced, not settled
	FileRotate         = "file.rotate"          // renamed, directory not fsynced
	VaultWrite         = "vault.write"          // between two steps of writing a key file
	VaultRotate        = "vault.rotate"         // between two steps of letting a master key follow another
)

// All lists every failpoint.
var All = []string{LedgerBegin, LedgerStep, LedgerBeforeCommit, LedgerAfterCommit, LedgerCheckpoint, LedgerCreate, LedgerMigrate, LedgerPrune,
	TokenAsk, TokenAnswered, TokenSaved,
	FileBeforeWrite, FileAfterWrite, FileAfterSync, FileRotate, VaultWrite, VaultRotate}

var hook atomic.Pointer[func(string)]

// At is called where a test may want the process to end.
func At(point string) {
	if h := hook.Load(); h != nil {
		(*h)(point)
	}
}

// Arm calls f at every failpoint until the returned function is called.
func Arm(f func(point string)) (disarm func()) {
	hook.Store(&f)
	return func() { hook.Store(nil) }
}
