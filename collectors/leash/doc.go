// Package leash runs programs that do not outlive their time: it answers how a
// program is ended with everything that it started.
//
// Comes in: a program, its files and its time. Goes out: how it ended. Between
// us and the program stands a small process of our own, the keeper, to which
// everything that loses its parent below it comes (PR_SET_CHILD_SUBREAPER), also
// what called setsid or forked twice. When the time is over, when it is asked
// to, or when we are gone, however we went, it kills its children until none is
// left. Nobody else's processes become ours, and it signals nothing but its own
// children, whose numbers cannot be given to others before it has waited for
// them.
//
// What the program leaves behind when it ends by itself is left alone. What gets
// away: what another process starts for the program (systemd-run, at, cron, a
// container), and, if the keeper itself is killed, all but the program.
package leash
