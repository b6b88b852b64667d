// Package leash runs programs that do not outlive their time: it ends a program together
// with everything that it started.
//
// Comes in: a program, its files and its time. Goes out: how it ended. Between us and the
// program stands a small process of our own, the keeper. Every process below the keeper
// that loses its parent becomes the keeper's child (PR_SET_CHILD_SUBREAPER), even after
// setsid or a double fork. When the time is up, when we ask for it, or when we are gone,
// however that came about, the keeper kills its children until none is left. We never
// adopt anybody else's processes. The keeper signals only its own children, and nobody
// else can get their PIDs until it has reaped them.
//
// Processes that outlive a program that ended by itself are left alone. Two kinds escape:
// those that another process starts for the program (systemd-run, at, cron, a container)
// and, if the keeper itself is killed, everything but the program.
package leash
