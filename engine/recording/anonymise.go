package recording

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
)

// errAnonymous stands for texts that could name something.
var errAnonymous = errors.New("the reason is left out of an anonymised recording")

// Anonymise replaces addresses and names by random ones, which differ each time. Equal ones
// stay equal; addresses keep their family, their kind and common beginnings. Ports, numbers,
// the comm of processes and the base names of their programs stay, and rules' names.
func (r *Recording) Anonymise() {
	a := newAnonymiser()
	r.Anonymised, r.Cmdline = true, false
	r.Host, r.BootID, r.Memory.BootID, r.Memory.Clock = "host", "", "", ""
	if r.Selection != "" {
		r.Selection = "a selection"
	}
	for _, texts := range [][]string{r.Gaps, r.Notes} {
		for i := range texts {
			texts[i] = errAnonymous.Error()
		}
	}
	a.text(&r.Unentered)
	for i := range r.Self.Session {
		r.Self.Session[i] = a.endText(r.Self.Session[i])
	}
	a.proxies(r.Proxies)
	for i := range r.Namespaces {
		a.namespace(&r.Namespaces[i])
	}
	for i := range r.Processes {
		a.process(&r.Processes[i])
	}
	for i := range r.Wholes {
		a.text(&r.Wholes[i].Err)
	}
	r.Containers = a.containers(r.Containers)
	for i := range r.Sockets {
		s := &r.Sockets[i]
		s.Local, s.Remote, s.Cgroup = a.addrs.addr(s.Local), a.addrs.addr(s.Remote), a.path(s.Cgroup)
	}
	a.memory(&r.Memory)
}

// anonymiser gives names.
type anonymiser struct {
	addrs  *addrMap
	names  map[string]string
	counts map[string]int
}

func newAnonymiser() *anonymiser {
	return &anonymiser{addrs: newAddrMap(), names: map[string]string{}, counts: map[string]int{}}
}

// name is what stands for a name of that sort, "" for "".
func (a *anonymiser) name(sort, text string) string {
	if text == "" {
		return ""
	}
	key := sort + "\x00" + text
	to, known := a.names[key]
	if !known {
		a.counts[sort]++
		to = fmt.Sprintf("%s%d", sort, a.counts[sort])
		a.names[key] = to
	}
	return to
}

func (a *anonymiser) path(text string) string {
	if text == "" || text == "/" {
		return text
	}
	return "/" + a.name("cgroup", text)
}

// text leaves out a text that could name something.
func (a *anonymiser) text(text *string) {
	if *text != "" {
		*text = errAnonymous.Error()
	}
}

// id is what stands for the id of a container.
func (a *anonymiser) id(text string) string {
	if text == "" {
		return ""
	}
	first, second := a.addrs.number(text), a.addrs.number(text+"'")
	return hex.EncodeToString(append(first[:], second[:]...))
}

func (a *anonymiser) unit(text string) string {
	if text == "" {
		return ""
	}
	return a.name("unit", text) + path.Ext(text)
}

func (a *anonymiser) endText(text string) string {
	end, err := endOf(text)
	if err != nil {
		return ""
	}
	return endText(a.addrs.end(end))
}

func (a *anonymiser) proxies(all []Proxy) {
	for i := range all {
		all[i].Host, all[i].Container = a.endText(all[i].Host), a.endText(all[i].Container)
	}
}

func (a *anonymiser) namespace(ns *Namespace) {
	if ns.Name != world.HostName {
		ns.Name = a.name("netns", ns.Name)
	}
	for i := range ns.Meant {
		if ns.Meant[i] != "all" && ns.Meant[i] != world.HostName {
			ns.Meant[i] = a.name("netns", ns.Meant[i])
		}
	}
	named := make(map[uint32]string, len(ns.Interfaces))
	for i, name := range ns.Interfaces {
		if name != "lo" {
			name = a.name("if", name)
		}
		named[i] = name
	}
	if ns.Interfaces != nil {
		ns.Interfaces = named
	}
	for i, text := range ns.Addresses {
		addr, device, _ := ownAddress(text)
		ns.Addresses[i] = deviceAddress(a.addrs.of(addr), device)
	}
	slices.Sort(ns.Addresses)
	a.text(&ns.NoPorts)
	a.text(&ns.NoAddresses)
}

func (a *anonymiser) process(p *Process) {
	o := &p.Owner
	proxy, isProxy := o.Proxy()
	o.Name = o.Comm
	o.Exe = a.exe(o.Exe)
	if o.User != "root" {
		o.User = a.name("user", o.User)
	}
	o.Cgroup, o.Unit, o.Container = a.path(o.Cgroup), a.unit(o.Unit), a.id(o.Container)
	o.ContainerNames = a.containerNames(o.ContainerNames)
	o.LeadsTo = a.name("container", o.LeadsTo)
	o.Known.Remove(collectors.Fields(collectors.FieldCmdline))
	if o.Cmdline = ""; isProxy {
		proxy.Host, proxy.Container = a.addrs.end(proxy.Host), a.addrs.end(proxy.Container)
		o.Cmdline = arguments(proxy)
	}
	a.text(&p.NotExamined)
}

func (a *anonymiser) containerNames(n collectors.ContainerNames) collectors.ContainerNames {
	return collectors.ContainerNames{
		Engine: n.Engine, ContainerName: a.name("container", n.ContainerName), ComposeService: a.name("service", n.ComposeService),
		Pod: a.name("pod", n.Pod), Image: a.name("image", n.Image),
	}
}

func (a *anonymiser) containers(all map[string]world.Container) map[string]world.Container {
	named := make(map[string]world.Container, len(all))
	for _, group := range slices.Sorted(maps.Keys(all)) {
		c := all[group]
		c.ContainerNames = a.containerNames(c.ContainerNames)
		if c.Err != nil {
			c.Err = errAnonymous
		}
		c.Ports = slices.Clone(c.Ports)
		for i := range c.Ports {
			p := &c.Ports[i]
			p.Host, p.Container = a.addrs.end(p.Host), a.addrs.end(p.Container)
		}
		named[a.path(group)] = c
	}
	return named
}

// memory replaces what keys name. Keys of other forms are left out.
func (a *anonymiser) memory(m *memory.StateDoc) {
	for i := range m.Seen {
		a.key(&m.Seen[i].Key)
	}
	for i := range m.Holds {
		a.key(&m.Holds[i].Key)
	}
	cooling := map[string]memory.Cooldown{}
	for key, c := range m.Cooldowns {
		if to := a.target(key); to != "" {
			cooling[to] = c
		}
	}
	counts := map[string]memory.DescriptorCount{}
	for key, d := range m.Descriptors {
		if to := a.target(key); to != "" {
			counts[to] = d
		}
	}
	m.Cooldowns, m.Descriptors, m.Told, m.Tripped, m.Results = cooling, counts, nil, nil, nil
}

func (a *anonymiser) key(k *collectors.Key) {
	k.Local, k.Remote = a.addrs.addr(k.Local), a.addrs.addr(k.Remote)
}

// target is what stands for the key of something that rules act on, "" for what could name
// something else.
func (a *anonymiser) target(key string) string {
	sort, rest, _ := strings.Cut(key, " ")
	switch sort {
	case "socket", "process":
		return key
	case "container":
		return "container " + a.id(rest)
	case "unit":
		return "unit " + a.unit(rest)
	case "peer":
		if addr, err := netip.ParseAddr(rest); err == nil {
			return "peer " + a.addrs.of(addr).String()
		}
	}
	return ""
}
