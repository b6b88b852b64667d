// Package cgroup reads control groups: what a process's place among them says about its
// systemd unit, container and pod.
//
// Comes in: the text of /proc/PID/cgroup. Goes out: a Path, and the names that systemd,
// container engines and Kubernetes put into it. It does no I/O and asks none of them.
// Whoever creates a control group chooses its name, and groups that users may create can
// have any name.
package cgroup
