package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"drover"
	"drover/internal/fault"
)

// mark is what the ledger keeps for a lane: which file it writes, and where
// that ended when the last batch was settled. A file that was put away keeps
// its name for ever, so a name says which file is meant.
type mark struct {
	Size  int64 `json:"size"`  // of the current file
	Begun int64 `json:"begun"` // when it was begun, Unix seconds; 0: there is none yet
	Away  int   `json:"away"`  // how many files of the lane were put away
}

// lane is one file that grows, and is put away when it is large or old. One
// goroutine at a time uses it.
type lane struct {
	s      *Sink
	name   string
	f      *os.File
	state  mark
	opened bool // state and file have been compared
}

// Taken compares the file with a batch; see the package comment.
func (s *Sink) Taken(_ context.Context, b drover.Batch) (drover.Taken, error) {
	l, err := s.lane(b.Lane)
	if err != nil {
		return drover.Taken{}, err
	}
	return l.taken(b)
}

// Deliver appends the batch with one write and fsyncs it.
func (s *Sink) Deliver(_ context.Context, b drover.Batch) (drover.Taken, error) {
	l, err := s.lane(b.Lane)
	if err != nil {
		return drover.Taken{}, err
	}
	if err := l.open(b); err != nil {
		return drover.Taken{}, err
	}
	if err := l.rotate(); err != nil {
		return drover.Taken{}, err
	}
	fault.At(fault.FileBeforeWrite)
	buf := lines(b.Records)
	if _, err := l.f.WriteAt(buf, l.state.Size); err != nil {
		return drover.Taken{}, l.undo(diskError("write to "+l.name, err))
	}
	fault.At(fault.FileAfterWrite)
	if err := l.f.Sync(); err != nil {
		// What an fsync error leaves on disk is not known, and asking again
		// would say that all is well.
		return drover.Taken{}, &drover.Error{Op: "fsync " + l.name, Kind: drover.Broken, Err: err, Hint: "check the disk"}
	}
	fault.At(fault.FileAfterSync)
	l.state.Size += int64(len(buf))
	return drover.Taken{N: len(b.Records), Mark: l.encode()}, nil
}

// lines joins records to lines.
func lines(recs []drover.Record) []byte {
	n := 0
	for i := range recs {
		n += len(recs[i].Body) + 1
	}
	buf := make([]byte, 0, n)
	for i := range recs {
		buf = append(append(buf, recs[i].Body...), '\n')
	}
	return buf
}

// undo cuts off what a failed write left. The file's length is then what the
// mark says.
func (l *lane) undo(err error) error {
	if terr := l.f.Truncate(l.state.Size); terr != nil {
		l.reset()
		return errors.Join(err, terr)
	}
	return err
}

func (l *lane) reset() {
	if l.f != nil {
		_ = l.f.Close()
	}
	l.f, l.opened = nil, false
}

func (l *lane) close() error {
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f, l.opened = nil, false
	return err
}

func (l *lane) encode() []byte {
	b, err := json.Marshal(l.state)
	if err != nil {
		panic("a mark of numbers cannot be encoded: " + err.Error())
	}
	return b
}

// open makes the file ready to append at the mark. With a batch under way
// Taken was asked before, so anything else behind the mark is not ours.
func (l *lane) open(b drover.Batch) error {
	if l.opened {
		return nil
	}
	behind, err := l.compare(b.Mark)
	if err != nil {
		return err
	}
	if len(bytes.Trim(behind, "\x00")) > 0 {
		known, err := l.recognise(b, behind)
		if err != nil {
			return err
		}
		if known.N > 0 {
			return &drover.Error{Op: "write to " + l.name, Kind: drover.Transient, Err: errors.New("the file has records of this batch already; asking it first")}
		}
	}
	if err := l.cut(l.state.Size); err != nil {
		return err
	}
	l.opened = true
	return nil
}

// compare opens the lane's file, brings a putting away that a crash
// interrupted to its end, and returns what lies behind the mark.
func (l *lane) compare(encoded []byte) ([]byte, error) {
	l.reset()
	l.state = mark{}
	if encoded != nil {
		if err := json.Unmarshal(encoded, &l.state); err != nil {
			return nil, &drover.Error{Op: "read the mark of " + l.name, Kind: drover.Broken, Err: err}
		}
	}
	if dir := path.Dir(l.name); dir != "." {
		if err := l.s.root.MkdirAll(dir, 0o700); err != nil {
			return nil, diskError("make the directory of "+l.name, err)
		}
		if err := l.syncDir(path.Dir(dir)); err != nil {
			return nil, err
		}
	}
	// A crash between putting the file away and settling the next batch: the
	// mark still speaks of the old one.
	if _, err := l.s.root.Stat(l.awayName(l.state.Away)); err == nil {
		l.state = mark{Away: l.state.Away + 1}
	}
	f, err := l.s.root.OpenFile(l.name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskError("open "+l.name, err)
	}
	l.f = f
	if err := l.syncDir(path.Dir(l.name)); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, diskError("open "+l.name, err)
	}
	if info.Size() < l.state.Size {
		return nil, &drover.Error{Op: "write to " + l.name, Kind: drover.Denied, Err: fmt.Errorf("the file is %d bytes long, and was %d", info.Size(), l.state.Size),
			Hint: "it was cut or replaced by someone else; move it away, and drover begins a new one (drover never moves back what it delivered)"}
	}
	behind := make([]byte, info.Size()-l.state.Size)
	if _, err := io.ReadFull(io.NewSectionReader(f, l.state.Size, int64(len(behind))), behind); err != nil {
		return nil, diskError("read "+l.name, err)
	}
	return behind, nil
}

// taken finds out which records of a batch the file has, keeps those, and cuts
// off what is torn behind them.
func (l *lane) taken(b drover.Batch) (drover.Taken, error) {
	behind, err := l.compare(b.Mark)
	if err != nil {
		return drover.Taken{}, err
	}
	taken, err := l.recognise(b, behind)
	if err != nil {
		return drover.Taken{}, err
	}
	if err := l.cut(l.state.Size); err != nil {
		return drover.Taken{}, err
	}
	if err := l.f.Sync(); err != nil {
		return drover.Taken{}, &drover.Error{Op: "fsync " + l.name, Kind: drover.Broken, Err: err, Hint: "check the disk"}
	}
	l.opened = true
	if taken.N > 0 || len(taken.Also) > 0 {
		taken.Mark = l.encode()
	}
	return taken, nil
}

// envelope is as much of a record as is needed to know it again.
type envelope struct {
	Drover struct {
		EventID string `json:"event_id"`
	} `json:"drover"`
}

// recognise reads the lines behind the mark. Exact lines of the batch count as
// taken; so do, after a ledger was restored from an older state, lines that
// carry the event ID of one of its records. Whole lines that are neither are
// left alone if they are drover's own (a later batch of that older life), else
// the file was changed by someone else, and nothing is written. State.Size
// moves behind the last whole line that stays.
func (l *lane) recognise(b drover.Batch, behind []byte) (drover.Taken, error) {
	if n, size, ok := ownWrite(b.Records, behind); ok {
		l.state.Size += size
		if l.state.Begun == 0 && l.state.Size > 0 {
			l.state.Begun = l.s.opt.Now().Unix()
		}
		return drover.Taken{N: n}, nil
	}
	byLine, byID := make(map[string]int, len(b.Records)), make(map[string]int, len(b.Records))
	for i := range b.Records {
		byLine[string(b.Records[i].Body)] = i
		byID[b.Records[i].EventID] = i
	}
	has := make([]bool, len(b.Records))
	for len(behind) > 0 {
		n := bytes.IndexByte(behind, '\n')
		if n < 0 {
			break // torn
		}
		line := behind[:n]
		if i, ok := byLine[string(line)]; ok {
			has[i] = true
		} else {
			var e envelope
			if bytes.IndexByte(line, 0) >= 0 || json.Unmarshal(line, &e) != nil {
				if !bytes.HasPrefix(line, []byte(`{"drover":`)) && len(bytes.Trim(line, "\x00")) > 0 {
					return drover.Taken{}, &drover.Error{Op: "write to " + l.name, Kind: drover.Denied, Err: errors.New("somebody else has written to the file"),
						Hint: "only drover may write there; move the file away, and drover begins a new one"}
				}
				break // a part of ours that the disk kept only in pieces
			}
			if i, ok := byID[e.Drover.EventID]; ok {
				has[i] = true
			}
		}
		l.state.Size += int64(n) + 1
		behind = behind[n+1:]
	}
	if l.state.Begun == 0 && l.state.Size > 0 {
		l.state.Begun = l.s.opt.Now().Unix()
	}
	var t drover.Taken
	for t.N < len(has) && has[t.N] {
		t.N++
	}
	for i := t.N; i < len(has); i++ {
		if has[i] {
			t.Also = append(t.Also, i)
		}
	}
	return t, nil
}

// ownWrite reports whether what lies behind the mark is what a crash or a
// power cut left of writing exactly this batch: its bytes, of which any may be
// missing at the end or be zero in between. n is how many of its lines are
// whole from the beginning on, size how long they are.
func ownWrite(recs []drover.Record, behind []byte) (n int, size int64, ok bool) {
	sound := true
	at := 0
	for i := range recs {
		body := recs[i].Body
		for k := 0; k <= len(body) && at < len(behind); k, at = k+1, at+1 {
			want := byte('\n')
			if k < len(body) {
				want = body[k]
			}
			switch behind[at] {
			case want:
			case 0:
				sound = false
			default:
				return 0, 0, false
			}
		}
		if end := size + int64(len(body)) + 1; sound && end <= int64(len(behind)) {
			n, size = n+1, end
		} else {
			sound = false
		}
	}
	return n, size, at == len(behind)
}

// cut makes the file end at size.
func (l *lane) cut(size int64) error {
	info, err := l.f.Stat()
	if err == nil && info.Size() != size {
		err = l.f.Truncate(size)
	}
	if err != nil {
		return diskError("cut a torn line off "+l.name, err)
	}
	return nil
}

// rotate puts the file away if it is large or old enough. It happens between
// batches only: the next settled mark speaks of the new file.
func (l *lane) rotate() error {
	now := l.s.opt.Now()
	if l.state.Begun == 0 {
		l.state.Begun = now.Unix()
	}
	if l.state.Size == 0 || l.state.Size < l.s.opt.MaxBytes && now.Sub(time.Unix(l.state.Begun, 0)) < l.s.opt.MaxAge {
		return nil
	}
	if err := l.s.root.Rename(l.name, l.awayName(l.state.Away)); err != nil {
		return diskError("put "+l.name+" away", err)
	}
	fault.At(fault.FileRotate)
	if err := l.syncDir(path.Dir(l.name)); err != nil {
		return err
	}
	l.state = mark{Away: l.state.Away + 1, Begun: now.Unix()}
	l.reset()
	f, err := l.s.root.OpenFile(l.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return diskError("begin a new "+l.name, err)
	}
	l.f, l.opened = f, true
	return l.syncDir(path.Dir(l.name))
}

// awayName is the name of the n-th file that is put away: a.ndjson becomes
// a.000007.ndjson.
func (l *lane) awayName(n int) string {
	ext := path.Ext(l.name)
	return fmt.Sprintf("%s.%06d%s", strings.TrimSuffix(l.name, ext), n, ext)
}

func (l *lane) syncDir(dir string) error {
	d, err := l.s.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return diskError("open the directory of "+l.name, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return diskError("fsync the directory of "+l.name, err)
	}
	return nil
}
