package look

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// followProxies notes which containers the docker-proxies among the owners lead to.
func (k *Looker) followProxies(ctx context.Context, c *Picture, decides bool) {
	proxies := map[netip.AddrPort][]*collectors.Owner{}
	for _, cand := range c.Candidates {
		for i := range cand.Facts.Owners {
			o := &cand.Facts.Owners[i]
			if p, ok := o.Proxy(); ok {
				proxies[p.Container] = append(proxies[p.Container], o)
			}
		}
	}
	if len(proxies) == 0 {
		return
	}
	names, err := k.world.Containers.At(ctx, slices.Collect(maps.Keys(proxies)))
	for at, owners := range proxies {
		for _, o := range owners {
			o.LeadsTo = names[at]
		}
	}
	if err != nil {
		k.log.Debug("containers behind docker-proxy are not known", "error", err, "decides", decides)
	}
}

// publish notes which port of the host leads to a candidate, or where its docker-proxy leads.
// Of several owners all have to say the same.
func publish(c *Candidate, answers map[string]world.Container, proxies func() []collectors.Proxy) {
	owners := c.Facts.Owners
	if len(owners) == 0 && Waits(&c.Socket) && c.Facts.ListenerProcess() != "" {
		owners = []collectors.Owner{*c.Facts.ListenerOwner}
	}
	for i := range owners {
		text, ok := publishedBy(&c.Socket, &owners[i], answers, proxies)
		if !ok || i > 0 && text != c.Facts.Published {
			c.Facts.Published = ""
			return
		}
		c.Facts.Published = text
	}
	if len(owners) > 0 {
		c.Facts.Known.Add(collectors.Fields(collectors.FieldPublished))
	}
}

// publishedBy returns what published says about a socket of a process; false if that is
// not known.
func publishedBy(s *collectors.Socket, o *collectors.Owner, answers map[string]world.Container, proxies func() []collectors.Proxy) (string, bool) {
	switch {
	case o.IsProxy():
		p, ok := o.Proxy()
		return p.Container.String(), ok
	case !o.Known.Has(collectors.FieldContainerID):
		return "", false
	case o.Container == "":
		return "", true
	}
	if a := answers[o.Cgroup]; a.PortsKnown {
		return hostPorts(s, a.Ports), true
	}
	// There is nobody to ask. A port without a docker-proxy may still be published.
	text := hostPorts(s, proxies())
	return text, text != ""
}

// hostPorts returns the ports of the host that lead to a socket in a container, in order.
func hostPorts(s *collectors.Socket, ports []collectors.Proxy) string {
	var found []uint16
	own, protocol := s.Local.Netip(), s.Protocol
	if protocol == collectors.MPTCP {
		protocol = collectors.TCP // in which its subflows come
	}
	for _, p := range ports {
		inside := p.Container.Addr()
		here := !inside.IsValid() || own.IsUnspecified() || own == inside // of several networks the engine does not say which
		if p.Protocol == protocol && p.Container.Port() == s.LocalPort && here && !own.IsLoopback() && p.Host.Port() != 0 {
			found = append(found, p.Host.Port())
		}
	}
	slices.Sort(found)
	var texts []string
	for _, port := range slices.Compact(found) {
		texts = append(texts, strconv.Itoa(int(port)))
	}
	return strings.Join(texts, ",")
}

// warnNames warns that names of containers are not known.
func (c *Picture) warnNames(unknown []error, of int) {
	if len(unknown) > 0 {
		c.warn(fmt.Errorf("names of containers are not known (%d of %d): %w", len(unknown), of, unknown[0]))
	}
}
