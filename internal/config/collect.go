package config

import "time"

// shortInterval is below what a tenant's tail is worth reading at: Defender
// shows most alerts a minute or more after they are made.
const shortInterval = 15 * time.Second

// retention is how far back the sources can be read.
const retention = 180 * 24 * time.Hour

// Collect says how tenants are read.
type Collect struct {
	// How often each tenant is asked for what is new: four times as often after new alerts, down to half as often where nothing happens.
	Interval time.Duration `yaml:"interval" default:"60s" min:"1s" max:"1h"`
	// How far each read reaches back behind what was read before, for alerts that become visible late.
	Overlap time.Duration `yaml:"overlap" default:"15m" min:"1s" max:"7d"`
	// How many tenants are read at the same time.
	Concurrency int `yaml:"concurrency" default:"16" min:"1" max:"1024"`
	// How many alerts are asked for at once; incidents are never more than 50. Without it each source has its own.
	PageSize int `yaml:"page_size" min:"1" max:"1000" standard:"each source's own"`
	// How much of Microsoft's limits drover uses; the rest is left to the customer's other tools.
	Share Share `yaml:"share" default:"50%" min:"1%" max:"100%"`
	// Deeper reads of the recent past, for alerts that become visible later than the overlap reaches.
	Sweeps []Sweep `yaml:"sweeps" standard:"[{depth: 2h, every: 15m}, {depth: 48h, every: 6h}, {depth: 7d, every: 24h}]"`
	// Where a tenant that is added begins: now, an instant such as 2026-03-02T08:00:00Z, or an age such as 24h or 30d.
	Start string `yaml:"start" kind:"start" default:"now"`
}

// Sweep is one deeper read.
type Sweep struct {
	// How far back it reads.
	Depth time.Duration `yaml:"depth" required:"true" min:"1m" max:"180d"`
	// How often.
	Every time.Duration `yaml:"every" required:"true" min:"1s" max:"30d"`
}

// defaultSweeps find rows that are up to seven days late (design §5).
func defaultSweeps() []Sweep {
	return []Sweep{
		{2 * time.Hour, 15 * time.Minute},
		{48 * time.Hour, 6 * time.Hour},
		{7 * 24 * time.Hour, 24 * time.Hour},
	}
}

// Validate checks a sweep: one that comes round later than it reaches back
// leaves stretches that no sweep reads.
func (s *Sweep) Validate(report Report) {
	if s.Depth > 0 && s.Every > s.Depth {
		report("every", "a sweep must come round before what it covers has passed; write every of at most the %s of depth", days(s.Depth))
	}
}

// Validate checks the keys of collect together. Sweeps that are written as an
// empty list are off.
func (c *Collect) Validate(report Report) {
	if start, err := parseDuration(c.Start); err == nil && start > retention {
		report("start", "Microsoft keeps alerts for 180 days; write an age of at most 180d")
	}
}
