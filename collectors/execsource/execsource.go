// Package execsource reads socket records from a program: a way to add a source without
// compiling.
//
// Comes in: what a program prints, one JSON object per line, with the field names of the
// rules language. Goes out: Socket records. A line that is not exactly right ends the
// stream with an error. Records without a cookie can be listed, but nobody acts on them.
// For a record with a cookie, an action first looks up the socket by it, so a wrong
// record does no harm.
package execsource

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"sockwarden/collectors"
	"sockwarden/collectors/trust"
)

const (
	// maxLine bounds one record, in bytes, and maxRecords their number.
	maxLine    = 16 << 10
	maxRecords = 1_000_000
	// timeout is how long the program may run.
	timeout = 30 * time.Second
)

// Plugin returns a source that runs the program at an absolute path.
func Plugin(program string) (collectors.Plugin, error) {
	if !filepath.IsAbs(program) {
		return collectors.Plugin{}, fmt.Errorf("%q is not an absolute path; there is no shell", program)
	}
	return collectors.Plugin{
		Name:       "exec",
		Summary:    "records that a program prints as JSON lines",
		Doc:        "Runs " + program + " once for each cycle, with a clean environment.",
		Needs:      "the program",
		Actionable: true,
		New:        func(int) collectors.Collector { return source{program, timeout} },
	}, nil
}

type source struct {
	program string
	timeout time.Duration
}

// Collect runs the program and yields its records, even those that the query does not ask
// for. It ends the program, with everything that the program started, when its time is
// up, when the context ends, or when the caller wants no more.
func (s source) Collect(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		fail := func(err error) { yield(nil, fmt.Errorf("collector %s: %w", s.program, err)) }
		if err := trust.Program(s.program); err != nil {
			yield(nil, fmt.Errorf("collector: %w", err))
			return
		}
		r, err := start(s.program, s.timeout)
		if err != nil {
			yield(nil, fmt.Errorf("collector: %w", err))
			return
		}
		defer func() { _ = r.out.Close() }()
		defer context.AfterFunc(ctx, r.program.Stop)()
		if !read(r, q, func(rec *collectors.Socket, err error) bool {
			if err != nil {
				// If the program's end cut the line off, that end is the error.
				fail(cmp.Or(r.stop(ctx), err))
				return false
			}
			return yield(rec, nil)
		}) {
			_ = r.stop(ctx) // nobody reads on
			return
		}
		if err := r.failure(ctx, s.timeout+lingering); err != nil {
			fail(err)
		}
	}
}

// read yields the records of r. It reports whether it read everything and all was right.
func read(r io.Reader, q collectors.Query, yield func(*collectors.Socket, error) bool) bool {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	s := new(collectors.Socket)
	n := 0
	for lines.Scan() {
		if n++; n > maxRecords {
			yield(nil, fmt.Errorf("more than %d records", maxRecords))
			return false
		}
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := parse(lines.Bytes(), s); err != nil {
			yield(nil, fmt.Errorf("line %d: %w", n, err))
			return false
		}
		if slices.Contains(q.Protocols, s.Protocol) && q.States.Has(s.State) && !yield(s, nil) {
			return false
		}
	}
	if err := lines.Err(); err != nil {
		yield(nil, fmt.Errorf("line %d: %w", n+1, err))
		return false
	}
	return true
}

// record is one line. Pointers tell missing values from zero.
type record struct {
	Protocol    string     `json:"protocol"`
	State       string     `json:"state"`
	LocalAddr   netip.Addr `json:"local_addr"`
	Port        *uint16    `json:"port"`
	RemoteAddr  netip.Addr `json:"remote_addr"`
	RemotePort  *uint16    `json:"remote_port"`
	Cookie      string     `json:"cookie"`
	Inode       *uint32    `json:"inode"`
	UID         *uint32    `json:"uid"`
	RecvQueue   *uint32    `json:"recv_queue"`
	SendQueue   *uint32    `json:"send_queue"`
	Retransmits *uint8     `json:"retransmits"`
	IfIndex     *uint32    `json:"ifindex"`
	// Dual says that the socket is an IPv6 socket although its addresses are IPv4.
	Dual bool `json:"dual_stack"`
}

var always = collectors.Fields(collectors.FieldProtocol, collectors.FieldFamily, collectors.FieldState,
	collectors.FieldLocalAddr, collectors.FieldPort, collectors.FieldRemoteAddr, collectors.FieldRemotePort)

// parse reads one line. It checks the required fields and refuses those that are not
// allowed.
func parse(line []byte, s *collectors.Socket) error {
	var r record
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if d.More() {
		return errors.New("record: more than one object on a line")
	}
	protocols := map[string]collectors.Protocol{"tcp": collectors.TCP, "udp": collectors.UDP}
	p, ok := protocols[r.Protocol]
	if !ok {
		return fmt.Errorf("record: protocol %q is neither tcp nor udp", r.Protocol)
	}
	state, ok := collectors.ParseState(r.State)
	if !ok || !slices.Contains(collectors.StateNames(), state.String()) {
		return fmt.Errorf("record: unknown state %q", r.State)
	}
	if !r.LocalAddr.IsValid() || !r.RemoteAddr.IsValid() || r.Port == nil || r.RemotePort == nil {
		return errors.New("record: local_addr, port, remote_addr and remote_port must be there")
	}
	if r.LocalAddr.Is4() != r.RemoteAddr.Is4() || r.LocalAddr.Zone() != "" || r.RemoteAddr.Zone() != "" {
		return errors.New("record: the two addresses must be of one family, without zones")
	}
	*s = collectors.Socket{
		Known: always, Protocol: p, State: state, Family: collectors.IPv6,
		Local: collectors.AddrFrom(r.LocalAddr), Remote: collectors.AddrFrom(r.RemoteAddr), LocalPort: *r.Port, RemotePort: *r.RemotePort,
	}
	if r.LocalAddr.Is4() && !r.Dual {
		s.Family = collectors.IPv4
	}
	if r.Cookie != "" {
		c, err := strconv.ParseUint(r.Cookie, 16, 64)
		if err != nil || c == 0 || c == ^uint64(0) {
			return fmt.Errorf("record: cookie %q is not a cookie", r.Cookie)
		}
		s.Cookie = c
		s.Known.Add(collectors.Fields(collectors.FieldCookie))
	}
	r.optional(s)
	return nil
}

func (r *record) optional(s *collectors.Socket) {
	set := func(to, from *uint32, fields ...collectors.Field) {
		if from != nil {
			*to = *from
			s.Known.Add(collectors.Fields(fields...))
		}
	}
	set(&s.Inode, r.Inode, collectors.FieldInode, collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted)
	set(&s.UID, r.UID, collectors.FieldUID)
	set(&s.RecvQueue, r.RecvQueue, collectors.FieldRecvQueue)
	set(&s.SendQueue, r.SendQueue, collectors.FieldSendQueue)
	set(&s.IfIndex, r.IfIndex)
	if r.Retransmits != nil {
		s.Retransmits = *r.Retransmits
		s.Known.Add(collectors.Fields(collectors.FieldRetransmits))
	}
	if s.Known.Has(collectors.FieldInode) && s.Known.Has(collectors.FieldRecvQueue) {
		s.Known.Add(collectors.Fields(collectors.FieldEOFRead))
	}
	if r.Inode != nil && *r.Inode == 0 {
		s.Known.Add(collectors.Fields(collectors.FieldOwners, collectors.FieldPID, collectors.FieldProcess, collectors.FieldExe, collectors.FieldCmdline))
	}
}
