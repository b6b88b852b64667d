// Package tunpeer is a TCP peer in user space, for tests of this module only: it sends
// any segment at any time, to try on the kernel's own sockets what no kernel would do by
// itself.
//
// Comes in: a test. Goes out: a TUN device in the namespace of the tests (10.99.0.1/24
// and fd00:99::1/64; the peer has all other addresses there), and ends of connections
// (Conn) that do what they are told. A Conn keeps the sequence numbers and, unless told
// otherwise, acknowledges what comes; everything else is up to the test. It retransmits
// nothing.
package tunpeer
