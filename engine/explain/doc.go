// Package explain says why rules take sockets or not.
//
// Comes in: a judgement of a whole picture, as audit makes it, and the sockets and rules
// in question. Goes out: for each socket and rule the part of the condition that is not
// true, with what it read and what would make it true or known, or the gate that spares
// the socket and every other one that would; and for how many sockets the same thing
// decides.
//
// It decides nothing itself: the verdicts are the judge's. It acts on nothing and
// remembers nothing.
package explain
