package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAPathThatIsTooLongForASocketIsNamed(t *testing.T) {
	base, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	for _, more := range []int{0, 1} {
		dir := filepath.Join(base, strings.Repeat("x", maxPath()-len(base)-len(SocketName)-2+more))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := Listen(dir)
		if more == 0 {
			if err != nil {
				t.Errorf("the longest path that may be: %v", err)
				continue
			}
			_ = l.Close()
		} else if err == nil || !strings.Contains(Hint(err), "ledger: dir:") {
			t.Errorf("one byte more: %v", err)
		}
	}
}
