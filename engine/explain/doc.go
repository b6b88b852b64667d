// Package explain says why rules take sockets or not.
//
// Comes in: a judgement of a whole picture, as audit makes it, and which sockets and
// rules are asked about. Goes out: for each socket and rule the part of the condition
// that is not true, with what it read and what would make it true or known, or the gate
// that spares and every other one that would; and what decides of how many.
//
// It decides nothing itself: verdicts are those of the judge. Nothing is acted on or
// remembered.
package explain
