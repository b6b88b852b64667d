package collectors

import (
	"net/netip"
	"testing"
)

// The arguments of a docker-proxy say where it leads; another program with the same
// arguments is not a proxy.
func TestProxy(t *testing.T) {
	to := func(p Protocol, host, container string) Proxy {
		x := Proxy{Protocol: p, Container: netip.MustParseAddrPort(container)}
		if host != "" {
			x.Host = netip.MustParseAddrPort(host)
		}
		return x
	}
	const args = "/usr/sbin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 21117 -container-ip 172.17.0.2 -container-port 8080"
	for cmdline, want := range map[string]Proxy{
		args:                     to(TCP, "0.0.0.0:21117", "172.17.0.2:8080"),
		args + " -use-listen-fd": to(TCP, "0.0.0.0:21117", "172.17.0.2:8080"),
		"docker-proxy -proto udp -host-ip :: -host-port 53 -container-ip fd00::2 -container-port 5353": to(UDP, "[::]:53", "[fd00::2]:5353"),
		"docker-proxy --container-ip 172.17.0.2 --container-port 8080":                                 to(TCP, "", "172.17.0.2:8080"),
	} {
		o := Owner{Name: "docker-proxy", Cmdline: cmdline}
		if got, ok := o.Proxy(); !ok || got != want {
			t.Errorf("%s: %+v, %t", cmdline, got, ok)
		}
	}
	for _, o := range []Owner{
		{Name: "nginx", Cmdline: args},
		{Name: "docker-proxy"},
		{Name: "docker-proxy", Cmdline: "docker-proxy -proto sctp -container-ip 172.17.0.2 -container-port 8080"},
		{Name: "docker-proxy", Cmdline: "docker-proxy -container-ip 172.17.0.2 -container-port 0"},
		{Name: "docker-proxy", Cmdline: "docker-proxy -container-ip here -container-port 8080"},
		{Name: "docker-proxy", Cmdline: "docker-proxy -container-ip fe80::1%x -container-port 8080"},
		{Name: "docker-proxy", Cmdline: "docker-proxy -container-ip"},
	} {
		if got, ok := o.Proxy(); ok {
			t.Errorf("%s %s: %+v", o.Name, o.Cmdline, got)
		}
	}
}
