package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
)

// What a file may hold. Nobody has that many sockets; whoever writes a file to use up the
// memory of a reader gets an error.
const (
	maxLine     = 16 << 20  // bytes
	maxBytes    = 768 << 20 // in all, after decompression
	maxSockets  = 1_000_000
	maxRecorded = 500_000 // processes, and things to remember
	maxHeld     = 4_000_000
)

// NewerError says that a recording has a format of the future.
type NewerError struct{ Version int }

// Error names both numbers.
func (e *NewerError) Error() string {
	return fmt.Sprintf("has recording format %d, and this program reads up to %d: use a newer sockwarden", e.Version, Version)
}

var (
	errNoRecording = errors.New(`is no recording: its first line does not begin as {"recording":1,..}`)
	errCutOff      = errors.New("the recording is cut off: its last line is missing")
	errTooLarge    = fmt.Errorf("is larger than %d MiB", maxBytes>>20)
)

// Read reads a recording. Errors name the line.
func Read(from io.Reader) (*Recording, error) {
	const buffer = 1 << 16
	in := &io.LimitedReader{R: from, N: maxBytes}
	r := &reader{
		rec: &Recording{Containers: map[string]world.Container{}}, places: map[string]int{}, fields: map[int]collectors.FieldSet{},
		processes: map[processKey]int{},
	}
	r.rec.Memory.Cooldowns = map[string]memory.Cooldown{}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, buffer), maxLine)
	n, err := r.lines(lines)
	if newer := (*NewerError)(nil); errors.As(err, &newer) || errors.Is(err, errNoRecording) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", n, err)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d: longer than %d MiB", n+1, maxLine>>20)
	case errors.Is(err, io.ErrUnexpectedEOF): // of what is compressed
		return nil, fmt.Errorf("after line %d: %w", n, errCutOff)
	case err != nil && n == 0:
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("after line %d: %w", n, err)
	case in.N <= 0:
		return nil, errTooLarge
	case n == 0:
		return nil, errors.New("is empty")
	case !r.ended:
		return nil, fmt.Errorf("after line %d: %w", n, errCutOff)
	}
	return r.rec, nil
}

type processKey struct {
	pid     int
	started uint64
}

// reader reads a recording.
type reader struct {
	rec       *Recording
	places    map[string]int // namespaces by name
	fields    map[int]collectors.FieldSet
	processes map[processKey]int
	held      int
	ended     bool
}

var errBehindEnd = errors.New("there is more behind the last line")

func (r *reader) line(l *anyLine) error {
	if r.ended {
		return errBehindEnd
	}
	switch {
	case l.Protocol != "":
		return r.socket(&l.socketDoc)
	case l.Fields != nil:
		r.fields[l.Fields.ID] = l.Fields.set()
		return atMost("sets of fields", len(r.fields), maxRecorded)
	case l.Process != nil:
		return r.process(l.Process)
	case l.Container != nil:
		return r.container(l.Container)
	case l.Whole != nil:
		return r.whole(l.Whole)
	case l.Seen != nil:
		r.rec.Memory.Seen = append(r.rec.Memory.Seen, *l.Seen)
		return atMost("remembered sockets", len(r.rec.Memory.Seen), maxRecorded)
	case l.Hold != nil:
		r.rec.Memory.Holds = append(r.rec.Memory.Holds, *l.Hold)
		return atMost("remembered sockets", len(r.rec.Memory.Holds), maxRecorded)
	case l.Cooldown != nil:
		r.rec.Memory.Cooldowns[l.Cooldown.Key] = l.Cooldown.Cooldown
		return atMost("cool-downs", len(r.rec.Memory.Cooldowns), maxRecorded)
	case l.Kept != nil:
		kept := *l.Kept
		kept.Seen, kept.Holds, kept.Cooldowns = r.rec.Memory.Seen, r.rec.Memory.Holds, r.rec.Memory.Cooldowns
		r.rec.Memory = kept
	case l.End:
		r.ended = true
	}
	return nil // of a later program
}

// decode reads one line of JSON.
func decode(b []byte, into any) error {
	if err := json.Unmarshal(b, into); err != nil {
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) && wrong.Field != "" {
			field := strings.TrimPrefix(strings.TrimPrefix(wrong.Field, "socketDoc."), "line.")
			return fmt.Errorf("%s: cannot be a %s", short(field), short(wrong.Value))
		}
		return fmt.Errorf("is no JSON object: %w", err)
	}
	return nil
}

func atMost(what string, n, most int) error {
	if n > most {
		return fmt.Errorf("more than %d %s", most, what)
	}
	return nil
}

func (r *reader) header(b []byte) error {
	var version struct {
		Version *int `json:"recording"`
	}
	if json.Unmarshal(bytes.TrimSpace(b), &version) != nil || version.Version == nil || *version.Version < 1 {
		return errNoRecording
	}
	if *version.Version > Version {
		return &NewerError{*version.Version}
	}
	var d headerDoc
	if err := decode(b, &d); err != nil {
		return err
	}
	r.rec.Header, r.rec.Namespaces = d.Header, d.Namespaces
	if d.Time.IsZero() || !sane(d.Mono) || !sane(d.Looking) || d.Looking > d.Mono {
		return errors.New("time, mono and looking do not say when it was made")
	}
	if host.ParseKernel(d.Kernel).Unread() {
		return fmt.Errorf("no kernel release: %q", short(d.Kernel))
	}
	inodes := map[uint64]bool{}
	for i := range r.rec.Namespaces {
		ns := &r.rec.Namespaces[i]
		if _, twice := r.places[ns.Name]; twice || ns.Name == "" || ns.Inode == 0 || inodes[ns.Inode] {
			return fmt.Errorf("network namespace %q: it has no name or inode of its own", short(ns.Name))
		}
		r.places[ns.Name], inodes[ns.Inode] = i, true
		for _, a := range ns.Addresses {
			if _, _, err := ownAddress(a); err != nil {
				return fmt.Errorf("network namespace %q: %w", short(ns.Name), err)
			}
		}
	}
	if _, err := proxiesOf(d.Proxies); err != nil {
		return err
	}
	_, err := d.Self.peers()
	return err
}

// sane reports whether a number of seconds can be one since a machine began.
func sane(seconds float64) bool {
	const most = 1e10 // three centuries
	return seconds >= 0 && seconds <= most && !math.IsNaN(seconds)
}

func (r *reader) known(id int) (collectors.FieldSet, error) {
	s, ok := r.fields[id]
	if !ok && id != 0 {
		return s, fmt.Errorf("no line before this one says which fields known %d means", id)
	}
	return s, nil
}

func (r *reader) socket(d *socketDoc) error {
	place, ok := r.places[d.NetNS]
	if !ok || !r.rec.Namespaces[place].Recorded {
		return fmt.Errorf("network namespace %q is not in the first line", short(d.NetNS))
	}
	record, err := d.socket(r.rec.Namespaces[place].Inode)
	if err != nil {
		return err
	}
	if record.Known, err = r.known(d.Known); err != nil {
		return err
	}
	if d.Since < 0 || d.Since > r.rec.Mono {
		return errors.New("event is not before the recording")
	}
	s := Socket{Socket: record, Place: place, AllHolders: d.AllOwners, Cgroup: d.Cgroup, Since: d.Since, Beside: d.Beside}
	if len(d.Owners) > 0 {
		s.Holders = make([]Holder, 0, len(d.Owners))
	}
	for _, o := range d.Owners {
		p, err := r.ref(o)
		if err != nil {
			return err
		}
		s.Holders = append(s.Holders, Holder{p, o.FD})
	}
	r.held += len(d.Owners)
	r.rec.Sockets = append(r.rec.Sockets, s)
	return errors.Join(atMost("sockets", len(r.rec.Sockets), maxSockets), atMost("holders of sockets", r.held, maxHeld))
}

func (r *reader) ref(d processRef) (int, error) {
	i, ok := r.processes[processKey{d.PID, d.StartTime}]
	if !ok {
		return 0, fmt.Errorf("process %d is in no line before this one", d.PID)
	}
	return i, nil
}
