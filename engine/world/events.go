package world

import (
	"sockwarden/collectors"
	"sockwarden/collectors/bpf"
)

// kernelEvents come from a BPF program.
type kernelEvents struct{ *bpf.Events }

func openEvents() (Events, error) {
	events, err := bpf.OpenEvents(bpf.EventOptions{})
	if err != nil {
		return nil, err
	}
	return kernelEvents{events}, nil
}

func (k kernelEvents) Since(s *collectors.Socket) (float64, bool) {
	entry, ok, err := k.Lookup(s.Cookie)
	if err != nil || !ok || !entry.Fits(s) {
		return 0, false
	}
	return entry.Since, true
}

func (k kernelEvents) Wait() error {
	_, err := k.Events.Wait()
	return err
}
