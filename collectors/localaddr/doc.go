// Package localaddr tells which addresses a network namespace takes for its own.
//
// Comes in: the namespace of the calling thread. Goes out: a Set that can be asked about
// addresses. Nothing is kept open: an rtnetlink socket would pin its namespace. Whether an
// address is in use, or ever was, is no business of this package.
package localaddr
