package api

// Zeros is zeros.
var Zeros = zeros
