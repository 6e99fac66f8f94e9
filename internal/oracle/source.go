package oracle

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Log is one file of lines that the oracle reads. It may be opened more than
// once.
type Log struct {
	Name string
	// Tenant, if set, says that only records of that tenant may stand in it.
	Tenant string
	Open   func() (io.ReadCloser, error)
}

// Files returns logs for the paths. A name that ends in .gz is decompressed.
func Files(paths ...string) []Log {
	logs := make([]Log, len(paths))
	for i, p := range paths {
		logs[i] = Log{Name: p, Open: func() (io.ReadCloser, error) { return open(p) }}
	}
	return logs
}

// Glob returns the files that match any of the patterns, ordered so that a file
// that was put away (a.000007.ndjson, a.ndjson.3, a.ndjson.gz …) comes before
// the one that is being written (a.ndjson).
func Glob(patterns ...string) ([]Log, error) {
	var paths []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p, err)
		}
		paths = append(paths, found...)
	}
	live := func(p string) string {
		p = strings.TrimSuffix(p, ".gz")
		base := filepath.Base(p)
		stem, _, _ := strings.Cut(base, ".")
		return filepath.Join(filepath.Dir(p), stem)
	}
	slices.SortFunc(paths, func(a, b string) int {
		if c := strings.Compare(live(a), live(b)); c != 0 {
			return c
		}
		if c := strings.Count(filepath.Base(b), ".") - strings.Count(filepath.Base(a), "."); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	return Files(slices.Compact(paths)...), nil
}

// Text returns a log that is in memory.
func Text(name string, b []byte) Log {
	return Log{Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

// Bound returns l, bound to a tenant.
func (l Log) Bound(tenant string) Log {
	l.Tenant = strings.ToLower(tenant)
	return l
}

type gzipFile struct {
	*gzip.Reader
	f *os.File
}

func (g gzipFile) Close() error { return errors.Join(g.Reader.Close(), g.f.Close()) }

func open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil || !strings.HasSuffix(path, ".gz") {
		return f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return gzipFile{z, f}, nil
}

// maxLine bounds one line in bytes; the largest alert that a source is known to
// serve is 30 MB, in base64 40 MB.
const maxLine = 128 << 20

// errLong marks a line over maxLine.
var errLong = errors.New("line is longer than 128 MiB")

// lines calls fn for each line that has its end, without it. torn is the number
// of bytes behind the last line end: a line that was not written whole. A
// compressed file that stops early counts as torn too.
func (l Log) lines(fn func(number int, line []byte) error) (torn int, err error) {
	f, err := l.Open()
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", l.Name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := bufio.NewReaderSize(f, 1<<20)
	var long []byte
	for number := 1; ; {
		part, err := r.ReadSlice('\n')
		switch {
		case err == nil && len(long) == 0:
			if err := fn(number, part[:len(part)-1]); err != nil {
				return 0, fmt.Errorf("%s line %d: %w", l.Name, number, err)
			}
			number++
			continue
		case err == nil:
			long = append(long, part...)
			if err := fn(number, long[:len(long)-1]); err != nil {
				return 0, fmt.Errorf("%s line %d: %w", l.Name, number, err)
			}
			long = long[:0]
			number++
			continue
		}
		long = append(long, part...)
		switch {
		case errors.Is(err, io.EOF):
			return len(long), nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return max(len(long), 1), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return 0, fmt.Errorf("read %s: %w", l.Name, err)
		case len(long) > maxLine:
			return 0, fmt.Errorf("%s line %d: %w", l.Name, number, errLong)
		}
	}
}
