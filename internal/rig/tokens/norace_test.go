//go:build !race

package tokens

// raced: the race detector is on.
const raced = false
