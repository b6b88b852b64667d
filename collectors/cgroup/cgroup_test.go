package cgroup

import (
	"bytes"
	"strings"
	"testing"
)

const (
	idA     = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	idB     = "f00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeed"
	uid     = "01234567-89ab-cdef-0123-456789abcdef"
	uidFile = "0123456789abcdef0123456789abcdef" // of a pod read from a file
)

// uidSlice is the UID as systemd's driver writes it: dashes separate slices there.
var uidSlice = strings.ReplaceAll(uid, "-", "_")

// A single line for the unified hierarchy, laid out by systemd and container engines.
func TestUnified(t *testing.T) {
	const (
		user    = "/user.slice/user-1000.slice/user@1000.service"
		kube    = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
		kubelet = "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod"
	)
	for _, c := range []struct{ name, path, unit, container, pod string }{
		{"root", "/", "", "", ""},
		{"init", "/init.scope", "init.scope", "", ""},
		{"service", "/system.slice/nginx.service", "nginx.service", "", ""},
		{"service without a slice", "/nginx.service", "nginx.service", "", ""},
		{"instance", "/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", "", ""},
		{"nested slices", "/a.slice/a-b.slice/a-b-c.slice/web.service", "web.service", "", ""},
		{"slice alone", "/a.slice/a-b.slice", "", "", ""},
		{"below a service", "/system.slice/web.service/workers/3", "web.service", "", ""},
		{"service in a service", "/system.slice/web.service/payload/sub.service", "sub.service", "", ""},
		{"session", "/user.slice/user-0.slice/session-3.scope", "session-3.scope", "", ""},
		{"user's manager", user + "/init.scope", "init.scope", "", ""},
		{"user's service", user + "/app.slice/web.service", "web.service", "", ""},
		{"user's desktop application", user + "/app.slice/app-gnome-firefox-4711.scope", "app-gnome-firefox-4711.scope", "", ""},
		{
			"escaped dash", `/system.slice/system-systemd\x2dfsck.slice/systemd-fsck@dev-disk-by\x2duuid-01.service`,
			`systemd-fsck@dev-disk-by\x2duuid-01.service`, "", "",
		},
		{"escaped scope", `/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/emulator`, `machine-qemu\x2d1\x2dweb.scope`, "", ""},
		{"named as a controller's file", "/system.slice/_cpu.service", "cpu.service", "", ""},
		{"named with an underscore", "/system.slice/__web.service", "_web.service", "", ""},
		{"underscore within", "/system.slice/my_web.service", "my_web.service", "", ""},
		{"other suffixes", "/system.slice/web.socket/a.mount/b.service.d", "", "", ""},
		{"colons", "/a:b/c:d.service", "c:d.service", "", ""},
		{"blanks", "/system.slice/a b.service", "a b.service", "", ""},

		{"docker by systemd", "/system.slice/docker-" + idA + ".scope", "docker-" + idA + ".scope", idA, ""},
		{"docker by cgroupfs", "/docker/" + idA, "", idA, ""},
		{"docker, rootless", user + "/user.slice/docker-" + idA + ".scope", "docker-" + idA + ".scope", idA, ""},
		{"docker, parent of one's own", "/my.slice/docker-" + idA + ".scope", "docker-" + idA + ".scope", idA, ""},
		{"docker in docker", "/docker/" + idA + "/docker/" + idB, "", idB, ""},
		{"docker build", "/docker/buildkit/x7ae1e3", "", "", ""},
		{"below a container", "/docker/" + idA + "/init", "", idA, ""},
		{"systemd in docker", "/system.slice/docker-" + idA + ".scope/system.slice/nginx.service", "nginx.service", idA, ""},
		{"ECS", "/ecs/0123456789abcdef0123456789abcdef/" + idA, "", idA, ""},
		{"podman", "/machine.slice/libpod-" + idA + ".scope/container", "libpod-" + idA + ".scope", idA, ""},
		{"podman by cgroupfs", "/libpod_parent/libpod-" + idA, "", idA, ""},
		{"podman, rootless", user + "/user.slice/libpod-" + idA + ".scope/container", "libpod-" + idA + ".scope", idA, ""},
		{"podman by a service", "/system.slice/web.service/libpod-payload-" + idA, "web.service", idA, ""},
		{"podman conmon", "/machine.slice/libpod-conmon-" + idA + ".scope", "libpod-conmon-" + idA + ".scope", "", ""},
		{"podman pod", "/machine.slice/machine-libpod_pod_" + idA + ".slice/libpod-" + idB + ".scope", "libpod-" + idB + ".scope", idB, ""},
		{"CRI-O", "/kubepods.slice/crio-" + idA + ".scope/container", "crio-" + idA + ".scope", idA, ""},
		{"CRI-O conmon", "/system.slice/crio-conmon-" + idA + ".scope", "crio-conmon-" + idA + ".scope", "", ""},
		{"containerd's own", "/system.slice/containerd.service", "containerd.service", "", ""},
		{"containerd, no id", "/default/web", "", "", ""},
		{"LXC", "/lxc.payload.web/system.slice/nginx.service", "nginx.service", "", ""},
		{"nspawn", "/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service", "nginx.service", "", ""},

		{"Kubernetes by systemd", kube + uidSlice + ".slice/cri-containerd-" + idA + ".scope", "cri-containerd-" + idA + ".scope", idA, uid},
		{"Kubernetes, guaranteed", "/kubepods.slice/kubepods-pod" + uidSlice + ".slice/crio-" + idA + ".scope/container", "crio-" + idA + ".scope", idA, uid},
		{"Kubernetes, conmon of a pod", kube + uidSlice + ".slice/crio-conmon-" + idA + ".scope", "crio-conmon-" + idA + ".scope", "", uid},
		{"Kubernetes by cgroupfs", "/kubepods/besteffort/pod" + uid + "/" + idA, "", idA, uid},
		{"Kubernetes by cgroupfs, guaranteed", "/kubepods/pod" + uid + "/" + idA, "", idA, uid},
		{"Kubernetes, pod from a file", kube + uidFile + ".slice/cri-containerd-" + idA + ".scope", "cri-containerd-" + idA + ".scope", idA, uidFile},
		{"Kubernetes, pod from a file by cgroupfs", "/kubepods/burstable/pod" + uidFile + "/" + idA, "", idA, uidFile},
		{"Kubernetes below another root", "/nodes/kubepods/burstable/pod" + uid + "/" + idA, "", idA, uid},
		{"kind", kubelet + uidSlice + ".slice/cri-containerd-" + idA + ".scope", "cri-containerd-" + idA + ".scope", idA, uid},
		{"kind, seen from outside", "/docker/" + idB + "/kubelet/kubepods/pod" + uid + "/" + idA, "", idA, uid},
		{
			"containerd, other driver than the kubelet's", "/system.slice/containerd.service/kubepods-burstable-pod" + uidSlice + ".slice:cri-containerd:" + idA,
			"containerd.service", idA, uid,
		},
		{"the pod itself", "/kubepods/burstable/pod" + uid, "", "", uid},
		{"the class of pods", "/kubepods/burstable", "", "", ""},

		{"outside of the reader's namespace", "/../../docker/" + idA, "", idA, ""},
		{"service outside of it", "/../system.slice/nginx.service", "nginx.service", "", ""},
		{"pod outside of it", "/../../pod" + uid + "/" + idA, "", idA, ""}, // nothing says whose it is
		{"above the reader's root", "/..", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, end := range []string{"\n", "", " (deleted)\n"} {
				check(t, "0::"+c.path+end, c.path, c.unit, c.container, c.pod)
			}
			check(t, "4:memory:/\n1:name=systemd:"+c.path+"\n0::/\n", c.path, c.unit, c.container, c.pod)
		})
	}
}

func check(t *testing.T, text, path, unit, container, pod string) {
	t.Helper()
	p := Of([]byte(text))
	if string(p) != path {
		t.Errorf("%q: path %q, not %q", text, p, path)
	}
	if got := p.Unit(); got != unit {
		t.Errorf("%s: unit %q, not %q", p, got, unit)
	}
	if got := p.Container(); got != container {
		t.Errorf("%s: container %q, not %q", p, got, container)
	}
	if got := p.Pod(); got != pod {
		t.Errorf("%s: pod %q, not %q", p, got, pod)
	}
}

// Of several hierarchies, the one that says most counts.
func TestHierarchies(t *testing.T) {
	for _, c := range []struct{ name, text, path string }{
		{
			"hybrid", "4:memory:/system.slice/nginx.service\n1:name=systemd:/system.slice/nginx.service\n0::/system.slice/nginx.service\n",
			"/system.slice/nginx.service",
		},
		{"hybrid without unified", "4:memory:/user.slice\n1:name=systemd:/system.slice/nginx.service\n0::/\n", "/system.slice/nginx.service"},
		{"hybrid docker", "4:memory:/docker/" + idA + "\n1:name=systemd:/docker/" + idA + "\n0::/system.slice/containerd.service\n", "/docker/" + idA},
		{"unified first", "4:memory:/a\n1:name=systemd:/b.service\n0::/c.service\n", "/c.service"},
		{"systemd before controllers", "4:memory:/a\n1:name=systemd:/b.service\n0::/\n", "/b.service"},
		{"container of a controller", "4:memory:/docker/" + idA + "\n1:name=systemd:/system.slice/cron.service\n", "/docker/" + idA},
		{"two containers", "4:memory:/docker/" + idA + "\n0::/docker/" + idB + "\n", "/docker/" + idB},
		{"joined controllers", "3:cpu,cpuacct:/\n1:name=systemd:/system.slice/cron.service\n", "/system.slice/cron.service"},
		{"without systemd", "4:memory:/docker/" + idA + "\n3:cpu,cpuacct:/\n", "/docker/" + idA},
		{"all at the root", "4:memory:/\n1:name=systemd:/\n0::/\n", "/"},
		{"deleted is a name in version 1", "1:name=systemd:/a.service (deleted)\n", "/a.service (deleted)"},
		{"no newline", "0::/a.service", "/a.service"},
		{"empty path", "0::\n", ""},
		{"empty", "", ""},
		{"broken", "0\n\n::\nx:y\n", ""},
	} {
		if got := Of([]byte(c.text)); string(got) != c.path {
			t.Errorf("%s: %q, not %q", c.name, got, c.path)
		}
	}
}

// Only a run of exactly 64 lower-case hex digits is an id.
func TestContainerOfOthers(t *testing.T) {
	for _, path := range []string{
		"/docker/" + idA[1:], "/docker/" + idA + "0", "/docker/" + strings.ToUpper(idA), "/docker/" + idA[:32] + "-" + idA[32:], "/lxc/web",
	} {
		if id := Path(path).Container(); id != "" {
			t.Errorf("%s: %q", path, id)
		}
	}
	if id := Path(idA).Container(); id != idA {
		t.Errorf("alone: %q", id)
	}
}

// Only a UID below kubepods belongs to a pod.
func TestPodOfOthers(t *testing.T) {
	for _, path := range []string{
		"/pod" + uid, "/system.slice/pod" + uid + ".service", "/kubepods/tripod" + uid, "/kubepods/pod" + uid[1:], "/kubepods/pod" + uid + "0",
		"/kubepods/pod" + strings.Replace(uid, "-", "", 1), "/kubepods/pod" + uid[1:] + "-", "/kubepods/pod", "/kubepods/podman",
		"/kubepods/pod" + strings.ToUpper(uid), "/pod" + uid + "/kubepods", "/kubepods/" + uid, "pod" + uid,
	} {
		if id := Path(path).Pod(); id != "" {
			t.Errorf("%s: %q", path, id)
		}
	}
	other := strings.ReplaceAll(uid, "0", "f")
	if id := Path("/kubepods/pod" + uid + "/kubepods/pod" + other + "/" + idA).Pod(); id != other {
		t.Errorf("a pod in a pod: %q", id)
	}
	if id := Path("/kubepods/pod" + uid + "/podman/" + idA).Pod(); id != uid {
		t.Errorf("something in a pod: %q", id)
	}
}

func TestUp(t *testing.T) {
	for _, c := range []struct {
		path Path
		unit string
		want Path
	}{
		{"/system.slice/web.service", "web.service", "/system.slice/web.service"},
		{"/system.slice/web.service/workers/3", "web.service", "/system.slice/web.service"},
		{"/system.slice/web.service/payload/web.service", "web.service", "/system.slice/web.service/payload/web.service"},
		{"/system.slice/my-web.service", "web.service", ""},
		{"/system.slice/web.service2", "web.service", ""},
		{"/system.slice/_cpu.service/a", "cpu.service", "/system.slice/_cpu.service"},
		{"/system.slice/__web.service", "_web.service", "/system.slice/__web.service"},
		{"/system.slice/__web.service", "web.service", ""},
		{"/web.service", "web.service", "/web.service"},
		{"web.service", "web.service", ""}, // not a path
		{"/system.slice/web.service", "", ""},
		{"/", "web.service", ""},
		{"", "web.service", ""},
	} {
		if got := c.path.Up(c.unit); got != c.want {
			t.Errorf("%s up to %q: %q, not %q", c.path, c.unit, got, c.want)
		}
	}
}

func TestUpContainer(t *testing.T) {
	for path, want := range map[Path]Path{
		"/docker/" + idA:                                              "/docker/" + idA,
		"/docker/" + idA + "/init/a":                                  "/docker/" + idA,
		"/system.slice/docker-" + idA + ".scope":                      "/system.slice/docker-" + idA + ".scope",
		"/system.slice/docker-" + idA + ".scope/system.slice/a":       "/system.slice/docker-" + idA + ".scope",
		"/docker/" + idA + "/docker/" + idB + "/x":                    "/docker/" + idA + "/docker/" + idB,
		"/machine.slice/libpod-" + idA + ".scope/container":           "/machine.slice/libpod-" + idA + ".scope",
		"/machine.slice/libpod-conmon-" + idA + ".scope":              "",
		"/machine.slice/pod_" + idA + ".slice/libpod-" + idA + ".s/c": "/machine.slice/pod_" + idA + ".slice/libpod-" + idA + ".s",
		"/system.slice/web.service":                                   "",
		"":                                                            "",
	} {
		if got := path.UpContainer(); got != want {
			t.Errorf("%s: %q, not %q", path, got, want)
		}
	}
}

func TestBelow(t *testing.T) {
	const root = Path("/system.slice/web.service")
	for text, want := range map[string]bool{
		"0::/system.slice/web.service\n":                                    true,
		"0::/system.slice/web.service (deleted)\n":                          true,
		"0::/system.slice/web.service/payload/sub.service\n":                true,
		"4:memory:/system.slice/web.service\n0::/\n":                        true,
		"4:memory:/\n1:name=systemd:/system.slice/web.service/a\n0::/\n":    true,
		"0::/system.slice/web.service2\n":                                   false,
		"0::/system.slice\n":                                                false,
		"0::/x/system.slice/web.service\n":                                  false,
		"4:memory:/system.slice/my-web.service\n0::/system.slice/x.scope\n": false,
		"": false,
	} {
		if got := Below([]byte(text), root); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func TestOfSystem(t *testing.T) {
	for _, c := range []struct {
		path Path
		unit string
		want bool
	}{
		{"/system.slice/nginx.service", "nginx.service", true},
		{"/nginx.service", "nginx.service", true},
		{"/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", true},
		{"/system.slice/web.service/supervisor", "web.service", true},
		{"/system.slice/_cpu.service", "cpu.service", true},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service", "nginx.service", false},
		{"/docker/" + idA + "/system.slice/nginx.service", "nginx.service", false},
		{"/../nginx.service", "nginx.service", false},
		{"/system.slice/other.service", "nginx.service", false},
		{"/system.slice", "nginx.service", false},
		{"/", "", false},
		{"", "", false},
	} {
		if got := c.path.OfSystem(c.unit); got != c.want {
			t.Errorf("%s of %s: %t", c.unit, c.path, got)
		}
	}
}

// FuzzText reads any text as /proc/PID/cgroup: everything in the result occurs in the
// text.
func FuzzText(f *testing.F) {
	f.Add([]byte("1:name=systemd:/docker/" + idA + "\n0::/system.slice/docker-" + idB + ".scope\n"))
	f.Add([]byte("0::/kubepods.slice/kubepods-pod" + uidSlice + ".slice/crio-" + idA + ".scope (deleted)\n"))
	f.Add([]byte("0::/system.slice/_cpu.service\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := Of(b)
		path := string(p)
		if !bytes.Contains(b, []byte(path)) || strings.Contains(path, "\n") {
			t.Errorf("cgroup %q", path)
		}
		if p != "" && !Below(b, p) {
			t.Errorf("%q is not below itself", path)
		}
		unit := p.Unit()
		if unit != "" && (strings.Contains(unit, "/") || !strings.Contains(path, unit)) {
			t.Errorf("unit %q of %q", unit, path)
		}
		if up := p.Up(unit); unit != "" && strings.HasPrefix(path, "/") && (up == "" || !strings.HasPrefix(path+"/", string(up)+"/")) {
			t.Errorf("unit %q of %q is at %q", unit, path, up)
		}
		if id := p.Container(); id != "" && (len(id) != 64 || !strings.Contains(path, id)) {
			t.Errorf("container %q of %q", id, path)
		}
		if id := p.Pod(); id != "" && (len(id) != 36 && len(id) != 32 || !strings.Contains(strings.ReplaceAll(path, "_", "-"), id)) {
			t.Errorf("pod %q of %q", id, path)
		}
	})
}
