package freelist

import "testing"

func TestTheListKeepsTheLargestAndGivesWhatFits(t *testing.T) {
	l := List{Most: 3, Largest: 4 << 20}
	put := func(n int) { b := make([]byte, 0, n); l.Put(&b) }
	put(l.Largest + 1)
	put(0)
	if len(l.bufs) != 0 {
		t.Fatal("kept what is too large, or nothing")
	}
	for n := range l.Most + 3 {
		put((n + 1) << 16)
	}
	if len(l.bufs) != l.Most || cap(*l.bufs[0]) != 4<<16 {
		t.Fatalf("%d kept, the smallest of %d", len(l.bufs), cap(*l.bufs[0]))
	}
	for _, tt := range []struct{ ask, want int }{{1000, 0}, {5<<16 - 1, 5 << 16}, {5 << 16, 6 << 16}, {12 << 16, 0}, {0, 4 << 16}} {
		if got := cap(*l.Get(int64(tt.ask))); got != tt.want {
			t.Errorf("asked for %d, got %d, want %d", tt.ask, got, tt.want)
		}
	}
}
