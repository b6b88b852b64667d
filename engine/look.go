package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"net"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/collectors/netns"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/sockdiag"
	"sockwarden/rules"
)

// look collects the candidates of a program and finds out what its conditions
// read: ages, owners, listeners.
func (e *Engine) look(ctx context.Context, p *rules.Program) (*cycle, error) {
	mode := "dry-run"
	if e.opts.Live {
		mode = "live"
	}
	c := &cycle{program: p, began: time.Now(), report: &Report{
		Mode: mode, Files: p.Files, Generation: p.Generation, Started: time.Now(), ByState: map[collectors.State]int{},
	}}
	if err := e.findNamespaces(c); err != nil {
		return nil, err
	}
	failed := 0
	c.looked = monotonic()
	for _, ns := range c.namespaces {
		if err := e.collect(ctx, c, ns); err != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("look at sockets: %w", context.Cause(ctx))
			}
			failed++
			if errors.Is(err, fs.ErrNotExist) && ns.open != nil {
				c.warn(fmt.Errorf("namespace %s has ended: %w", ns.Name, err))
				continue
			}
			c.fail(fmt.Errorf("namespace %s: %w", ns.Name, err))
		}
	}
	for _, source := range e.opts.Extra {
		if err := e.collectExtra(ctx, c, source); err != nil {
			c.fail(err)
		}
	}
	if failed == len(c.namespaces) && c.report.Summary.Scanned == 0 {
		return nil, fmt.Errorf("%w: %w", errNothingSeen, errors.Join(c.report.Errors...))
	}
	c.now = monotonic()
	for _, cand := range c.candidates {
		if cand.Socket.IfIndex != 0 {
			e.nameInterfaces(cand.ns)
		}
	}
	e.findAges(c)
	e.findListeners(ctx, c)
	if err := e.findOwners(ctx, c); err != nil {
		c.fail(err)
	}
	slices.SortFunc(c.candidates, func(a, b *Candidate) int {
		return cmp.Or(-cmp.Compare(coarse(a.Facts.Age.Min), coarse(b.Facts.Age.Min)), cmp.Compare(a.Socket.Cookie, b.Socket.Cookie),
			cmp.Compare(a.Socket.LocalPort, b.Socket.LocalPort), cmp.Compare(a.Socket.RemotePort, b.Socket.RemotePort))
	})
	return c, nil
}

// findNamespaces resolves which namespaces the rules are about, and counts the
// sockets of the others.
func (e *Engine) findNamespaces(c *cycle) error {
	wanted := c.program.NetNS
	if len(wanted) == 0 {
		wanted = []string{netns.HostName}
	}
	if slices.Contains(wanted, "all") {
		wanted = []string{"all"}
	}
	var missing []error
	for _, name := range wanted {
		handles, err := netns.Select(name)
		if err != nil {
			missing = append(missing, err)
			continue
		}
		for _, h := range handles {
			if slices.ContainsFunc(c.namespaces, func(n *namespace) bool { return n.Inode == h.Inode }) {
				continue
			}
			ns := &namespace{Namespace: collectors.Namespace{Inode: h.Inode, Name: h.Name, Interfaces: map[uint32]string{}}}
			if h.Name != netns.HostName {
				ns.open = h.Open
			}
			c.namespaces = append(c.namespaces, ns)
		}
	}
	if len(c.namespaces) == 0 {
		return errors.Join(missing...)
	}
	// One that does not exist has no sockets: that keeps nobody from seeing the others.
	c.report.Errors = append(c.report.Errors, missing...)
	c.report.Namespaces = len(c.namespaces)
	e.countOthers(c)
	return nil
}

// countOthers counts the sockets in namespaces that no rule is about, so that
// the report can say that they were not looked at.
func (e *Engine) countOthers(c *cycle) {
	all, err := netns.List()
	if err != nil {
		return
	}
	for _, h := range all {
		if slices.ContainsFunc(c.namespaces, func(n *namespace) bool { return n.Inode == h.Inode }) {
			continue
		}
		if h.PID == 0 {
			continue
		}
		if n, err := e.proc.SockstatOf(h.PID); err == nil && n.TCP+n.UDP > 0 {
			c.report.Unseen += n.TCP + n.UDP
			c.report.UnseenNamespaces++
		}
	}
}

// collect streams one namespace. Only what a rule may match is kept.
func (e *Engine) collect(ctx context.Context, c *cycle, ns *namespace) error {
	fd, closeNS, err := openNS(ns)
	if err != nil {
		return err
	}
	defer closeNS()
	if counts, err := countSockets(ns); err == nil {
		c.report.Summary.SocketsTotal += counts.TCP + counts.UDP
	}
	if c.program.Reads.Has(collectors.FieldInterface) {
		e.nameInterfaces(ns)
	}
	q := c.program.Query
	// The kernel shows MPTCP subflows, which must not be destroyed, only along with tcp_info.
	q.Info = q.Info || e.destroys(c.program)
	var errs error
	for _, part := range collectors.Split(q, len(q.Protocols)) {
		errs = errors.Join(errs, e.collectPart(ctx, c, ns, part, fd))
	}
	return errs
}

// destroys reports whether a rule does something to sockets themselves.
func (e *Engine) destroys(p *rules.Program) bool {
	for _, r := range p.Rules {
		for i := range r.Then {
			plugin, err := e.opts.Actions.Get(r.Then[i].Action)
			if err != nil || !plugin.Harmless && !plugin.OnProcess {
				return true
			}
		}
	}
	return false
}

// collectPart asks one source after the other about one protocol.
func (e *Engine) collectPart(ctx context.Context, c *cycle, ns *namespace, q collectors.Query, fd int) error {
	var refused error
	for i, source := range e.opts.Sources {
		err := e.stream(ctx, c, ns, source.New(fd), q)
		if err == nil && i > 0 {
			c.warn(fmt.Errorf("%w; reading /proc/net instead: ages are unknown and nothing can be acted on", refused))
		}
		if err == nil || (!errors.Is(err, collectors.ErrNotPermitted) && !errors.Is(err, collectors.ErrNotSupported)) {
			return err
		}
		refused = errors.Join(refused, err)
	}
	return refused
}

func (e *Engine) stream(ctx context.Context, c *cycle, ns *namespace, source collectors.Collector, q collectors.Query) error {
	evaluator := c.program.NewEvaluator()
	if c.seen == nil {
		c.seen = map[uint64]bool{}
	}
	record := collectors.NewRecord(&collectors.Socket{}, &ns.Namespace, nil, nil, e.host)
	base := record.Known
	for s, err := range source.Collect(ctx, q) {
		if err != nil {
			return err
		}
		if s.NetNS == 0 {
			s.NetNS = ns.Inode
		}
		c.report.Summary.Scanned++
		c.report.ByState[s.State]++
		record.Socket, record.Known = s, base|s.Known
		if s.IfIndex != 0 && ns.Interfaces[s.IfIndex] == "" {
			record.Known &^= collectors.Fields(collectors.FieldInterface)
		}
		hits := evaluator.Match(&record)
		if len(hits) == 0 || (s.Cookie != 0 && c.seen[s.Cookie]) {
			continue
		}
		c.seen[s.Cookie] = true
		c.candidates = append(c.candidates, &Candidate{Socket: *s, ns: ns, host: e.host, hits: slices.Clone(hits), Facts: collectors.Facts{Age: collectors.NoAge()}})
	}
	return nil
}

// collectExtra asks a source that is not the kernel. What it says of a socket is
// believed only as far as an exact look-up by the cookie confirms it; without
// that the record has no cookie, and is only listed.
func (e *Engine) collectExtra(ctx context.Context, c *cycle, source collectors.Plugin) error {
	i := slices.IndexFunc(c.namespaces, func(n *namespace) bool { return n.open == nil })
	if i < 0 {
		return nil // it is about this namespace
	}
	return e.stream(ctx, c, c.namespaces[i], confirmed{source.New(-1)}, c.program.Query)
}

// confirmed is a collector whose records are looked up in the kernel.
type confirmed struct{ collectors.Collector }

// Collect yields the kernel's own record where it has one.
func (k confirmed) Collect(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		for s, err := range k.Collector.Collect(ctx, q) {
			if err == nil && s.Cookie != 0 {
				now, getErr := lookUp(ctx, -1, s)
				if getErr == nil && now.State == s.State {
					*s = now
				} else {
					s.Cookie = 0
					s.Known &^= collectors.Fields(collectors.FieldCookie)
				}
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

func openNS(ns *namespace) (fd int, closeNS func(), err error) {
	if ns.open == nil {
		return -1, func() {}, nil
	}
	f, err := ns.open()
	if err != nil {
		return -1, nil, err
	}
	return int(f.Fd()), func() { _ = f.Close() }, nil
}

// inside runs f in the namespace.
func inside(ns *namespace, f func() error) error {
	if ns.open == nil {
		return f()
	}
	file, err := ns.open()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return netns.Do(file, f)
}

func countSockets(ns *namespace) (counts procfs.Counts, err error) {
	err = inside(ns, func() (err error) {
		counts, err = procfs.New("").Sockstat()
		return err
	})
	return counts, err
}

// nameInterfaces looks the names of interfaces up; one that is unknown leaves
// the field unknown.
func (e *Engine) nameInterfaces(ns *namespace) {
	if ns.hasNames {
		return
	}
	ns.hasNames = true
	err := inside(ns, func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			ns.Interfaces[uint32(i.Index)] = i.Name
		}
		return err //nolint:wrapcheck // only logged
	})
	if err != nil {
		e.log.Debug("interfaces unknown", "netns", ns.Name, "error", err)
	}
}

// findAges proves what it can about the candidates' ages, drops those that no
// rule can match any more, and remembers those whose age decides.
func (e *Engine) findAges(c *cycle) {
	kept := c.candidates[:0]
	for _, cand := range c.candidates {
		shown := evidence(&cand.Socket)
		key := collectors.KeyOf(&cand.Socket)
		age := e.memory.recall
		if c.ageDecides(cand) {
			age = e.memory.observe
		}
		cand.setAge(age(key, shown, c.looked, c.now))
		cand.hits = slices.DeleteFunc(cand.hits, func(i int) bool { return c.falseByAge(cand, i) })
		if len(cand.hits) > 0 {
			kept = append(kept, cand)
		}
	}
	c.candidates = kept
}

func (c *cycle) ageDecides(cand *Candidate) bool {
	return slices.ContainsFunc(cand.hits, func(i int) bool { return c.program.Rules[i].ReadsAge() })
}

// falseByAge reports whether the rule's condition is false now that the age is
// known but the costly fields are not.
func (c *cycle) falseByAge(cand *Candidate, rule int) bool {
	facts := cand.Facts
	r := collectors.NewRecord(&cand.Socket, &cand.ns.Namespace, &facts, nil, cand.host)
	return c.program.Rules[rule].When.Eval(&r) == rules.False
}

// findListeners fills in direction and listener_process where they are read,
// and the listeners of sockets that wait to be accepted.
func (e *Engine) findListeners(ctx context.Context, c *cycle) {
	reads := c.program.Reads&collectors.ListenerFields() != 0
	for _, cand := range c.candidates {
		if !reads && !collectors.Unaccepted(&cand.Socket) {
			continue
		}
		e.loadListeners(ctx, c, cand.ns)
		setDirection(cand)
	}
}

func (e *Engine) loadListeners(ctx context.Context, c *cycle, ns *namespace) {
	if ns.asked {
		return
	}
	ns.asked = true
	err := inside(ns, func() (err error) {
		ns.PortLow, ns.PortHigh, err = e.proc.EphemeralPorts()
		return err
	})
	if err != nil {
		e.log.Debug("ephemeral ports unknown", "netns", ns.Name, "error", err)
	}
	fd, closeNS, err := openNS(ns)
	if err != nil {
		c.fail(err)
		return
	}
	defer closeNS()
	for _, source := range e.opts.Sources {
		var found []collectors.Socket
		if found, err = listeners(ctx, source.New(fd)); err == nil {
			ns.listeners, ns.listening = found, true
			return
		}
	}
	c.fail(fmt.Errorf("listeners of namespace %s: %w", ns.Name, err))
}

func listeners(ctx context.Context, source collectors.Collector) (all []collectors.Socket, err error) {
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.Listen)}
	for s, err := range source.Collect(ctx, q) {
		if err != nil {
			return nil, err
		}
		all = append(all, *s)
	}
	return all, nil
}

// listenerOf returns the listener that a connection came in by, the one with
// its address before the one for all.
func listenerOf(cand *Candidate) *collectors.Socket {
	s := &cand.Socket
	var any *collectors.Socket
	for i := range cand.ns.listeners {
		l := &cand.ns.listeners[i]
		if l.LocalPort != s.LocalPort || l.Family != s.Family {
			continue
		}
		switch {
		case l.Local == s.Local:
			return l
		case l.Local.IsZero():
			any = l
		}
	}
	return any
}

func setDirection(cand *Candidate) {
	s := &cand.Socket
	if s.Protocol != collectors.TCP || s.State == collectors.Listen || s.RemotePort == 0 || !cand.ns.listening {
		return
	}
	switch l := listenerOf(cand); {
	case l != nil:
		cand.Facts.Direction = "inbound"
	case cand.ns.PortHigh > 0 && s.LocalPort >= cand.ns.PortLow && s.LocalPort <= cand.ns.PortHigh:
		cand.Facts.Direction = "outbound"
	default:
		return
	}
	cand.Facts.Known |= collectors.Fields(collectors.FieldDirection)
}

// findOwners looks up who holds the candidates that are left, and the
// listeners that they belong to, in one walk through /proc.
func (e *Engine) findOwners(ctx context.Context, c *cycle) error {
	inodes := map[uint32]bool{}
	for _, cand := range c.candidates {
		if cand.Socket.Inode != 0 {
			inodes[cand.Socket.Inode] = true
		}
		if l := e.listenerWanted(c, cand); l != nil {
			inodes[l.Inode] = true
		}
	}
	holders, err := e.proc.Holders(ctx, inodes)
	if err != nil {
		return fmt.Errorf("owners of sockets: %w", err)
	}
	readsListener := c.program.Reads.Has(collectors.FieldListenerProcess)
	for _, cand := range c.candidates {
		cand.Facts.Complete = true
		// Where some processes cannot be examined, one more of them may hold it.
		cand.Facts.OthersHidden = holders.Unreadable > 0
		if owners := holders.ByInode[cand.Socket.Inode]; cand.Socket.Inode != 0 && len(owners) > 0 {
			cand.Facts.Owners = owners
			if !cand.Facts.OthersHidden {
				cand.Facts.Known |= collectors.Fields(collectors.FieldOwners)
			}
		}
		if l := e.listenerWanted(c, cand); l != nil {
			if owners := holders.ByInode[l.Inode]; len(owners) > 0 {
				cand.Facts.ListenerOwner = e.speaker(owners)
				cand.Facts.ListenerProcess = cand.Facts.ListenerOwner.Name
				cand.Facts.Known |= collectors.Fields(collectors.FieldListenerProcess)
			}
		} else if readsListener && cand.ns.listening {
			cand.Facts.Known |= collectors.Fields(collectors.FieldListenerProcess) // "": nobody listens
		}
	}
	return nil
}

func (e *Engine) listenerWanted(c *cycle, cand *Candidate) *collectors.Socket {
	if !c.program.Reads.Has(collectors.FieldListenerProcess) && !collectors.Unaccepted(&cand.Socket) {
		return nil
	}
	return listenerOf(cand)
}

// fresh returns the candidate as it is now: looked up by its cookie, with new
// evidence and owners. The error is ErrGone if it is no more.
func (e *Engine) fresh(ctx context.Context, p *rules.Program, rule *rules.Rule, cand *Candidate) (*Candidate, error) {
	c := &cycle{program: p, report: &Report{}, looked: monotonic()}
	now := cand.clone()
	// Its rules are those of the cycle that found it, which can have been under other rules.
	now.hits = []int{slices.Index(p.Rules, rule)}
	now.Facts = collectors.Facts{Age: collectors.NoAge()}
	fd, closeNS, err := openNS(cand.ns)
	if err != nil {
		return nil, err
	}
	defer closeNS()
	if now.Socket, err = lookUp(ctx, fd, &cand.Socket); err != nil {
		return nil, err
	}
	c.now = monotonic()
	if now.Socket.NetNS == 0 {
		now.Socket.NetNS = cand.ns.Inode
	}
	if collectors.KeyOf(&now.Socket) != collectors.KeyOf(&cand.Socket) {
		return nil, fmt.Errorf("socket %x is now %s: %w", now.Socket.Cookie, now.Socket.State, collectors.ErrGone)
	}
	c.candidates = []*Candidate{now}
	e.findAges(c)
	e.findListeners(ctx, c)
	if err := e.findOwners(ctx, c); err != nil {
		return nil, err
	}
	return now, nil
}

func lookUp(ctx context.Context, netnsFD int, s *collectors.Socket) (collectors.Socket, error) {
	conn, err := sockdiag.Dial(netnsFD)
	if err != nil {
		return collectors.Socket{}, err
	}
	defer func() { _ = conn.Close() }()
	return conn.Get(ctx, s)
}

// coarse takes the grain of the kernel's stamps out of an age, so that sockets
// of one burst keep their order from cycle to cycle.
func coarse(seconds float64) float64 { return math.Floor(seconds * 50) }
