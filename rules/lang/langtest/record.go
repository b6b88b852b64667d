package langtest

import (
	"net/netip"

	"sockwarden/collectors"
)

// AllFields is the set of every field that there is.
func AllFields() collectors.FieldSet {
	var all collectors.FieldSet
	for _, d := range collectors.AllFields() {
		all.Add(collectors.Fields(d.Field))
	}
	return all
}

// AlwaysKnown are the fields Without which there is no record.
var AlwaysKnown = collectors.Fields(collectors.FieldState, collectors.FieldProtocol, collectors.FieldFamily,
	collectors.FieldLocalAddr, collectors.FieldPort, collectors.FieldRemoteAddr, collectors.FieldRemotePort)

// Addr parses an address.
func Addr(text string) collectors.Addr { return collectors.AddrFrom(netip.MustParseAddr(text)) }

// Leak is a fully known record: a CLOSE_WAIT of a dual-stack server, in this
// state for 61.5 seconds at least and an hour at most.
func Leak() *collectors.Record {
	s := &collectors.Socket{
		Cookie: 0xc0ffee, Local: Addr("::ffff:10.1.2.3"), Remote: Addr("::ffff:203.0.113.9"), LocalPort: 21117, RemotePort: 51514,
		Protocol: collectors.TCP, Family: collectors.IPv6, State: collectors.CloseWait, Timer: collectors.TimerKeepalive, TimerExpires: 7200,
		Inode: 4242, UID: 1000, IfIndex: 2, RecvQueue: 1, SendQueue: 300,
		Info: collectors.TCPInfo{
			LastDataRecv: 300_000, LastDataSent: 400_000, LastAckRecv: 1500, RTT: 25_000, RTO: 204_000, Unacked: 2,
			BytesSent: 1 << 20, BytesReceived: 1 << 30,
		},
	}
	o := &collectors.Owner{
		PID: 1874, FD: 7, Age: 86400, UID: 1000, FDs: 982, FDLimit: 1024, Comm: "hbbs", Name: "hbbs", Exe: "/usr/bin/hbbs",
		Cmdline: "/usr/bin/hbbs -r relay", User: "rustdesk", Cgroup: "/system.slice/hbbs.service", Unit: "hbbs.service",
	}
	return &collectors.Record{
		Known: AllFields(), Socket: s, Owner: o, Host: "relay1",
		Namespace: &collectors.Namespace{Name: "host", Interfaces: map[uint32]string{2: "eth0"}},
		Facts: &collectors.Facts{
			Age:    collectors.Age{Min: 61.5, Max: 3600, Bounded: true, Source: collectors.AgeObserved},
			Owners: []collectors.Owner{*o}, Direction: "inbound", ListenerOwner: o, Complete: true,
		},
	}
}

// Without returns Leak with some fields unknown.
func Without(fields ...collectors.Field) *collectors.Record {
	r := Leak()
	r.Known.Remove(collectors.Fields(fields...))
	for _, f := range fields {
		switch f {
		case collectors.FieldAge:
			r.Facts.Age = collectors.NoAge()
		case collectors.FieldSendStalled:
			r.Facts.Stalled = collectors.NoAge()
		default:
		}
	}
	return r
}
