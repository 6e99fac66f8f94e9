// Package manifest shows that the searches for manifests name what happened to
// records behind drover's back, at files and at the pretend Splunk, and nothing
// else (docs/manifests.md). It holds tests only.
package manifest
