package main

import (
	"errors"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// countTrace counts the calls between two times in microseconds.
func countTrace(path string, from, to int64) (n int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[2], "fsync(") && !strings.HasPrefix(f[2], "fdatasync(") {
			continue
		}
		if at, err := strconv.ParseFloat(f[1], 64); err == nil && int64(at*1e6) >= from && int64(at*1e6) <= to {
			n++
		}
	}
	return n, nil
}

// profile begins to write path.cpu and gives the function that ends it and
// writes path.heap. It does nothing for an empty path.
func profile(path string) (end func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(path + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(path + ".heap")
		if err != nil {
			return errors.Join(err, cpu.Close())
		}
		return errors.Join(cpu.Close(), pprof.Lookup("allocs").WriteTo(heap, 0), heap.Close())
	}, nil
}

// usage is what this process has taken so far.
type usage struct {
	at      time.Time
	cpu     time.Duration
	written int64
	writes  int64
}

func usageNow() (u usage, err error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return u, err
	}
	u = usage{at: time.Now(), cpu: time.Duration(r.Utime.Nano() + r.Stime.Nano())}
	u.written, u.writes = procNumber("/proc/self/io", "write_bytes:"), procNumber("/proc/self/io", "syscw:")
	return u, nil
}

// since is what was taken since u.
func (u usage) since() (m measure, err error) {
	now, err := usageNow()
	if err != nil {
		return m, err
	}
	return measure{Seconds: now.at.Sub(u.at).Seconds(), CPU: (now.cpu - u.cpu).Seconds(), PeakMiB: float64(procNumber("/proc/self/status", "VmHWM:")) / 1024, EndMiB: float64(procNumber("/proc/self/status", "VmRSS:")) / 1024,
		WrittenMiB: float64(now.written-u.written) / (1 << 20), Writes: now.writes - u.writes, from: u.at.UnixMicro(), to: now.at.UnixMicro()}, nil
}

// forgetPeak lets the peak of memory be counted from now on, where the kernel
// does that.
func forgetPeak() {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// procNumber reads a number of a file of /proc, 0 if it is not there.
func procNumber(path, name string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut("\n"+string(text), "\n"+name)
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(f[0], 10, 64)
	return n
}
