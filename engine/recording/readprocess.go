package recording

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// process takes over the line of a process.
func (r *reader) process(d *processDoc) error {
	fields, err := r.known(d.Known)
	if err != nil {
		return err
	}
	key := processKey{d.PID, d.StartTime}
	if _, twice := r.processes[key]; twice || d.PID < 0 || !sane(d.Age) || d.FDs < 0 {
		return fmt.Errorf("process %d: twice, or with numbers that cannot be", d.PID)
	}
	p := Process{Login: d.Login, Elsewhere: d.Elsewhere, NotExamined: d.NotExamined, Owner: collectors.Owner{
		Known: fields, PID: d.PID, StartTime: d.StartTime, Age: d.Age, UID: d.UID, FDs: d.FDs, FDLimit: d.FDLimit, Comm: d.Comm, Name: d.Name,
		Exe: d.Exe, Cmdline: d.Cmdline, User: d.User, Cgroup: d.Cgroup, Unit: d.Unit, Container: d.Container, LeadsTo: d.LeadsTo,
		Kernel: d.Kernel, Told: d.Told,
	}}
	if d.Proxy != nil {
		said, err := d.Proxy.proxy()
		if err != nil {
			return err
		}
		p.Cmdline = arguments(said)
	}
	for i := range d.Elsewhere {
		if _, ok := collectors.ParseState(d.Elsewhere[i].State); !ok || d.Elsewhere[i].Queued < 0 {
			return fmt.Errorf("elsewhere: no state %q", short(d.Elsewhere[i].State))
		}
	}
	if !r.rec.Cmdline {
		p.Known.Remove(collectors.Fields(collectors.FieldCmdline))
	}
	r.processes[key] = len(r.rec.Processes)
	r.rec.Processes = append(r.rec.Processes, p)
	return atMost("processes", len(r.rec.Processes), maxRecorded)
}

// container takes over the line of a container.
func (r *reader) container(d *containerDoc) error {
	fields, err := r.known(d.Known)
	if err != nil {
		return err
	}
	c := world.Container{Known: fields, Absent: d.Absent, PortsKnown: d.PortsKnown, ContainerNames: collectors.ContainerNames{
		Engine: d.Engine, ContainerName: d.Name, ComposeService: d.ComposeService, Pod: d.Pod, Image: d.Image, ContainerLabels: d.Labels,
	}}
	if d.Err != "" {
		c.Err = errors.New(d.Err)
	}
	if c.Ports, err = proxiesOf(d.Ports); err != nil {
		return err
	}
	r.rec.Containers[d.Cgroup] = c
	return atMost("containers", len(r.rec.Containers), maxRecorded)
}

// whole takes over the line of a unit or container with its processes.
func (r *reader) whole(d *wholeDoc) error {
	of, err := r.ref(d.Of)
	if err != nil {
		return err
	}
	w := Whole{Of: of, Err: d.Err}
	for _, m := range d.Members {
		p, err := r.ref(m)
		if err != nil {
			return err
		}
		w.Members = append(w.Members, p)
	}
	r.rec.Wholes = append(r.rec.Wholes, w)
	r.held += len(d.Members)
	return errors.Join(atMost("units", len(r.rec.Wholes), maxRecorded), atMost("holders of sockets", r.held, maxHeld))
}

// ownAddress reads an address of a namespace, with the index of its device if it is there
// only on that.
func ownAddress(text string) (a netip.Addr, device uint32, err error) {
	plain, zone, zoned := strings.Cut(text, "%")
	if a, err = netip.ParseAddr(plain); err != nil {
		return a, 0, fmt.Errorf("no address %q", short(text))
	}
	if zoned {
		n, err := strconv.ParseUint(zone, 10, 32)
		if err != nil {
			return a, 0, fmt.Errorf("no address %q", short(text))
		}
		device = uint32(n)
	}
	return a, device, nil
}

// peers are the ends of the ssh session.
func (s *Self) peers() (all []netip.AddrPort, err error) {
	for _, text := range s.Session {
		end, err := endOf(text)
		if err != nil {
			return nil, err
		}
		all = append(all, end)
	}
	return all, nil
}
