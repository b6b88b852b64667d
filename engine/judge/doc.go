// Package judge decides what is to become of each socket of a picture.
//
// Comes in: a look.Picture, with the program that it was made for, and what is
// remembered. Goes out: a Cycle, whose report has a finding for each rule and socket.
// The gates (gates.go) are asked in their order and the first that spares decides;
// limits (restraint.go) come after all generations of rules agree, the breaker last.
//
// It does nothing to the host, and looks at it only through what it is given (guards ask
// for the members of a unit, limits for what would die with a process): the same answers
// give the same verdict.
package judge
