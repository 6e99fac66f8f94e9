package file

import (
	"bytes"
	"context"
	"slices"

	"drover"
	"drover/internal/config"
)

// lane is a destination: one file that grows, or one for each source. One
// goroutine at a time uses it.
type lane struct {
	name string
	logs map[string]*log
}

// lane returns the lane of that name.
func (s *Sink) lane(name string) (*lane, error) {
	if err := config.CheckPath(name); err != nil {
		return nil, &drover.Error{Op: "write to a file", Kind: drover.Denied, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[name]
	if l == nil {
		l = &lane{name: name, logs: make(map[string]*log)}
		s.lanes[name] = l
	}
	return l, nil
}

// Taken implements drover.Asker: it finds out which records of a batch the
// files hold behind the mark, makes those durable, and cuts off what is torn.
func (s *Sink) Taken(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	return s.work(ctx, b, false)
}

// Deliver appends the batch: for each file one write and one fsync. Records
// that the files hold behind the mark already are not written again.
func (s *Sink) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	return s.work(ctx, b, true)
}

// group is the part of a batch that goes to one file.
type group struct {
	name  string
	index []int // of records in the batch
}

func (s *Sink) work(ctx context.Context, b drover.Batch, write bool) (drover.Taken, error) {
	if err := ctx.Err(); err != nil {
		return drover.Taken{}, err
	}
	l, err := s.lane(b.Lane)
	if err != nil {
		return drover.Taken{}, err
	}
	m, err := readMark(b.Lane, b.Mark)
	if err != nil {
		return drover.Taken{}, err
	}
	has := make([]bool, len(b.Records))
	var older []int
	for _, g := range l.groups(b.Records) {
		f := l.logs[g.name]
		if f == nil {
			f = &log{s: s, name: g.name}
			l.logs[g.name] = f
		}
		if err = f.settle(m.Files[g.name], b.Records, g.index, has); err != nil {
			break
		}
		older = append(older, f.older...)
		m.Files[g.name] = f.state
		if !write {
			continue
		}
		err = f.append(&b, g.index, has)
		if f.ok {
			m.Files[g.name] = f.state
		}
		if err != nil {
			break
		}
	}
	t := taken(has)
	slices.Sort(older)
	t.Older = slices.Compact(older)
	if code := m.encode(); !bytes.Equal(code, b.Mark) && (b.Mark != nil || t.N > 0 || len(t.Also) > 0) {
		t.Mark = code
	}
	return t, err
}

// groups sorts a batch by file, in the order in which they come.
func (l *lane) groups(recs []drover.Record) []group {
	var out []group
	at := make(map[drover.SourceID]int)
	for i := range recs {
		src := recs[i].Source
		n, ok := at[src]
		if !ok {
			name := fileOf(l.name, src)
			for n = 0; n < len(out) && out[n].name != name; n++ {
			}
			if n == len(out) {
				out = append(out, group{name: name})
			}
			at[src] = n
		}
		out[n].index = append(out[n].index, i)
	}
	return out
}

// taken says which records are done.
func taken(has []bool) (t drover.Taken) {
	for t.N < len(has) && has[t.N] {
		t.N++
	}
	for i := t.N; i < len(has); i++ {
		if has[i] {
			t.Also = append(t.Also, i)
		}
	}
	return t
}
