package admin

import (
	"errors"
	"net"
	"os"
	"syscall"

	"drover"
	"drover/internal/httpx"
)

// Hint says what an operator can do about an error: what the error itself
// says, else what its cause in the system or the network suggests; empty if
// there is nothing to say.
func Hint(err error) string {
	if hint := drover.HintOf(err); hint != "" {
		return hint
	}
	var dns *net.DNSError
	var call *net.OpError
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "the disk is full: make room there; drover goes on by itself and nothing is lost"
	case errors.Is(err, syscall.EROFS):
		return "the file system is mounted read-only: name another directory, or mount it for writing"
	case errors.Is(err, os.ErrPermission):
		return "the user that runs drover must be allowed to write there"
	case errors.Is(err, syscall.EIO):
		return "the disk reports an error: look at the kernel's log before anything else"
	case errors.Is(err, httpx.ErrPrivate):
		return "if that host is meant to be on a private network, say allow_private: true for its cloud or sink in drover.yaml"
	case errors.As(err, &dns):
		return "the name cannot be looked up: is the host spelt right, and does this machine's DNS know it?"
	case errors.As(err, &call) && call.Op == "dial":
		return "the host cannot be reached: is it right in the config, and may this machine connect to it (firewall, proxy)?"
	case errors.Is(err, os.ErrNotExist):
		return "it does not exist and cannot be made: name another directory in the config"
	}
	return ""
}
