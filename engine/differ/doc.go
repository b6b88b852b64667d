// Package differ says what other rules would do otherwise.
//
// Comes in: a picture that is wide enough for two programs, and a judge. Goes out: for
// which sockets their fate differs, counted by rule and by what becomes of them, with
// examples and how much of it lives.
//
// Time does not count: what only delays or rations (for, soak, canary, second looks,
// cool-downs, limits of how many) is taken as over. It acts on nothing and remembers
// nothing.
package differ
