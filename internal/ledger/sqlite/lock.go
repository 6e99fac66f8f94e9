package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"drover/internal/ledger"
)

// lockName is the file whose kernel lock a process holds for as long as it has
// the ledger open. The lock dies with the process, however it dies.
const lockName = "ledger.lock"

// kernelLock is a lock. Close gives it back at once, even if a process that is being
// forked at the moment still has the file, too.
type kernelLock struct{ *os.File }

func (l kernelLock) Close() error {
	return errors.Join(syscall.Flock(int(l.Fd()), syscall.LOCK_UN), l.File.Close())
}

// lock takes the ledger for this process.
func lock(dir string) (closer, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the ledger's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the ledger: %w", err)
		}
		holder, _ := io.ReadAll(io.LimitReader(f, 200))
		return nil, fmt.Errorf("%w: %s (%s)", ledger.ErrLocked, dir, orUnknown(strings.TrimSpace(string(holder))))
	}
	if err := f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write the ledger's lock: %w", err)
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "process %d since %s\n", os.Getpid(), time.Now().UTC().Format(time.RFC3339)), 0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write the ledger's lock: %w", err)
	}
	return kernelLock{f}, nil
}

func orUnknown(s string) string {
	if s == "" {
		return "by an unknown process"
	}
	return s
}

// Magic numbers of file systems on which kernel locks and fsync cannot be
// relied on (statfs(2)).
var networkFS = map[int64]string{
	0x6969:     "NFS",
	0xff534d42: "CIFS",
	0xfe534d42: "SMB2",
	0x517b:     "SMB",
	0x65735546: "FUSE",
	0x01021997: "9P",
	0x5346414f: "AFS",
}

// onNetwork names the network file system that dir lies on, or "".
func onNetwork(dir string) string {
	magic, ok := fsType(dir)
	if !ok {
		return ""
	}
	return networkFS[magic]
}

// fsType is statfsType, but for tests that have no such file system.
var fsType = statfsType

func statfsType(dir string) (magic int64, ok bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Type) & 0xffffffff, true
}
