package main

import (
	"drover"
	"drover/internal/collect"
	"drover/internal/coverage"
)

// collector is what reads the tenants for which only says yes; nil: all.
func (a *app) collector(only func(drover.Tenant) bool, notify func(collect.Event)) (*collect.Collector, error) {
	return collect.New(a.collecting(only, notify))
}

// collecting is how the collector is set up.
func (a *app) collecting(only func(drover.Tenant) bool, notify func(collect.Event)) collect.Options {
	var sweeps []collect.Sweep
	for _, s := range a.cfg.Collect.Sweeps {
		sweeps = append(sweeps, collect.Sweep{Depth: s.Depth, Every: s.Every})
	}
	return collect.Options{Store: a.store, Sources: a.sources(), Compare: a.compare(), Interval: a.cfg.Collect.Interval, Overlap: a.cfg.Collect.Overlap, Sweeps: sweeps,
		Concurrency: a.cfg.Collect.Concurrency, Allowance: a.allowance, Hourly: a.hourly, Only: only, Product: coverage.Product, Steady: a.steady, Log: a.log, Notify: notify}
}
