package engine

import (
	"context"

	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/recording"
	"sockwarden/rules"
)

// replaying are the options of an engine that looks at a recording. It is dry, whatever
// they say.
func replaying(o Options) Options {
	o.World, o.Sources, o.Extra = o.From.Door(), []collectors.Plugin{o.From.Source()}, nil
	o.Events, o.Live, o.Notify, o.StateFile = look.EventsOn, false, false, ""
	o.Silences = nil // those of this host are about its own sockets
	return o
}

// recording says which recording is looked at, "" for a host.
func (e *Engine) recording() string {
	if e.opts.From == nil {
		return ""
	}
	return e.opts.From.String()
}

// Record looks at every socket of network namespaces (as netns in a rules file, with
// commas; "" is the host's), and records those that were chosen with all that a verdict
// needs. Like Look, it does nothing. What earlier looks remembered goes into the recording.
func (e *Engine) Record(ctx context.Context, netns string, o recording.Options) (*recording.Recording, error) {
	known := e.memory.Doc()
	p, err := rules.NewSelection(rules.Selection{
		// It is true of every socket, and reads ages, so that events are asked for them.
		Name: "record", Text: `protocol in ["tcp", "udp", "mptcp"] or age > 0`, Mode: rules.ModeObserve, NetNS: netns, Reads: recordedFields(),
	})
	if err != nil {
		return nil, err
	}
	if o.Chosen != nil {
		p = p.Wider(o.Chosen)
	}
	picture, err := e.looker.Look(ctx, look.Wanted{
		Program: p, Plan: p, Remembers: make([]bool, len(p.Rules)), NeedsTwo: make([]bool, len(p.Rules)), Weighs: make([]bool, len(p.Rules)),
	})
	if err != nil {
		return nil, err
	}
	r, err := recording.Take(ctx, e.world, picture, known, o)
	if err != nil {
		return nil, err
	}
	r.BootID = e.store.State.BootID
	return r, nil
}

// recordedFields are the fields to ask the kernel and /proc for. What depends on other
// sockets, listeners and other ends, is found again in the recording.
func recordedFields() collectors.FieldSet {
	return collectors.InfoFields().Or(collectors.CongestionFields()).Or(collectors.MemoryFields()).Or(collectors.InterfaceFields()).
		Or(collectors.OwnerFields()).Or(collectors.Fields(collectors.FieldOwners))
}
