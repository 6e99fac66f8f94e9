//go:build !race

package httpx

const scribble = false
