// Package cgroupfs finds the path of a control group by its id, which sock_diag shows for
// sockets.
//
// Comes in: the mount of the unified hierarchy (cgroup2). Goes out: paths as
// /proc/PID/cgroup has them, from the root of the reader's cgroup namespace. It keeps
// nothing open, and does not say what a path means: that is for package cgroup.
package cgroupfs
