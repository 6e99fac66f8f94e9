package main

import (
	"bytes"
	"os"
	"testing"

	"drover/internal/config"
)

// TestMain lets the test binary stand in for drover where a test, or the demo,
// starts drover as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// droverCommand runs a command in this process.
func droverCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(args, bytes.NewReader(nil), &out, &errs)
	return code, out.String(), errs.String()
}

// newAppFrom puts the program together from a config file.
func newAppFrom(t *testing.T, path string) (*app, error) {
	t.Helper()
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	return newApp(cfg, discard(), nil)
}
