package admin

import (
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"testing"

	"drover"
	"drover/internal/httpx"
)

func TestErrorsWithoutAHintGetOneByTheirCause(t *testing.T) {
	path := func(e error) error {
		return fmt.Errorf("open ledger: %w", &fs.PathError{Op: "mkdir", Path: "/x", Err: e})
	}
	for want, err := range map[string]error{
		"disk is full":      path(syscall.ENOSPC),
		"read-only":         path(syscall.EROFS),
		"allowed to write":  path(syscall.EACCES),
		"kernel's log":      path(syscall.EIO),
		"name another":      path(syscall.ENOENT),
		"looked up":         &drover.Error{Op: "get", Kind: drover.Transient, Err: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host"}}},
		"cannot be reached": &drover.Error{Op: "get", Kind: drover.Transient, Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}},
		"allow_private":     &drover.Error{Op: "get", Kind: drover.Transient, Err: &net.OpError{Op: "dial", Err: httpx.ErrPrivate}},
		"its own":           &drover.Error{Hint: "its own", Err: path(syscall.ENOSPC)},
	} {
		if got := Hint(err); !strings.Contains(got, want) {
			t.Errorf("%v: %q, want %q in it", err, got, want)
		}
	}
	if got := Hint(fmt.Errorf("anything")); got != "" {
		t.Errorf("got %q", got)
	}
}
