//go:build !race

package freelist

const scribble = false
