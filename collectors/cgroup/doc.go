// Package cgroup reads control groups: what the place of a process among them
// says about the systemd unit, the container and the pod that it belongs to.
//
// Comes in: the text of /proc/PID/cgroup. Goes out: a Path, and the names that
// systemd, container engines and Kubernetes have put into it. It does no I/O and
// asks none of them: a name is what whoever made the control group has called it,
// and control groups that users may make can bear any name.
package cgroup
