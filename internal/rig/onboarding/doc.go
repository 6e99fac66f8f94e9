// Package onboarding takes fresh stores to delivering customers, as an engineer
// and a customer's admin would: the real program on a terminal, a person at a
// browser, the pretend cloud. It gathers everything that the program says on the
// way, so that a test can search it for every secret there was.
package onboarding
