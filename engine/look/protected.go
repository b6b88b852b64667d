package look

import (
	"path"
	"slices"
	"strings"

	"sockwarden/collectors"
)

// protectedProcesses are never touched, by comm or by the base name of the
// executable; * at the end stands for anything. They carry the way in to the
// host, or other programs' connections, of which a rung can ask to cut single ones.
var protectedProcesses = []string{
	"sshd*", "dropbear", "systemd", "init", "kernel", "kthreadd", "tailscaled",
	"containerd", "containerd-shim*", "dockerd", "docker-proxy", "kubelet", "k3s*", "crio", "podman", "conmon",
}

// isNamed reports whether a process, by its comm or executable, has one of some
// names. The kernel cuts comm at 15 bytes, so a longer pattern is also compared up
// to there.
func isNamed(o *collectors.Owner, names []string) bool {
	for _, name := range []string{o.Comm, path.Base(o.Exe)} {
		for _, pattern := range names {
			prefix, open := strings.CutSuffix(pattern, "*")
			switch {
			case name == "":
			case open && (strings.HasPrefix(name, prefix) || len(name) == 15 && strings.HasPrefix(prefix, name)):
				return true
			case name == pattern:
				return true
			}
		}
	}
	return false
}

// inits are the programs that start and reap all others, as PID 1 of a host or of
// a container that is like one.
var inits = []string{
	"systemd", "init", "openrc-init", "runit", "runit-init", "s6-svscan", "s6-linux-init*", "dinit", "finit", "procd", "shepherd", "sysvinit",
	"tini*", "dumb-init", "docker-init", "catatonit",
}

// isProtected reports whether a process is protected by its name.
func isProtected(o *collectors.Owner) bool { return isNamed(o, protectedProcesses) }

// isInit reports whether a process has the name of one that is meant to be PID 1.
// Any other that is PID 1 of a container is its application.
func isInit(o *collectors.Owner) bool { return isNamed(o, inits) }

// systemNames are the protected names of which nothing is ever cut: those of an init
// and of the kernel.
var systemNames = []string{"systemd", "init", "kernel", "kthreadd"}

// IsProtected reports whether a process is protected by its name.
func IsProtected(o *collectors.Owner) bool { return isProtected(o) }

// IsSystem reports whether a process has the name of an init or of the kernel.
func IsSystem(o *collectors.Owner) bool {
	return slices.Contains(systemNames, o.Comm) || slices.Contains(systemNames, path.Base(o.Exe))
}
