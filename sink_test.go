package drover

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestATakenThatFitsItsBatchIsTaken(t *testing.T) {
	refused := func(list ...int) (r []Refusal) {
		for _, i := range list {
			r = append(r, Refusal{Index: i})
		}
		return r
	}
	for name, tt := range map[string]struct {
		taken   Taken
		records int
		good    bool
	}{
		"nothing of nothing":                     {Taken{}, 0, true},
		"nothing of three":                       {Taken{}, 3, true},
		"all":                                    {Taken{N: 3}, 3, true},
		"some":                                   {Taken{N: 1}, 3, true},
		"some, and one more behind":              {Taken{N: 1, Also: []int{2}}, 3, true},
		"some, and what follows at once":         {Taken{N: 1, Also: []int{1, 2}}, 3, true},
		"all refused":                            {Taken{N: 3, Refused: refused(0, 1, 2)}, 3, true},
		"one refused among those behind":         {Taken{N: 1, Also: []int{2}, Refused: refused(2)}, 3, true},
		"with a mark":                            {Taken{N: 3, Mark: []byte("x")}, 3, true},
		"more than there are":                    {Taken{N: 4}, 3, false},
		"less than none":                         {Taken{N: -1}, 3, false},
		"one of nothing":                         {Taken{N: 1}, 0, false},
		"one behind the last":                    {Taken{N: 1, Also: []int{3}}, 3, false},
		"one before the first":                   {Taken{Also: []int{-1}}, 3, false},
		"one that counts already":                {Taken{N: 2, Also: []int{1}}, 3, false},
		"one twice":                              {Taken{N: 1, Also: []int{2, 2}}, 3, false},
		"two in the wrong order":                 {Taken{N: 0, Also: []int{2, 1}}, 3, false},
		"refused, and there is none such":        {Taken{N: 3, Refused: refused(3)}, 3, false},
		"refused before the first":               {Taken{N: 3, Refused: refused(-1)}, 3, false},
		"refused twice":                          {Taken{N: 3, Refused: refused(1, 1)}, 3, false},
		"refused in the wrong order":             {Taken{N: 3, Refused: refused(1, 0)}, 3, false},
		"refused, and not among those done":      {Taken{N: 1, Refused: refused(2)}, 3, false},
		"refused between the first and the rest": {Taken{N: 1, Also: []int{2}, Refused: refused(1)}, 3, false},
	} {
		if err := tt.taken.Validate(tt.records); (err == nil) != tt.good {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestEverySetOfRecordsCanBeSaidInOneWay takes random sets of done records and
// says them as a Taken.
func TestEverySetOfRecordsCanBeSaidInOneWay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		done := make([]bool, rng.IntN(20))
		var taken Taken
		first := true
		for i := range done {
			done[i] = rng.IntN(3) > 0
			switch {
			case done[i] && first:
				taken.N++
			case done[i]:
				taken.Also = append(taken.Also, i)
			default:
				first = false
			}
			if done[i] && rng.IntN(4) == 0 {
				taken.Refused = append(taken.Refused, Refusal{Index: i, Reason: "x"})
			}
		}
		if err := taken.Validate(len(done)); err != nil {
			t.Fatalf("%v: %+v: %v", done, taken, err)
		}
		open := slices.Index(done, false)
		if open < 0 {
			continue
		}
		// A refusal of what is not done would set it aside and send it again.
		i, _ := slices.BinarySearchFunc(taken.Refused, open, func(r Refusal, i int) int { return r.Index - i })
		taken.Refused = slices.Insert(taken.Refused, i, Refusal{Index: open})
		if taken.Validate(len(done)) == nil {
			t.Fatalf("%v: %+v was taken", done, taken)
		}
	}
}
