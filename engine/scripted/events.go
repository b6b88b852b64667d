package scripted

import (
	"os"

	"sockwarden/collectors"
)

type events struct{ w *World }

func (events) SetStates(collectors.StateMask) error { return nil }

func (e events) Since(s *collectors.Socket) (float64, bool) {
	for _, one := range e.w.sockets {
		if one.Cookie == s.Cookie && one.State == s.State {
			return one.since, true
		}
	}
	return 0, false
}

func (events) Lost() (uint64, error) { return 0, nil }

func (events) Wait() error { return os.ErrClosed }

func (events) Close() error { return nil }
