package recording

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sockwarden/collectors"
)

func proxyDoc(p collectors.Proxy) Proxy {
	return Proxy{Protocol: p.Protocol.String(), Host: endText(p.Host), Container: endText(p.Container)}
}

func proxyDocs(all []collectors.Proxy) (docs []Proxy) {
	for _, p := range all {
		docs = append(docs, proxyDoc(p))
	}
	return docs
}

// endText writes an address with its port, :PORT without an address, "" without either.
func endText(end netip.AddrPort) string {
	switch {
	case end.Addr().IsValid():
		return end.String()
	case end.Port() != 0:
		return ":" + strconv.Itoa(int(end.Port()))
	}
	return ""
}

func endOf(text string) (netip.AddrPort, error) {
	if text == "" {
		return netip.AddrPort{}, nil
	}
	if port, ok := strings.CutPrefix(text, ":"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("no port %q", short(port))
		}
		return netip.AddrPortFrom(netip.Addr{}, uint16(n)), nil
	}
	end, err := netip.ParseAddrPort(text)
	if err != nil || end.Addr().Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("no address with a port: %q", short(text))
	}
	return end, nil
}

// proxy is what a line says of one.
func (d *Proxy) proxy() (p collectors.Proxy, err error) {
	var ok bool
	if p.Protocol, ok = collectors.ProtocolNamed(d.Protocol); !ok {
		return p, fmt.Errorf("no protocol %q", short(d.Protocol))
	}
	if p.Host, err = endOf(d.Host); err != nil {
		return p, err
	}
	p.Container, err = endOf(d.Container)
	return p, err
}

func proxiesOf(docs []Proxy) ([]collectors.Proxy, error) {
	var all []collectors.Proxy
	for i := range docs {
		p, err := docs[i].proxy()
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// arguments are those of a docker-proxy that says so much.
func arguments(p collectors.Proxy) string {
	args := []string{"docker-proxy", "-proto", p.Protocol.String()}
	for _, end := range []struct {
		name string
		at   netip.AddrPort
	}{{"host", p.Host}, {"container", p.Container}} {
		if end.at.Addr().IsValid() {
			args = append(args, "-"+end.name+"-ip", end.at.Addr().String(), "-"+end.name+"-port", strconv.Itoa(int(end.at.Port())))
		}
	}
	return strings.Join(args, " ")
}
