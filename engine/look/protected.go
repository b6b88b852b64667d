package look

import (
	"path"
	"slices"
	"strings"

	"sockwarden/collectors"
)

// protectedProcesses must stay alive. They match by comm or by the base name of the
// executable; a * at the end stands for anything. The way in to the host depends on them,
// or the connections of other programs do, and a rung can ask to cut single ones of those.
var protectedProcesses = []string{
	"sshd*", "dropbear", "systemd", "init", "kernel", "kthreadd", "tailscaled",
	"containerd", "containerd-shim*", "dockerd", "docker-proxy", "kubelet", "k3s*", "crio", "podman", "conmon",
}

// isNamed reports whether the comm or the executable of a process matches one of the
// names. The kernel cuts comm at 15 bytes, so a longer pattern also matches up to there.
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

// inits are the programs that start and reap all others, as PID 1 of a host or of a
// container that resembles one.
var inits = []string{
	"systemd", "init", "openrc-init", "runit", "runit-init", "s6-svscan", "s6-linux-init*", "dinit", "finit", "procd", "shepherd", "sysvinit",
	"tini*", "dumb-init", "docker-init", "catatonit",
}

// isProtected reports whether a process is protected by its name.
func isProtected(o *collectors.Owner) bool { return isNamed(o, protectedProcesses) }

// isInit reports whether a process has the name of a program made to be PID 1. Any other
// PID 1 of a container is its application.
func isInit(o *collectors.Owner) bool { return isNamed(o, inits) }

// systemNames are the names of an init and of the kernel. No rung can cut any of their
// connections.
var systemNames = []string{"systemd", "init", "kernel", "kthreadd"}

// IsProtected reports whether a process is protected by its name.
func IsProtected(o *collectors.Owner) bool { return isProtected(o) }

// IsSystem reports whether a process has the name of an init or of the kernel.
func IsSystem(o *collectors.Owner) bool {
	return slices.Contains(systemNames, o.Comm) || slices.Contains(systemNames, path.Base(o.Exe))
}
