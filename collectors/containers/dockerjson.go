package containers

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// inspected is the part that we read of the answer to GET /containers/ID/json, and of
// config.v2.json, which has the same members (moby/api/types/container, 1.41).
type inspected struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Running   bool
		Pid       int
		StartedAt string
	}
	Config struct {
		Image  string
		Labels map[string]string
	}
	HostConfig      *hostConfig
	NetworkSettings struct {
		SandboxKey string
		Ports      map[string][]binding
		Networks   map[string]*endpoint
	}
}

type hostConfig struct{ NetworkMode string }

type binding struct{ HostIP, HostPort string }

type endpoint struct{ IPAddress, GlobalIPv6Address string }

// listed is the part that we read of one entry in the answer to GET /containers/json.
type listed struct {
	ID     string `json:"Id"`
	Names  []string
	Image  string
	Labels map[string]string
	Ports  []struct {
		IP                      string
		PrivatePort, PublicPort uint16
		Type                    string
	}
	HostConfig      hostConfig
	NetworkSettings struct{ Networks map[string]*endpoint }
}

// parseInspected reads what an engine says about one container.
func parseInspected(b []byte, engine Engine) (Container, error) {
	var in inspected
	if err := json.Unmarshal(b, &in); err != nil {
		return Container{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	c := Container{ID: in.ID, Engine: engine, Known: PartImage | PartLabels | PartPorts | PartInit | PartSandbox}
	if err := c.call(in.Name); err != nil {
		return Container{}, err
	}
	c.Image, c.Labels, c.ComposeService = text(in.Config.Image), labels(in.Config.Labels), composeService(in.Config.Labels)
	if in.State.Running && in.State.Pid > 0 {
		c.InitPID = in.State.Pid
	}
	c.StartedAt, _ = time.Parse(time.RFC3339Nano, in.State.StartedAt) // year 1 if it never started
	if in.HostConfig != nil {
		c.mode(in.HostConfig.NetworkMode)
	}
	c.SandboxKey = text(in.NetworkSettings.SandboxKey)
	c.Addrs = addrs(in.NetworkSettings.Networks)
	for port, hosts := range in.NetworkSettings.Ports {
		number, protocol, _ := strings.Cut(port, "/")
		inside, err := strconv.ParseUint(number, 10, 16)
		for _, h := range hosts {
			outside, hostErr := strconv.ParseUint(h.HostPort, 10, 16)
			if err == nil && hostErr == nil {
				c.publish(protocol, h.HostIP, uint16(outside), uint16(inside))
			}
		}
	}
	c.sortPorts()
	return c, nil
}

// parseListed reads what an engine says about all running containers. It skips entries
// that make no sense and keeps the others.
func parseListed(b []byte, engine Engine) ([]Container, error) {
	var entries []listed
	if err := json.Unmarshal(b, &entries); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	all := make([]Container, 0, len(entries))
	for i := range entries {
		l := &entries[i]
		c := Container{ID: l.ID, Engine: engine, Known: PartImage | PartLabels | PartPorts}
		// Docker's links add names with a slash inside.
		own := slices.IndexFunc(l.Names, func(s string) bool { return isName(strings.TrimPrefix(s, "/")) })
		if own < 0 || c.call(l.Names[own]) != nil {
			continue
		}
		c.Image, c.Labels, c.ComposeService = text(l.Image), labels(l.Labels), composeService(l.Labels)
		c.mode(l.HostConfig.NetworkMode)
		c.Addrs = addrs(l.NetworkSettings.Networks)
		for _, p := range l.Ports {
			c.publish(p.Type, p.IP, p.PublicPort, p.PrivatePort)
		}
		c.sortPorts()
		all = append(all, c)
	}
	return all, nil
}

// call sets the name of a container, and the pod that the name contains.
func (c *Container) call(name string) error {
	name = strings.TrimPrefix(name, "/")
	if !isID(c.ID) || !isName(name) {
		return fmt.Errorf("%w: the id is %.70q and the name %.70q", ErrUnreadable, c.ID, name)
	}
	c.Name, c.Known = name, c.Known|PartName|PartPod
	if _, pod, _, ok := kubeName(name); ok {
		c.Pod = pod
	}
	return nil
}

// mode sets a network mode; podman's list has none.
func (c *Container) mode(mode string) {
	if mode = text(mode); mode != "" {
		c.NetworkMode, c.Known = mode, c.Known|PartMode
	}
}

// publish adds a port. A port that is exposed but not published has no host port.
func (c *Container) publish(protocol, host string, outside, inside uint16) {
	addr := netip.IPv4Unspecified()
	if host != "" { // podman omits it
		var err error
		if addr, err = netip.ParseAddr(host); err != nil || addr.Zone() != "" { // a zone can be any text
			return
		}
	}
	if outside == 0 || inside == 0 || !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) || len(c.Published) >= maxPorts {
		return
	}
	c.Published = append(c.Published, Published{
		Protocol: protocol, Host: netip.AddrPortFrom(addr, outside), Container: netip.AddrPortFrom(c.behind(addr), inside),
	})
}

// behind returns the only address to which a published port can lead: the address of its
// family, or the IPv4 address, to which docker-proxy forwards IPv6, too.
func (c *Container) behind(host netip.Addr) netip.Addr {
	only := func(is4 bool) (found netip.Addr, n int) {
		for _, a := range c.Addrs {
			if a.Is4() == is4 {
				found, n = a, n+1
			}
		}
		return found, n
	}
	if host.Is6() {
		if a, n := only(false); n == 1 {
			return a
		} else if n > 1 {
			return netip.Addr{}
		}
	}
	if a, n := only(true); n == 1 {
		return a
	}
	return netip.Addr{}
}

// sortPorts makes the order deterministic: JSON objects have none.
func (c *Container) sortPorts() {
	slices.SortFunc(c.Published, func(a, b Published) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.Host.Compare(b.Host), a.Container.Compare(b.Container))
	})
}

// addrs returns a container's addresses in all of its networks, in order.
func addrs(networks map[string]*endpoint) []netip.Addr {
	var all []netip.Addr
	for _, e := range networks {
		if e == nil || len(all) >= maxAddrs {
			continue
		}
		for _, s := range []string{e.IPAddress, e.GlobalIPv6Address} {
			if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
				all = append(all, a)
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}
