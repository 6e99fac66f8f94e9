package httpx

import "testing"

func TestTheFreelistKeepsTheLargestAndGivesWhatFits(t *testing.T) {
	var f freelist
	put := func(n int) { b := make([]byte, 0, n); f.put(&b) }
	put(maxPooled + 1)
	put(0)
	if len(f.bufs) != 0 {
		t.Fatal("kept what is too large, or nothing")
	}
	for n := range maxFree + 3 {
		put((n + 1) << 16)
	}
	if len(f.bufs) != maxFree || cap(*f.bufs[0]) != 4<<16 {
		t.Fatalf("%d kept, the smallest of %d", len(f.bufs), cap(*f.bufs[0]))
	}
	for _, tt := range []struct{ ask, want int }{{1000, 0}, {5<<16 - 1, 5 << 16}, {5 << 16, 6 << 16}, {12 << 16, 0}, {0, 4 << 16}} {
		if got := cap(*f.get(int64(tt.ask))); got != tt.want {
			t.Errorf("asked for %d, got %d, want %d", tt.ask, got, tt.want)
		}
	}
}
