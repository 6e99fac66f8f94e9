package httpx

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"strings"
	"syscall"
)

// cleaned is an error whose text is safe to show.
type cleaned struct {
	text string
	err  error
}

func (e *cleaned) Error() string { return e.text }
func (e *cleaned) Unwrap() error { return e.err }

// quoted finds what an error quotes: a peer's bytes, which may be anything.
var quoted = regexp.MustCompile(`"(\\.|[^"\\])*"?|malformed MIME header.*`)

// clean makes an error safe to show: no URL, no part of the answer. The chain
// below it stays for errors.Is.
func clean(ctx context.Context, err error) error {
	for _, own := range []error{ErrStalled, ErrTooLarge, ErrEncoding, ErrPrivate, ErrProxy} {
		if errors.Is(err, own) {
			return err
		}
	}
	if ctx.Err() != nil {
		if errors.Is(context.Cause(ctx), ErrStalled) {
			return ErrStalled
		}
		return ctx.Err()
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &cleaned{quoted.ReplaceAllString(err.Error(), "…"), ErrStalled}
	}
	return &cleaned{quoted.ReplaceAllString(err.Error(), "…"), err}
}

// wasLost reports whether a connection ended before the answer was whole:
// refused, reset, given up while idle, or its stream ended by the peer. A
// deadline, a certificate that does not hold and an answer that cannot be used
// are none of these.
func wasLost(err error) bool {
	for _, own := range []error{ErrStalled, ErrTooLarge, ErrEncoding, ErrPrivate, ErrProxy} {
		if errors.Is(err, own) {
			return false
		}
	}
	if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
		return false
	}
	if _, alert := errors.AsType[tls.AlertError](err); alert {
		return false
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return false
	}
	if _, dns := errors.AsType[*net.DNSError](err); dns {
		return false
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EPIPE):
		return true
	}
	// A header that breaks off inside of a line shows as a malformed one.
	if _, cut := errors.AsType[textproto.ProtocolError](err); cut {
		return true
	}
	// net/http keeps the types of these to itself.
	text := err.Error()
	for _, sign := range []string{"malformed HTTP", "GOAWAY", "stream error", "connection error", "server closed idle connection", "client connection lost", "client connection force closed"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}
