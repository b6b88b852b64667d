package containers

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var whole = []cmp.Option{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}), cmpopts.IgnoreUnexported(Container{})}

func ports(protocol, host, container string) Published {
	return Published{Protocol: protocol, Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(container)}
}

// wantHbbr is the container in the recordings of Docker.
func wantHbbr() Container {
	return Container{
		ID: hbbr, Engine: Docker, Known: PartName | PartPod | PartImage | PartLabels | PartPorts | PartInit | PartMode | PartSandbox,
		Name: "hbbr", Image: "test:1", ComposeService: "relay",
		Labels: map[string]string{"com.docker.compose.project": "rustdesk", "com.docker.compose.service": "relay", "x": "y"},
		Published: []Published{
			ports("tcp", "0.0.0.0:21117", "172.18.0.2:8080"), ports("tcp", "[::]:21117", "172.18.0.2:8080"),
			ports("udp", "127.0.0.1:9000", "172.18.0.2:9000"), ports("udp", "127.0.0.1:9001", "172.18.0.2:9001"),
		},
		Addrs: []netip.Addr{netip.MustParseAddr("172.18.0.2")}, InitPID: 237, NetworkMode: "net1",
		StartedAt: time.Date(2026, 11, 26, 13, 38, 33, 733933377, time.UTC), SandboxKey: "/run/docker/netns/7dab38d388b1",
	}
}

func TestInspected(t *testing.T) {
	podman := wantHbbr()
	podman.ID, podman.Engine, podman.Image, podman.NetworkMode = podHbbr, Podman, "localhost/test:1", "bridge"
	podman.Labels = map[string]string{"com.docker.compose.project": "rd", "com.docker.compose.service": "relay"}
	podman.Published, podman.Addrs = []Published{ports("tcp", "0.0.0.0:21117", "10.88.0.2:8080")}, []netip.Addr{netip.MustParseAddr("10.88.0.2")}
	podman.InitPID, podman.StartedAt = 138, time.Date(2026, 11, 26, 13, 42, 28, 281740991, time.UTC)
	podman.SandboxKey = "/run/netns/netns-d5476e20-f493-7341-237a-4f5a5a7d4627"
	onDisk := wantHbbr() // the network mode is in another file
	onDisk.NetworkMode, onDisk.Known = "", onDisk.Known&^PartMode
	for file, want := range map[string]Container{
		"docker-20.10.24-inspect.json": wantHbbr(), "docker-20.10.24-config.v2.json": onDisk, "podman-4.3.1-inspect.json": podman,
	} {
		got, err := parseInspected(recorded(t, file), want.Engine)
		must(t, file, err)
		if diff := cmp.Diff(want, got, whole...); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
	// Containers that share a namespace, have none of their own, or do not run.
	for file, want := range map[string]Container{
		"docker-20.10.24-inspect-sidecar.json": {Name: "side", NetworkMode: "container:" + hbbr}, // it has ended
		"docker-20.10.24-inspect-host.json":    {Name: "hostnet", NetworkMode: "host", SandboxKey: "/run/docker/netns/default", InitPID: 1},
		"docker-20.10.24-inspect-stopped.json": {Name: "hbbr", NetworkMode: "net1", SandboxKey: "/run/docker/netns/7dab38d388b1"},
		"podman-4.3.1-inspect-host.json":       {Name: "hostnet", NetworkMode: "host", InitPID: 1},
	} {
		got, err := parseInspected(recorded(t, file), Docker)
		must(t, file, err)
		if got.Name != want.Name || got.NetworkMode != want.NetworkMode || got.SandboxKey != want.SandboxKey ||
			(got.InitPID > 0) != (want.InitPID > 0) || len(got.Published) > 0 {
			t.Errorf("%s: %+v", file, got)
		}
	}
}

func TestListed(t *testing.T) {
	const parts = PartInit | PartSandbox
	want := wantHbbr()
	want.Known, want.InitPID, want.StartedAt, want.SandboxKey = want.Known&^parts, 0, time.Time{}, ""
	all, err := parseListed(recorded(t, "docker-20.10.24-list.json"), Docker)
	must(t, "list", err)
	if len(all) != 2 || all[0].Name != "hostnet" || all[0].NetworkMode != "host" {
		t.Fatalf("%+v", all)
	}
	if diff := cmp.Diff(want, all[1], whole...); diff != "" {
		t.Errorf("docker (-want +got):\n%s", diff)
	}
	all, err = parseListed(recorded(t, "podman-4.3.1-list.json"), Podman)
	must(t, "list", err)
	if len(all) != 2 || all[1].Name != "hbbr" || all[1].ComposeService != "relay" || all[1].Has(PartMode) ||
		len(all[1].Published) != 1 || all[1].Published[0] != ports("tcp", "0.0.0.0:21117", "10.88.0.2:8080") {
		t.Errorf("podman: %+v", all)
	}
	// An entry that makes no sense does not spoil the others.
	all, err = parseListed([]byte(`[{"Id":"x","Names":["/a"]},{"Id":"`+hbbr+`","Names":["/a\u001b"]},{"Id":"`+hostnet+`","Names":["/b/link","/b"]}]`), Docker)
	if err != nil || len(all) != 1 || all[0].Name != "b" {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestStored(t *testing.T) {
	all, err := parseStorage(recorded(t, "podman-4.3.1-containers.json"))
	must(t, "storage", err)
	if len(all) != 2 || all[0].ID != podHbbr || all[0].Name != "hbbr" || all[0].Image != "localhost/test:1" || all[0].Engine != Podman ||
		all[0].Known != PartName|PartPod|PartImage || all[1].Name != "hostnet" {
		t.Errorf("%+v", all)
	}
	// The names that CRI-O gives what it stores.
	all, err = parseStorage([]byte(`[
		{"id":"` + hbbr + `","names":["k8s_POD_web-0_shop_` + podUID + `_0","k8s_web-0_shop_` + podUID + `_0"],"metadata":"{}"},
		{"id":"` + hostnet + `","names":["k8s_nginx_web-0_shop_` + podUID + `_3"],"metadata":"{\"image-name\":\"docker.io/nginx:1\"}"},
		{"id":"` + nobody + `","names":["k8s_strange"],"metadata":""}]`))
	if err != nil || len(all) != 2 || all[0].Name != "POD" || all[0].Pod != "shop/web-0" || all[0].Has(PartImage) ||
		all[1].Name != "nginx" || all[1].Pod != "shop/web-0" || all[1].Engine != CRI || all[1].Image != "docker.io/nginx:1" {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestBundled(t *testing.T) {
	const uid = "01234567-89ab-cdef-0123-456789abcdef"
	annotations := func(more string) []byte {
		return []byte(`{"annotations":{"io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-uid":"` +
			uid + `"` + more + `},"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/proc/17/ns/net"}]}}`)
	}
	// In a pod's own network namespace, where the CRI mounts it, or in the host's.
	for path, want := range map[string]Container{
		`{"type":"network","path":"/var/run/netns/cni-1"}`: {SandboxKey: "/var/run/netns/cni-1", Known: PartSandbox},
		`{"type":"pid"}`:                          {NetworkMode: "host", Known: PartMode | PartSandbox},
		`{"type":"network"}`:                      {},
		`{"type":"network","path":"/run/\u001b"}`: {},
	} {
		text := strings.Replace(string(annotations(`,"io.kubernetes.cri.container-name":"nginx"`)), `{"type":"network","path":"/proc/17/ns/net"}`, path, 1)
		c, err := parseBundle([]byte(text), Ref{ID: hbbr})
		if err != nil || c.SandboxKey != want.SandboxKey || c.NetworkMode != want.NetworkMode || c.Known != want.Known|PartName|PartPod {
			t.Errorf("%s: %+v, %v", path, c, err)
		}
	}
	for name, test := range map[string]struct {
		text []byte
		pod  string
		want string // name and image, "" for an error
	}{
		"container": {
			annotations(`,"io.kubernetes.cri.container-name":"nginx","io.kubernetes.cri.container-type":"container","io.kubernetes.cri.image-name":"docker.io/nginx:1"`),
			uid, "nginx docker.io/nginx:1",
		},
		"sandbox":       {annotations(`,"io.kubernetes.cri.container-type":"sandbox"`), uid, "POD "},
		"no pod known":  {annotations(`,"io.kubernetes.cri.container-name":"nginx"`), "", "nginx "},
		"another pod":   {annotations(`,"io.kubernetes.cri.container-name":"nginx"`), strings.Replace(uid, "0", "f", 1), ""},
		"no name":       {annotations(""), uid, ""},
		"escape":        {annotations(`,"io.kubernetes.cri.container-name":"a\u001b[2J"`), uid, ""},
		"no Kubernetes": {recorded(t, "podman-4.3.1-config.json"), "", ""},
	} {
		c, err := parseBundle(test.text, Ref{ID: hbbr, PodUID: test.pod})
		if test.want == "" {
			if !errors.Is(err, ErrUnreadable) {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
			continue
		}
		if err != nil || c.Name+" "+c.Image != test.want || c.Pod != "shop/web-0" || c.Engine != CRI || c.Has(PartLabels) || c.Has(PartSandbox) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestKubeName(t *testing.T) {
	for name, want := range map[string]string{
		"k8s_nginx_web-0_shop_01234567_0": "nginx shop/web-0", "k8s_nginx_web-0_shop_01234567": "", "k8s__web-0_shop_01234567_0": "",
		"k8s_a_b_c_d_e_f": "", "k9s_nginx_web-0_shop_01234567_0": "", "k8s_nginx_web 0_shop_01234567_0": "", "": "",
	} {
		container, pod, _, ok := kubeName(name)
		if got := container + " " + pod; ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
	c := Container{ID: hbbr}
	if err := c.call("/k8s_nginx_web-0_shop_01234567_0"); err != nil || c.Pod != "shop/web-0" {
		t.Errorf("%+v, %v", c, err)
	}
}

// A published port's container address is returned only if it is an address.
func TestBehind(t *testing.T) {
	for _, c := range []struct{ addrs, host, want string }{
		{"172.18.0.2", "0.0.0.0", "172.18.0.2"},
		{"172.18.0.2", "::", "172.18.0.2"},
		{"172.18.0.2 fd00::2", "::", "fd00::2"},
		{"172.18.0.2 fd00::2", "127.0.0.1", "172.18.0.2"},
		{"172.18.0.2 172.19.0.2", "0.0.0.0", ""},
		{"fd00::2 fd01::2 172.18.0.2", "::", ""},
		{"fd00::2", "0.0.0.0", ""},
		{"", "0.0.0.0", ""},
	} {
		var in Container
		for a := range strings.FieldsSeq(c.addrs) {
			in.Addrs = append(in.Addrs, netip.MustParseAddr(a))
		}
		got := in.behind(netip.MustParseAddr(c.host))
		if got.IsValid() != (c.want != "") || got.IsValid() && got.String() != c.want {
			t.Errorf("%s to %s: %s, want %q", c.host, c.addrs, got, c.want)
		}
	}
}

func TestLabels(t *testing.T) {
	many := map[string]string{"a": "1", "b": "two words", "c": "line\nline", "d\x1b": "x", "": "x", "e": strings.Repeat("x", maxLabel+1), "f": "\xff"}
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "two words"}, labels(many)); diff != "" {
		t.Error(diff)
	}
	for i := range 2 * maxLabels {
		many[strings.Repeat("k", i+1)] = "v"
	}
	if got := labels(many); len(got) != maxLabels || got["k"] != "v" || got["a"] != "1" {
		t.Errorf("%d labels", len(got))
	}
	for _, s := range []string{"", ".", "..", "a b", "a/b", "a\n", "ä", "-\x00", strings.Repeat("a", maxName+1)} {
		if isName(s) {
			t.Errorf("%.20q is a name", s)
		}
	}
}
