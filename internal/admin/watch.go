package admin

import (
	"time"

	"drover"
)

// FeedWatch is what a running process has seen of a feed beside how far it has
// been read.
type FeedWatch struct {
	Newest drover.Instant `json:"newest_row"`      // change time of the newest row: the feed is silent since
	Usual  int64          `json:"usual_silence_s"` // the longest that is usual; 0: too little is known
	Silent bool           `json:"silent"`          // for more than twice as long as usual
	Late   FeedLateness   `json:"lateness"`
}

// FeedLateness is how late rows showed since the process began to read: those
// that an earlier whole read of their time did not hold.
type FeedLateness struct {
	Rows    int64           `json:"rows"` // new ones, late or not
	Late    int64           `json:"late"`
	Most    int64           `json:"most_s"`
	Classes []LatenessClass `json:"classes,omitempty"` // those that have any
	Alarm   string          `json:"alarm,omitempty"`   // many more than usual: and what to do
}

// LatenessClass counts rows that were late by more than the class before and no
// more than UpTo.
type LatenessClass struct {
	UpTo string `json:"up_to"` // a duration, or "more"
	N    int64  `json:"n"`
}

// SilentSource is a source, or a product in it, that is silent in all tenants
// at once: one incident, and no tenant's matter.
type SilentSource struct {
	Source  drover.SourceID `json:"source"`
	Product string          `json:"product,omitempty"`
	Tenants int             `json:"tenants"`
	Since   drover.Instant  `json:"since"`
}

// Note says in words what is odd about a feed that is read, or nothing.
func (f *FeedStatus) Note() string {
	switch {
	case f.Parked != "":
		return f.Parked
	case f.Watch == nil:
		return ""
	case f.Watch.Silent:
		return "silent since " + f.Watch.Newest.Time().Format("2006-01-02 15:04Z") + "; usually for " + (time.Duration(f.Watch.Usual) * time.Second).String() + " at most"
	}
	return f.Watch.Late.Alarm
}
