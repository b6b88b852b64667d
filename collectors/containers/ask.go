package containers

import (
	"context"
	"errors"
	"os"
)

// inquiry is one round of questions about containers, through all places.
type inquiry struct {
	memory *memory
	waits  waits
	wanted []Ref
	// known are the ids that have an answer; reasons say why the others have none.
	known   map[string]bool
	reasons map[string]error
	// silent says that an engine or a disk did not answer at all.
	silent bool
}

// ask finds out about containers, remembers each answer at once, and returns whether
// everybody answered.
func (n *Names) ask(ctx context.Context, wanted []Ref) bool {
	q := &inquiry{memory: &n.memory, waits: n.waits, wanted: wanted, known: map[string]bool{}, reasons: map[string]error{}}
	for _, path := range distinct(n.places.DockerSockets) {
		q.socket(ctx, path, q.left())
	}
	if podmans := n.askDisk(ctx, q); len(podmans) > 0 {
		for _, path := range distinct(n.places.PodmanSockets) {
			q.socket(ctx, path, podmans)
		}
	}
	for _, ref := range q.left() {
		reason := worse(ErrNoEngine, q.reasons[ref.ID])
		// If an engine is silent altogether, the lane knows it.
		n.memory.put(ref, Answer{Err: reason}, errors.Is(reason, ErrSilent) && !q.silent)
	}
	return !q.silent
}

// askDisk looks into the engines' files. It returns the containers to ask podman about:
// those in its storage, and all others if the storage cannot be read.
func (n *Names) askDisk(ctx context.Context, q *inquiry) (podmans []Ref) {
	wanted := q.left()
	if len(wanted) == 0 {
		return nil
	}
	type result struct {
		ref Ref
		c   Container
		err error
	}
	var results []result
	var unread bool
	if !n.disk.run(ctx, func() {
		d := &disk{places: n.places}
		stored, reason := d.storages()
		unread = !errors.Is(reason, ErrNoSuch)
		for _, ref := range wanted {
			c, err := d.find(ref, stored)
			if err != nil {
				err = worse(err, reason)
			}
			results = append(results, result{ref, c, err})
		}
	}) {
		q.fail(wanted, ErrSilent)
		return wanted
	}
	for _, r := range results {
		switch {
		case r.err != nil:
			q.fail([]Ref{r.ref}, r.err)
			if unread {
				podmans = append(podmans, r.ref)
			}
			continue
		case r.c.Engine == Podman:
			podmans = append(podmans, r.ref)
		}
		// An engine that was silent knows more than its files.
		q.found(r.ref, r.c, errors.Is(q.reasons[r.ref.ID], ErrSilent))
	}
	return podmans
}

// found remembers a container; if it lacks something, we ask again soon.
func (q *inquiry) found(ref Ref, c Container, lacks bool) {
	q.memory.put(ref, Answer{Container: c}, lacks)
	q.known[ref.ID] = true
}

// left returns the containers that have no answer yet.
func (q *inquiry) left() []Ref {
	var refs []Ref
	for _, ref := range q.wanted {
		if !q.known[ref.ID] {
			refs = append(refs, ref)
		}
	}
	return refs
}

// fail records why a place says nothing about containers.
func (q *inquiry) fail(refs []Ref, reason error) {
	for _, ref := range refs {
		q.reasons[ref.ID] = worse(q.reasons[ref.ID], reason)
	}
}

// socket asks an engine: first for its list, which is ready however busy the engine is
// with single containers, then for what it says only of each.
func (q *inquiry) socket(ctx context.Context, path string, refs []Ref) {
	if len(refs) == 0 {
		return
	}
	ids := make([]string, len(refs))
	for i, ref := range refs {
		ids[i] = ref.ID
	}
	s, err := open(ctx, path)
	if err != nil {
		q.silent = q.silent || errors.Is(err, ErrSilent)
		q.fail(refs, err)
		return
	}
	all, err := s.list(ctx, q.waits.list, ids...)
	if errors.Is(err, ErrSilent) {
		s.close()
		q.silent = true
		q.fail(refs, err)
		return
	}
	known := make(map[string]Container, len(all))
	for _, c := range all {
		known[c.ID] = c
	}
	for _, ref := range refs {
		if c, ok := known[ref.ID]; ok {
			q.found(ref, c, true)
		}
	}
	q.each(ctx, s, refs, known)
}

// each asks an engine about single containers and ends the session.
func (q *inquiry) each(ctx context.Context, s *session, refs []Ref, known map[string]Container) {
	silent := 0
	for i, ref := range refs {
		if s.spent {
			s.close()
			again, err := open(ctx, s.path)
			if err != nil {
				q.fail(refs[i:], err)
				return
			}
			s = again
		}
		c, err := s.inspect(ctx, q.waits.inspect, ref.ID)
		if err == nil {
			q.found(ref, c.with(known[ref.ID]), false)
			continue
		}
		q.fail([]Ref{ref}, err)
		if errors.Is(err, ErrSilent) {
			silent++
		}
		if silent >= maxSilent || ctx.Err() != nil {
			q.fail(refs[i:], ErrSilent)
			break
		}
	}
	s.close()
}

// with adds what only a list said.
func (c Container) with(l Container) Container {
	if !c.Has(PartMode) {
		c.mode(l.NetworkMode)
	}
	return c
}

// distinct drops paths that lead to the same file: nearly everywhere /var/run is /run.
func distinct(paths []string) []string {
	var kept []string
	var files []os.FileInfo
next:
	for _, path := range paths {
		st, err := os.Stat(path)
		if err != nil {
			kept = append(kept, path) // open will say why
			continue
		}
		for _, other := range files {
			if os.SameFile(st, other) {
				continue next
			}
		}
		kept, files = append(kept, path), append(files, st)
	}
	return kept
}
