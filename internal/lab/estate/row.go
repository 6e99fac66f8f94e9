package estate

import "time"

// Row is one state of one alert, ready to be rendered.
type Row struct {
	ID      string
	Rev     int
	Changed time.Time
	Created time.Time
	Visible time.Time
	Kind    string // "", foreign, unnamed, bad
	Claims  string // the tenant that the row names, if Kind says so
	Text    string // the change time as served
	Raw     []byte // served as it is, if set

	severity, status              string
	classification, determination string            // "" is null
	assigned                      string            // "" is null
	service                       string            // of a raw row; others have their template's
	group, deviceTag, cloudTag    string            // of a detection
	incident                      uint64            // of an alert; 0: one that follows from its template
	redirect                      uint64            // of an incident that was merged into another; 0: it was not
	words                         map[string]string // of a raw row: what else it can be filtered by
	tenant                        string
	tpl                           *template
	pieces                        int // of the template's evidence; of a detection: its AlertPart
	comments                      int
	merges                        int  // how often its incident was merged into another
	silent                        bool // changed, its time did not
	before                        *Row // the state that a lagging replica shows
	older                         *Row // the state that was shown before this one
}

// Service is the alert's serviceSource.
func (r *Row) Service() string {
	if r.Raw != nil && r.service != "" || r.tpl == nil {
		return r.service
	}
	return r.tpl.service
}

// Word is the value of a property that alerts can be filtered by and that is
// no time; "" stands for null.
func (r *Row) Word(property string) string {
	switch property {
	case "severity":
		return r.severity
	case "status":
		return r.status
	case "serviceSource":
		return r.Service()
	case "classification":
		return r.classification
	case "determination":
		return r.determination
	case "assignedTo":
		return r.assigned
	}
	return r.mdeWord(property)
}

// Group, DeviceTag and CloudTag are what detections can be chosen by.
func (r *Row) Group() string { return r.group }

// DeviceTag is the device's tag from its registry.
func (r *Row) DeviceTag() string { return r.deviceTag }

// CloudTag is the device's tag from the portal.
func (r *Row) CloudTag() string { return r.cloudTag }
