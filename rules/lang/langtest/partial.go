package langtest

import (
	"slices"

	"sockwarden/collectors"
)

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
func groups() []group { return slices.Concat(socketGroups(), factGroups()) }

func ofSocket(f func(to, from *collectors.Socket)) func(to, from *collectors.Record) {
	return func(to, from *collectors.Record) { f(to.Socket, from.Socket) }
}

func ofOwner(f func(to, from *collectors.Owner)) func(to, from *collectors.Record) {
	return func(to, from *collectors.Record) { f(to.Owner, from.Owner) }
}

// socketGroups lists what the kernel shows of a socket.
func socketGroups() []group {
	return []group{
		{collectors.Fields(collectors.FieldFamily, collectors.FieldLocalAddr, collectors.FieldRemoteAddr, collectors.FieldRemotePort), ofSocket(func(to, from *collectors.Socket) {
			to.Family, to.Local, to.Remote, to.RemotePort = from.Family, from.Local, from.Remote, from.RemotePort
		})},
		{collectors.Fields(collectors.FieldPort), ofSocket(func(to, from *collectors.Socket) { to.LocalPort = from.LocalPort })},
		{collectors.Fields(collectors.FieldInterface), ofSocket(func(to, from *collectors.Socket) { to.IfIndex = from.IfIndex })},
		{collectors.Fields(collectors.FieldMPTCPToken), ofSocket(func(to, from *collectors.Socket) { to.Token = from.Token })},
		{collectors.Fields(collectors.FieldCookie), ofSocket(func(to, from *collectors.Socket) { to.Cookie = from.Cookie })},
		{
			collectors.Fields(collectors.FieldInode, collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted, collectors.FieldEOFRead, collectors.FieldRecvQueue),
			ofSocket(func(to, from *collectors.Socket) { to.Inode, to.RecvQueue = from.Inode, from.RecvQueue }),
		},
		{ // an idle time is that of another stamp where nothing was sent, received or acknowledged
			collectors.Fields(collectors.FieldIdle, collectors.FieldIdleRecv, collectors.FieldIdleSend, collectors.FieldAckIdle,
				collectors.FieldRTT, collectors.FieldBytesSent, collectors.FieldBytesReceived),
			ofSocket(func(to, from *collectors.Socket) {
				to.Info.LastDataRecv, to.Info.LastDataSent, to.Info.LastAckRecv = from.Info.LastDataRecv, from.Info.LastDataSent, from.Info.LastAckRecv
				to.Info.RTT, to.Info.BytesSent, to.Info.BytesReceived = from.Info.RTT, from.Info.BytesSent, from.Info.BytesReceived
			}),
		},
		{collectors.Fields(collectors.FieldSendQueue), ofSocket(func(to, from *collectors.Socket) { to.SendQueue = from.SendQueue })},
		{collectors.Fields(collectors.FieldCongestion), ofSocket(func(to, from *collectors.Socket) { to.Congestion = from.Congestion })},
		{collectors.Fields(collectors.FieldDrops), ofSocket(func(to, from *collectors.Socket) { to.Drops = from.Drops })},
		{collectors.Fields(collectors.FieldMark), ofSocket(func(to, from *collectors.Socket) { to.Mark = from.Mark })},
		{collectors.Fields(collectors.FieldSendBuffer), ofSocket(func(to, from *collectors.Socket) { to.SendBuffer = from.SendBuffer })},
		{collectors.Fields(collectors.FieldTimer, collectors.FieldTimerExpires, collectors.FieldRetransmits), ofSocket(func(to, from *collectors.Socket) {
			to.Timer, to.TimerExpires, to.Retransmits = from.Timer, from.TimerExpires, from.Retransmits
		})},
		{collectors.Fields(collectors.FieldRTO, collectors.FieldBackoff), ofSocket(func(to, from *collectors.Socket) {
			to.Info.RTO, to.Info.Backoff = from.Info.RTO, from.Info.Backoff
		})},
		{collectors.Fields(collectors.FieldUnacked, collectors.FieldLost), ofSocket(func(to, from *collectors.Socket) {
			to.Info.Unacked, to.Info.Lost = from.Info.Unacked, from.Info.Lost
		})},
		{collectors.Fields(collectors.FieldUID), ofSocket(func(to, from *collectors.Socket) { to.UID = from.UID })},
	}
}

// factGroups lists what is found out about it.
func factGroups() []group {
	return []group{
		{collectors.Fields(collectors.FieldSendStalled), func(to, from *collectors.Record) { to.Facts.Stalled = from.Facts.Stalled }},
		{collectors.Fields(collectors.FieldOwners), func(to, from *collectors.Record) { to.Facts.Owners = from.Facts.Owners }},
		{collectors.Fields(collectors.FieldPID), ofOwner(func(to, from *collectors.Owner) { to.PID = from.PID })},
		{collectors.Fields(collectors.FieldProcess), ofOwner(func(to, from *collectors.Owner) { to.Name = from.Name })},
		{collectors.Fields(collectors.FieldExe, collectors.FieldCmdline), ofOwner(func(to, from *collectors.Owner) { to.Exe, to.Cmdline = from.Exe, from.Cmdline })},
		{collectors.Fields(collectors.FieldProcessAge), ofOwner(func(to, from *collectors.Owner) { to.Age = from.Age })},
		{collectors.Fields(collectors.FieldUser), ofOwner(func(to, from *collectors.Owner) { to.User = from.User })},
		{collectors.Fields(collectors.FieldFDs, collectors.FieldFDLimit), ofOwner(func(to, from *collectors.Owner) { to.FDs, to.FDLimit = from.FDs, from.FDLimit })},
		{collectors.Fields(collectors.FieldUnit, collectors.FieldCgroup), ofOwner(func(to, from *collectors.Owner) { to.Unit, to.Cgroup = from.Unit, from.Cgroup })},
		{collectors.Fields(collectors.FieldListenerProcess), func(to, from *collectors.Record) { to.Facts.ListenerOwner = from.Facts.ListenerOwner }},
		{collectors.Fields(collectors.FieldDirection), func(to, from *collectors.Record) { to.Facts.Direction = from.Facts.Direction }},
		{collectors.Fields(collectors.FieldPublished), func(to, from *collectors.Record) { to.Facts.Published = from.Facts.Published }},
		{collectors.Fields(collectors.FieldPeerPID, collectors.FieldPeerProcess, collectors.FieldPeerContainer), func(to, from *collectors.Record) {
			to.Facts.Peers = from.Facts.Peers
		}},
		{collectors.Fields(collectors.FieldLocalAddrGone), func(to, from *collectors.Record) { to.Facts.LocalAddrGone = from.Facts.LocalAddrGone }},
		{collectors.Fields(collectors.FieldNetNS), func(to, from *collectors.Record) {
			n := *to.Namespace
			n.Name, to.Namespace = from.Namespace.Name, &n
		}},
		{collectors.Fields(collectors.FieldHost), func(to, from *collectors.Record) { to.Host = from.Host }},
		{collectors.Fields(collectors.FieldContainerID), ofOwner(func(to, from *collectors.Owner) { to.Container = from.Container })},
		{collectors.Fields(collectors.FieldContainer), ofOwner(func(to, from *collectors.Owner) { to.ContainerName = from.ContainerName })},
		{collectors.Fields(collectors.FieldComposeService), ofOwner(func(to, from *collectors.Owner) { to.ComposeService = from.ComposeService })},
		{collectors.Fields(collectors.FieldPod), ofOwner(func(to, from *collectors.Owner) { to.Pod = from.Pod })},
		{collectors.Fields(collectors.FieldImage), ofOwner(func(to, from *collectors.Owner) { to.Image = from.Image })},
		{collectors.Fields(collectors.FieldAgeSource), func(to, from *collectors.Record) { to.Facts.Age.Source = from.Facts.Age.Source }},
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
