//go:build !race

package sqlite_test

// raced: the race detector is on.
const raced = false
