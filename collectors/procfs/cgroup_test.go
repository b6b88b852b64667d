package procfs

import (
	"strings"
	"testing"
)

const (
	idA = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	idB = "f00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeed"
	pod = "pod01234567-89ab-cdef-0123-456789abcdef"
)

// What /proc/PID/cgroup shows, as systemd and container engines arrange it.
func TestCgroups(t *testing.T) {
	for _, c := range []struct{ name, text, path, unit, container string }{
		{"v2 service", "0::/system.slice/nginx.service\n", "/system.slice/nginx.service", "nginx.service", ""},
		{
			"v2 user service", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n",
			"/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", "web.service", "",
		},
		{"v2 session", "0::/user.slice/user-0.slice/session-3.scope\n", "/user.slice/user-0.slice/session-3.scope", "session-3.scope", ""},
		{"v2 instance", "0::/system.slice/system-getty.slice/getty@tty1.service\n", "/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", ""},
		{"v2 below a service", "0::/system.slice/web.service/workers/3\n", "/system.slice/web.service/workers/3", "web.service", ""},
		{"v2 root", "0::/\n", "/", "", ""},
		{"v2 init", "0::/init.scope\n", "/init.scope", "init.scope", ""},
		{"docker by systemd", "0::/system.slice/docker-" + idA + ".scope\n", "/system.slice/docker-" + idA + ".scope", "docker-" + idA + ".scope", idA},
		{"docker by cgroupfs", "0::/docker/" + idA + "\n", "/docker/" + idA, "", idA},
		{"docker in docker", "0::/docker/" + idA + "/docker/" + idB + "\n", "/docker/" + idA + "/docker/" + idB, "", idB},
		{"below a container", "0::/docker/" + idA + "/init\n", "/docker/" + idA + "/init", "", idA},
		{
			"containerd, Kubernetes by systemd", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" + pod + ".slice/cri-containerd-" + idA + ".scope\n",
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" + pod + ".slice/cri-containerd-" + idA + ".scope", "cri-containerd-" + idA + ".scope", idA,
		},
		{"Kubernetes by cgroupfs", "0::/kubepods/besteffort/" + pod + "/" + idA + "\n", "/kubepods/besteffort/" + pod + "/" + idA, "", idA},
		{
			"containerd in kind", "0::/system.slice/containerd.service/kubepods-" + pod + ".slice:cri-containerd:" + idA + "\n",
			"/system.slice/containerd.service/kubepods-" + pod + ".slice:cri-containerd:" + idA, "containerd.service", idA,
		},
		{"CRI-O", "0::/kubepods.slice/crio-" + idA + ".scope/container\n", "/kubepods.slice/crio-" + idA + ".scope/container", "crio-" + idA + ".scope", idA},
		{"CRI-O conmon", "0::/system.slice/crio-conmon-" + idA + ".scope\n", "/system.slice/crio-conmon-" + idA + ".scope", "crio-conmon-" + idA + ".scope", ""},
		{"podman", "0::/machine.slice/libpod-" + idA + ".scope/container\n", "/machine.slice/libpod-" + idA + ".scope/container", "libpod-" + idA + ".scope", idA},
		{"podman conmon", "0::/machine.slice/libpod-conmon-" + idA + ".scope\n", "/machine.slice/libpod-conmon-" + idA + ".scope", "libpod-conmon-" + idA + ".scope", ""},
		{"in a cgroup namespace", "0::/../../docker/" + idA + "\n", "/../../docker/" + idA, "", idA},

		{
			"hybrid service", "4:memory:/system.slice/nginx.service\n1:name=systemd:/system.slice/nginx.service\n0::/system.slice/nginx.service\n",
			"/system.slice/nginx.service", "nginx.service", "",
		},
		{"hybrid without unified", "4:memory:/user.slice\n1:name=systemd:/system.slice/nginx.service\n0::/\n", "/system.slice/nginx.service", "nginx.service", ""},
		{
			"hybrid docker by cgroupfs", "4:memory:/docker/" + idA + "\n1:name=systemd:/docker/" + idA + "\n0::/system.slice/containerd.service\n",
			"/docker/" + idA, "", idA,
		},
		{"v1", "4:memory:/docker/" + idA + "\n1:name=systemd:/system.slice/cron.service\n", "/docker/" + idA, "", idA},
		{"v1 with joined controllers", "3:cpu,cpuacct:/\n1:name=systemd:/system.slice/cron.service\n", "/system.slice/cron.service", "cron.service", ""},
		{"v1 without systemd", "4:memory:/docker/" + idA + "\n3:cpu,cpuacct:/\n", "/docker/" + idA, "", idA},
		{"v1 at the root", "4:memory:/\n1:name=systemd:/\n0::/\n", "/", "", ""},

		{"colons in the path", "0::/a:b/c:d.service\n", "/a:b/c:d.service", "c:d.service", ""},
		{"no newline", "0::/a.service", "/a.service", "a.service", ""},
		{"empty path", "0::\n", "", "", ""},
		{"empty", "", "", "", ""},
		{"broken", "0\n\n::\nx:y\n", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := parseCgroup([]byte(c.text))
			if path != c.path {
				t.Errorf("path %q, not %q", path, c.path)
			}
			if unit := unitOf(path); unit != c.unit {
				t.Errorf("unit %q, not %q", unit, c.unit)
			}
			if id := containerOf(path); id != c.container {
				t.Errorf("container %q, not %q", id, c.container)
			}
		})
	}
}

// Only a run of exactly 64 lower-case hex digits is an id.
func TestContainerOfOthers(t *testing.T) {
	for _, path := range []string{
		"/docker/" + idA[1:], "/docker/" + idA + "0", "/docker/" + strings.ToUpper(idA), "/docker/" + idA[:32] + "-" + idA[32:], "/lxc/web",
	} {
		if id := containerOf(path); id != "" {
			t.Errorf("%s: %q", path, id)
		}
	}
	if id := containerOf(idA); id != idA {
		t.Errorf("alone: %q", id)
	}
}
