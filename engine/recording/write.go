package recording

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine/memory"
)

// Write writes the recording as JSON lines.
func (r *Recording) Write(to io.Writer) error {
	const buffer = 1 << 16
	w := &writer{rec: r, out: bufio.NewWriterSize(to, buffer)}
	w.json = json.NewEncoder(w.out)
	w.json.SetEscapeHTML(false)
	w.known = known{ids: map[collectors.FieldSet]int{}, tell: func(d fieldsDoc) error { return w.line(&line{Fields: &d}) }}
	head := headerDoc{Header: r.Header, Namespaces: r.Namespaces}
	head.Version = Version
	if err := w.encode(&head); err != nil {
		return err
	}
	for _, part := range []func() error{w.processes, w.containers, w.wholes, w.sockets, w.memory} {
		if err := part(); err != nil {
			return err
		}
	}
	if err := w.line(&line{End: true}); err != nil {
		return err
	}
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// writer writes a recording.
type writer struct {
	rec   *Recording
	out   *bufio.Writer
	json  *json.Encoder
	known known
}

func (w *writer) encode(doc any) error {
	if err := w.json.Encode(doc); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func (w *writer) line(l *line) error { return w.encode(l) }

func (w *writer) processes() error {
	for i := range w.rec.Processes {
		p := &w.rec.Processes[i]
		o := &p.Owner
		id, err := w.known.id(o.Known)
		if err != nil {
			return err
		}
		d := &processDoc{
			PID: o.PID, StartTime: o.StartTime, Known: id, Comm: o.Comm, Name: o.Name, Exe: o.Exe, Age: o.Age, UID: o.UID, User: o.User,
			FDs: o.FDs, FDLimit: o.FDLimit, Cgroup: o.Cgroup, Unit: o.Unit, Container: o.Container, LeadsTo: o.LeadsTo, Kernel: o.Kernel, Told: o.Told,
			Login: p.Login, Elsewhere: p.Elsewhere, NotExamined: p.NotExamined,
		}
		switch proxy, ok := o.Proxy(); {
		case w.rec.Cmdline:
			d.Cmdline = o.Cmdline
		case ok:
			said := proxyDoc(proxy)
			d.Proxy = &said
		}
		if err := w.line(&line{Process: d}); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) containers() error {
	for _, group := range slices.Sorted(maps.Keys(w.rec.Containers)) {
		c := w.rec.Containers[group]
		id, err := w.known.id(c.Known)
		if err != nil {
			return err
		}
		d := &containerDoc{
			Cgroup: group, Engine: c.Engine, Name: c.ContainerName, ComposeService: c.ComposeService, Pod: c.Pod, Image: c.Image,
			Labels: c.ContainerLabels, Known: id, Absent: c.Absent, Ports: proxyDocs(c.Ports), PortsKnown: c.PortsKnown,
		}
		if c.Err != nil {
			d.Err = c.Err.Error()
		}
		if err := w.line(&line{Container: d}); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) wholes() error {
	for _, whole := range w.rec.Wholes {
		d := &wholeDoc{Of: w.ref(Holder{Process: whole.Of}), Err: whole.Err}
		for _, m := range whole.Members {
			d.Members = append(d.Members, w.ref(Holder{Process: m}))
		}
		if err := w.line(&line{Whole: d}); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) ref(h Holder) processRef {
	o := &w.rec.Processes[h.Process]
	return processRef{PID: o.PID, StartTime: o.StartTime, Comm: o.Comm, FD: h.FD}
}

func (w *writer) sockets() error {
	var d socketDoc
	for i := range w.rec.Sockets {
		s := &w.rec.Sockets[i]
		ns := &w.rec.Namespaces[s.Place]
		id, err := w.known.id(s.Known)
		if err != nil {
			return err
		}
		d = docOf(&s.Socket, ns.Inode)
		d.NetNS, d.Known, d.AllOwners, d.Cgroup, d.Since, d.Beside = ns.Name, id, s.AllHolders, s.Cgroup, s.Since, s.Beside
		for _, h := range s.Holders {
			d.Owners = append(d.Owners, w.ref(h))
		}
		if err := w.encode(&d); err != nil {
			return err
		}
	}
	return nil
}

// memory writes what is remembered. The larger parts have a line for each.
func (w *writer) memory() error {
	kept := w.rec.Memory
	for i := range kept.Seen {
		if err := w.line(&line{Seen: &kept.Seen[i]}); err != nil {
			return err
		}
	}
	for i := range kept.Holds {
		if err := w.line(&line{Hold: &kept.Holds[i]}); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(kept.Cooldowns)) {
		if err := w.line(&line{Cooldown: &cooldownDoc{key, kept.Cooldowns[key]}}); err != nil {
			return err
		}
	}
	kept.Seen, kept.Holds, kept.Cooldowns, kept.Told = nil, nil, nil, nil
	kept.Format = memory.StateFormat
	return w.line(&line{Kept: &kept})
}
