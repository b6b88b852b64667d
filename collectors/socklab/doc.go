// Package socklab makes real sockets in every state that sock_diag can show, for tests of
// this module only.
//
// Comes in: a test and the kind of socket that it wants. Goes out: the socket, its
// addresses, and two points in time between which it entered its state. Main runs the
// test binary in its own network, mount and PID namespaces, and in a user namespace if
// root does not run it: it sees no socket and no process of the host and can harm none. A
// second network namespace, the peer, holds the other ends, so only the requested sockets
// show up.
//
// A socket filter on the other end (SO_ATTACH_FILTER) drops packets; that needs no packet
// filter in the kernel or on disk. Only iproute2 is needed, for the link to the peer. All
// sockets are non-blocking; none is MPTCP or has keepalive. States that outlive their
// sockets (TIME_WAIT) stay until the kernel ends them.
//
// Where the kernel refuses namespaces, tests that need them skip and name the error; with
// SOCKWARDEN_REQUIRE_KERNEL=1 in the environment they fail.
package socklab
