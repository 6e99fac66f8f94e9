//go:build race

package freelist

// scribble: tests under the race detector write over what is given back, so
// that who still reads it is found out.
const scribble = true
