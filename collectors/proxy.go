package collectors

import (
	"net/netip"
	"strconv"
	"strings"
)

// proxyName is the program that Docker starts for each port that it publishes. From the
// host it takes what comes in over loopback, and leads it into the container.
const proxyName = "docker-proxy"

// Proxy is what the arguments of a docker-proxy say.
type Proxy struct {
	Protocol Protocol
	// Host is where it listens, and Container where it leads.
	Host, Container netip.AddrPort
}

// IsProxy reports whether the process is a docker-proxy, by its name.
func (o *Owner) IsProxy() bool { return o.Name == proxyName }

// Proxy reads the arguments of a docker-proxy; false if it is none, or they say nothing.
func (o *Owner) Proxy() (p Proxy, ok bool) {
	if !o.IsProxy() {
		return p, false
	}
	said := map[string]string{}
	args := strings.Fields(o.Cmdline)
	for i := 0; i+1 < len(args); i++ {
		said[strings.TrimLeft(args[i], "-")] = args[i+1]
	}
	p.Protocol = TCP
	switch said["proto"] {
	case "", "tcp":
	case "udp":
		p.Protocol = UDP
	default:
		return p, false
	}
	p.Host, _ = addrPortOf(said["host-ip"], said["host-port"])
	p.Container, ok = addrPortOf(said["container-ip"], said["container-port"])
	return p, ok
}

func addrPortOf(ip, port string) (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(ip)
	number, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || number == 0 || addr.Zone() != "" {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), true
}

// Behind names the container to which a docker-proxy among the owners of a socket leads;
// "" if there is none or it is not known.
func Behind(owners []Owner) string {
	for i := range owners {
		if owners[i].LeadsTo != "" {
			return owners[i].LeadsTo
		}
	}
	return ""
}
