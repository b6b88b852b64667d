package langtest

import "sockwarden/collectors"

// group is what changes together in a record: of one of whose fields something is
// known, everything is the same.
type group struct {
	fields collectors.FieldSet
	copy   func(to, from *collectors.Record)
}

// whole are the fields that are never hidden, or hidden in a way of their own.
var whole = collectors.Fields(collectors.FieldState, collectors.FieldProtocol, collectors.FieldAge, collectors.FieldAgeMax)

// groups lists everything in a record but those: TestPartial names a field that is
// missing.
func groups() []group {
	of := collectors.Fields
	socket := func(f func(to, from *collectors.Socket)) func(to, from *collectors.Record) {
		return func(to, from *collectors.Record) { f(to.Socket, from.Socket) }
	}
	owner := func(f func(to, from *collectors.Owner)) func(to, from *collectors.Record) {
		return func(to, from *collectors.Record) { f(to.Owner, from.Owner) }
	}
	return []group{
		{of(collectors.FieldFamily, collectors.FieldLocalAddr, collectors.FieldRemoteAddr, collectors.FieldRemotePort), socket(func(to, from *collectors.Socket) {
			to.Family, to.Local, to.Remote, to.RemotePort = from.Family, from.Local, from.Remote, from.RemotePort
		})},
		{of(collectors.FieldPort), socket(func(to, from *collectors.Socket) { to.LocalPort = from.LocalPort })},
		{of(collectors.FieldInterface), socket(func(to, from *collectors.Socket) { to.IfIndex = from.IfIndex })},
		{of(collectors.FieldMPTCPToken), socket(func(to, from *collectors.Socket) { to.Token = from.Token })},
		{of(collectors.FieldCookie), socket(func(to, from *collectors.Socket) { to.Cookie = from.Cookie })},
		{
			of(collectors.FieldInode, collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted, collectors.FieldEOFRead, collectors.FieldRecvQueue),
			socket(func(to, from *collectors.Socket) { to.Inode, to.RecvQueue = from.Inode, from.RecvQueue }),
		},
		{ // an idle time is that of another stamp where nothing was sent, received or acknowledged
			of(collectors.FieldIdle, collectors.FieldIdleRecv, collectors.FieldIdleSend, collectors.FieldAckIdle,
				collectors.FieldRTT, collectors.FieldBytesSent, collectors.FieldBytesReceived),
			socket(func(to, from *collectors.Socket) {
				to.Info.LastDataRecv, to.Info.LastDataSent, to.Info.LastAckRecv = from.Info.LastDataRecv, from.Info.LastDataSent, from.Info.LastAckRecv
				to.Info.RTT, to.Info.BytesSent, to.Info.BytesReceived = from.Info.RTT, from.Info.BytesSent, from.Info.BytesReceived
			}),
		},
		{of(collectors.FieldSendQueue), socket(func(to, from *collectors.Socket) { to.SendQueue = from.SendQueue })},
		{of(collectors.FieldCongestion), socket(func(to, from *collectors.Socket) { to.Congestion = from.Congestion })},
		{of(collectors.FieldDrops), socket(func(to, from *collectors.Socket) { to.Drops = from.Drops })},
		{of(collectors.FieldMark), socket(func(to, from *collectors.Socket) { to.Mark = from.Mark })},
		{of(collectors.FieldSendBuffer), socket(func(to, from *collectors.Socket) { to.SendBuffer = from.SendBuffer })},
		{of(collectors.FieldSendStalled), func(to, from *collectors.Record) { to.Facts.Stalled = from.Facts.Stalled }},
		{of(collectors.FieldTimer, collectors.FieldTimerExpires, collectors.FieldRetransmits), socket(func(to, from *collectors.Socket) {
			to.Timer, to.TimerExpires, to.Retransmits = from.Timer, from.TimerExpires, from.Retransmits
		})},
		{of(collectors.FieldRTO, collectors.FieldBackoff), socket(func(to, from *collectors.Socket) {
			to.Info.RTO, to.Info.Backoff = from.Info.RTO, from.Info.Backoff
		})},
		{of(collectors.FieldUnacked, collectors.FieldLost), socket(func(to, from *collectors.Socket) {
			to.Info.Unacked, to.Info.Lost = from.Info.Unacked, from.Info.Lost
		})},
		{of(collectors.FieldUID), socket(func(to, from *collectors.Socket) { to.UID = from.UID })},
		{of(collectors.FieldOwners), func(to, from *collectors.Record) { to.Facts.Owners = from.Facts.Owners }},
		{of(collectors.FieldPID), owner(func(to, from *collectors.Owner) { to.PID = from.PID })},
		{of(collectors.FieldProcess), owner(func(to, from *collectors.Owner) { to.Name = from.Name })},
		{of(collectors.FieldExe, collectors.FieldCmdline), owner(func(to, from *collectors.Owner) { to.Exe, to.Cmdline = from.Exe, from.Cmdline })},
		{of(collectors.FieldProcessAge), owner(func(to, from *collectors.Owner) { to.Age = from.Age })},
		{of(collectors.FieldUser), owner(func(to, from *collectors.Owner) { to.User = from.User })},
		{of(collectors.FieldFDs, collectors.FieldFDLimit), owner(func(to, from *collectors.Owner) { to.FDs, to.FDLimit = from.FDs, from.FDLimit })},
		{of(collectors.FieldUnit, collectors.FieldCgroup), owner(func(to, from *collectors.Owner) { to.Unit, to.Cgroup = from.Unit, from.Cgroup })},
		{of(collectors.FieldListenerProcess), func(to, from *collectors.Record) { to.Facts.ListenerOwner = from.Facts.ListenerOwner }},
		{of(collectors.FieldDirection), func(to, from *collectors.Record) { to.Facts.Direction = from.Facts.Direction }},
		{of(collectors.FieldPublished), func(to, from *collectors.Record) { to.Facts.Published = from.Facts.Published }},
		{of(collectors.FieldPeerPID, collectors.FieldPeerProcess, collectors.FieldPeerContainer), func(to, from *collectors.Record) {
			to.Facts.Peers = from.Facts.Peers
		}},
		{of(collectors.FieldLocalAddrGone), func(to, from *collectors.Record) { to.Facts.LocalAddrGone = from.Facts.LocalAddrGone }},
		{of(collectors.FieldNetNS), func(to, from *collectors.Record) {
			n := *to.Namespace
			n.Name, to.Namespace = from.Namespace.Name, &n
		}},
		{of(collectors.FieldHost), func(to, from *collectors.Record) { to.Host = from.Host }},
		{of(collectors.FieldContainerID), owner(func(to, from *collectors.Owner) { to.Container = from.Container })},
		{of(collectors.FieldContainer), owner(func(to, from *collectors.Owner) { to.ContainerName = from.ContainerName })},
		{of(collectors.FieldComposeService), owner(func(to, from *collectors.Owner) { to.ComposeService = from.ComposeService })},
		{of(collectors.FieldPod), owner(func(to, from *collectors.Owner) { to.Pod = from.Pod })},
		{of(collectors.FieldImage), owner(func(to, from *collectors.Owner) { to.Image = from.Image })},
		{of(collectors.FieldAgeSource), func(to, from *collectors.Record) { to.Facts.Age.Source = from.Facts.Age.Source }},
	}
}

// Hide makes a random part of r unknown, and its age an interval around the
// true one.
func Hide(w Writer, r *collectors.Record) {
	for _, g := range groups() {
		if w.IntN(3) == 0 {
			r.Known.Remove(g.fields)
			continue
		}
		for f := range g.fields.Each {
			if w.IntN(8) == 0 {
				r.Known.Remove(collectors.Fields(f))
			}
		}
	}
	if !r.Known.Has(collectors.FieldSendStalled) {
		r.Facts.Stalled = collectors.NoAge()
	}
	a := &r.Facts.Age
	if w.IntN(2) == 0 {
		a.Min = Pick(w, 0, a.Min/2, a.Min)
	}
	switch w.IntN(3) {
	case 0:
		a.Max, a.Bounded = 0, false
		r.Known.Remove(collectors.Fields(collectors.FieldAgeMax))
	case 1:
		a.Max += Pick[float64](w, 0, 10, 100)
	}
	r.Facts.Complete = false
}

// Complete returns a record of which everything is known and that agrees with
// what is known of r.
func Complete(w Writer, r *collectors.Record, keepMax bool) *collectors.Record {
	c := RandomRecord(w)
	c.Socket.State, c.Socket.Protocol = r.Socket.State, r.Socket.Protocol
	for _, g := range groups() {
		if r.Known.Meets(g.fields) {
			g.copy(c, r)
		}
	}
	known := r.Facts.Age
	high := known.Max
	if !known.Bounded {
		high = known.Min + Pick[float64](w, 0, 1, 100, 10000)
	}
	age := Pick(w, known.Min, high, known.Min+(high-known.Min)*w.Float64())
	a := &c.Facts.Age
	a.Min, a.Max, a.Bounded = age, age, true
	if keepMax {
		a.Max = high
	}
	return c
}
