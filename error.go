package drover

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind says what the program does about an error. A new outcome is a new kind
// only if the program acts differently.
type Kind uint8

// The kinds of errors.
const (
	Transient Kind = iota + 1 // back off and try again
	Throttled                 // wait as told, then try again
	Denied                    // park and probe; someone must act
	Refused                   // this one thing will never be taken; set it aside and go on
	Broken                    // a promise of our own is broken: stop the process
)

// String names the kind as it stands in logs and metrics.
func (k Kind) String() string {
	switch k {
	case Transient:
		return "transient"
	case Throttled:
		return "throttled"
	case Denied:
		return "denied"
	case Refused:
		return "refused"
	case Broken:
		return "broken"
	}
	return "unknown"
}

// Error says what was tried, on whom, what to do next, and why. Kind is for
// the program, Hint for a person, Err for the log. It never holds a secret or
// a part of an alert.
type Error struct {
	Op     string // what was tried: "read alerts"
	Tenant TenantID
	Kind   Kind
	Wait   time.Duration // for Throttled: how long the peer asked us to wait; 0 if it did not
	App    bool          // it concerns the whole app registration, not one tenant
	Code   string        // the peer's own code: "AADSTS7000222", "429", "HEC 7"
	Hint   string        // what to do next, in words for an operator
	Err    error
}

// Error renders "op: cause" with the tenant when there is one.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Tenant != "" {
		fmt.Fprintf(&b, "tenant %s: ", e.Tenant)
	}
	b.WriteString(e.Op)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first *Error in err's chain. An error
// without one is Transient: it may pass, and trying again loses nothing.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Transient
}

// WaitOf returns how long the peer asked us to wait, 0 if it did not.
func WaitOf(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.Wait
	}
	return 0
}

// HintOf returns the advice of the first *Error in the chain that has one.
func HintOf(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}
