// Package localaddr says which addresses a network namespace has.
//
// Comes in: the namespace of the calling thread. Goes out: a Set that answers questions about
// addresses. It keeps nothing open: an rtnetlink socket would pin its namespace. Whether an
// address is in use, or ever was, is not this package's business.
package localaddr
