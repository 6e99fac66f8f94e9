package estate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Data is real-shaped rows from files, by the tenant that they name.
type Data struct {
	// Rows by tenant and source; the tenant "" has those that name none, or
	// something that is no GUID.
	Rows    map[string]map[string][]Row
	Skipped []string // what in the files is no row of a source, and why
	Files   int
}

// folders are where the rows of a source lie below a data directory.
var folders = map[string]string{"graph_alerts": Graph, "graph_incidents": Incidents, "mde_alerts": MDE, "siem_detections": SIEM}

var guidForm = regexp.MustCompile(`^(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// ReadData reads the files below dir: graph_alerts, graph_incidents, mde_alerts
// and siem_detections, each a row, a collection, a bare array, or one row a line. A row's bytes are those
// of the file, never written anew.
func ReadData(dir string) (*Data, error) {
	d := &Data{Rows: make(map[string]map[string][]Row)}
	for folder, source := range folders {
		files, err := os.ReadDir(filepath.Join(dir, folder))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if ext := filepath.Ext(f.Name()); ext != ".json" && ext != ".ndjson" {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, folder, f.Name()))
			if err != nil {
				return nil, err
			}
			rows, err := split(text, filepath.Ext(f.Name()) == ".ndjson")
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name(), err)
			}
			d.Files++
			for _, raw := range rows {
				d.add(f.Name(), source, raw)
			}
		}
	}
	if d.Files == 0 {
		return nil, fmt.Errorf("there are no files below %s: want graph_alerts, graph_incidents, mde_alerts or siem_detections", dir)
	}
	return d, nil
}

// split finds the rows of a file.
func split(text []byte, lines bool) (rows []json.RawMessage, err error) {
	if lines {
		s := bufio.NewScanner(bytes.NewReader(text))
		s.Buffer(nil, len(text)+1)
		for s.Scan() {
			if line := bytes.TrimSpace(s.Bytes()); len(line) > 0 {
				rows = append(rows, bytes.Clone(line))
			}
		}
		return rows, s.Err()
	}
	if err := json.Unmarshal(text, &rows); err == nil {
		return rows, nil
	}
	var collection struct {
		Value []json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(text, &collection); err != nil {
		return nil, err
	}
	if collection.Value != nil {
		return collection.Value, nil
	}
	var one json.RawMessage
	err = json.Unmarshal(text, &one)
	return []json.RawMessage{bytes.TrimSpace(one)}, err
}

// add takes a row if it is one of the source.
func (d *Data) add(file, source string, raw []byte) {
	var row struct {
		ID                   string `json:"id"`
		LastUpdateDateTime   string `json:"lastUpdateDateTime"`
		CreatedDateTime      string `json:"createdDateTime"`
		TenantID             string `json:"tenantId"`
		FullID               string `json:"FullId"`
		LastProcessedTimeUTC string `json:"LastProcessedTimeUtc"`
		AlertTime            string `json:"AlertTime"`
		LastUpdateTime       string `json:"lastUpdateTime"`
		AlertCreationTime    string `json:"alertCreationTime"`
		AADTenantID          string `json:"aadTenantId"`

		Severity       string `json:"severity"`
		Status         string `json:"status"`
		ServiceSource  string `json:"serviceSource"`
		Classification string `json:"classification"`
		Determination  string `json:"determination"`
		AssignedTo     string `json:"assignedTo"`
		MachineGroup   string `json:"MachineGroup"`
		DeviceTag      string `json:"DeviceCreatedMachineTags"`
		CloudTag       string `json:"CloudCreatedMachineTags"`

		Incident        json.RawMessage `json:"incidentId"` // a number or a text that is one
		Investigation   json.RawMessage `json:"investigationId"`
		DetectionSource string          `json:"detectionSource"`
		Category        string          `json:"category"`
		LastEvent       string          `json:"lastEventTime"`
	}
	if err := json.Unmarshal(raw, &row); err != nil {
		d.Skipped = append(d.Skipped, file+": "+err.Error())
		return
	}
	id, changed, created := row.ID, row.LastUpdateDateTime, row.CreatedDateTime
	named := row.TenantID
	var words map[string]string
	incident, _ := strconv.ParseUint(strings.Trim(string(row.Incident), `"`), 10, 64)
	switch source {
	case SIEM:
		id, changed, created = row.FullID, row.LastProcessedTimeUTC, row.AlertTime
	case MDE:
		changed, created, named = row.LastUpdateTime, row.AlertCreationTime, row.AADTenantID
		words = map[string]string{"id": id, "detectionSource": row.DetectionSource, "category": row.Category, "lastEventTime": row.LastEvent}
		for name, raw := range map[string]json.RawMessage{"incidentId": row.Incident, "investigationId": row.Investigation} {
			if text := string(raw); text != "null" {
				words[name] = text
			}
		}
	}
	at, err := time.Parse(time.RFC3339, changed)
	if id == "" || err != nil {
		d.Skipped = append(d.Skipped, file+": no row of "+source)
		return
	}
	born, err := time.Parse(time.RFC3339, created)
	if err != nil {
		born = at
	}
	tenant := ""
	if guidForm.MatchString(named) {
		tenant = strings.ToLower(named)
	}
	if d.Rows[tenant] == nil {
		d.Rows[tenant] = make(map[string][]Row)
	}
	list := d.Rows[tenant][source]
	rev := 0
	for _, old := range list {
		if old.ID == id {
			rev++
		}
	}
	d.Rows[tenant][source] = append(list, Row{ID: id, Rev: rev, Changed: at.UTC(), Created: born.UTC(), Text: changed, Raw: raw,
		severity: row.Severity, status: row.Status, service: row.ServiceSource, classification: row.Classification, determination: row.Determination, assigned: row.AssignedTo,
		group: row.MachineGroup, deviceTag: row.DeviceTag, cloudTag: row.CloudTag, incident: incident, words: words})
}

// Tenants lists the tenants that rows name.
func (d *Data) Tenants() []string {
	var ids []string
	for id := range d.Rows {
		if id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Serve puts a tenant's rows on the estate; home is the tenant in the data
// whose rows they are. Of two states of one alert the second shows `apart`
// after the first.
func (e *Estate) Serve(d *Data, tenant, home string, apart time.Duration) {
	for source, rows := range d.Rows[home] {
		for _, r := range rows {
			r.Visible = e.start.Add(-time.Second + time.Duration(r.Rev)*apart)
			e.Put(tenant, source, r)
		}
	}
}
