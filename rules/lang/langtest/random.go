package langtest

import "sockwarden/collectors"

// RandomRecord returns a record of which everything is known, and in which every field
// has one of several values: TestRandomRecord names those that have not.
func RandomRecord(w Writer) *collectors.Record {
	addresses := []string{
		"10.1.2.3", "203.0.113.9", "203.0.113.8", "100.64.3.4", "fd7a:115c:a1e0::1", "::1",
		"192.0.2.77", "2001:db8::5", "0.0.0.0", "::", "::fffe:a01:203",
	}
	states := collectors.StateNames()
	state, _ := collectors.ParseState(Pick(w, states...))
	port := func() uint16 { return Pick[uint16](w, 0, 1, 5, 22, 80, 443, 8050, 21115, 21117, 21120, 51514, 65535) }
	small := func() uint32 { return Pick[uint32](w, 0, 1, 2, 3, 5, 60, 300, 1000, 60_000, 90_000, 1500) }
	s := &collectors.Socket{
		Cookie: w.Uint64N(20), Token: small(), Local: Addr(Pick(w, addresses...)), Remote: Addr(Pick(w, addresses...)), LocalPort: port(), RemotePort: port(),
		Protocol: Pick(w, collectors.TCP, collectors.TCP, collectors.UDP, collectors.MPTCP), Family: Pick(w, collectors.IPv4, collectors.IPv6), State: state,
		Timer: collectors.Timer(w.IntN(5)), TimerExpires: small(), Inode: small(), UID: Pick[uint32](w, 0, 5, 1000, 65534), IfIndex: uint32(w.IntN(3)),
		RecvQueue: small(), SendQueue: small(), SendBuffer: small(), Drops: small(), Mark: small(),
		Congestion: Pick(w, collectors.CongestionName{'b', 'b', 'r'}, collectors.CongestionName{'c', 'u', 'b', 'i', 'c'}), Retransmits: uint8(w.IntN(4)),
		Info: collectors.TCPInfo{
			LastDataRecv: small(), LastDataSent: small(), LastAckRecv: small(), RTT: small(), RTO: small(), Unacked: small(), Lost: small(),
			Backoff: uint8(w.IntN(4)), BytesSent: uint64(small()), BytesReceived: uint64(small()),
		},
	}
	o := &collectors.Owner{
		PID: w.IntN(4), Age: float64(small()), FDs: int(small()), FDLimit: uint64(small()), Name: Pick(w, "hbbs", "nginx", "bash", ""),
		Exe: Pick(w, "/usr/bin/hbbs", ""), Cmdline: Pick(w, "hbbs -r relay", "nginx"), User: Pick(w, "root", "hbbs"),
		Cgroup: Pick(w, "/x", "/system.slice/hbbs.service"), Unit: Pick(w, "hbbs", ""),
		Container: Pick(w, "", "0123456789abcdef"),
		ContainerNames: collectors.ContainerNames{
			ContainerName: Pick(w, "", "hbbs", "hbbs-1"), ComposeService: Pick(w, "", "hbbs"), Pod: Pick(w, "", "relay/hbbs-0"), Image: Pick(w, "", "rustdesk/server:1"),
		},
	}
	age, stalled := float64(small()), float64(small())
	source := Pick(w, collectors.AgeObserved, collectors.AgeTimer, collectors.AgeTCPInfo, collectors.AgeNone)
	peer := collectors.Owner{PID: w.IntN(3), Name: Pick(w, "nginx", "")}
	peer.ContainerName = Pick(w, "", "hbbr")
	return &collectors.Record{
		Known: AllFields(), Socket: s, Owner: o, Host: Pick(w, "relay1", "relay2"),
		Namespace: &collectors.Namespace{Name: Pick(w, "host", "blue"), Interfaces: map[uint32]string{1: "lo", 2: "b"}},
		Facts: &collectors.Facts{
			Age:     collectors.Age{Min: age, Max: age, Bounded: true, Source: source},
			Stalled: collectors.Age{Min: stalled, Max: stalled, Bounded: true, Source: collectors.AgeObserved},
			Owners:  make([]collectors.Owner, w.IntN(3)), Direction: Pick(w, "inbound", "outbound"), LocalAddrGone: w.IntN(2) == 0,
			ListenerOwner: &collectors.Owner{Name: Pick(w, "hbbs", "")}, Complete: true,
			Peers: []collectors.Owner{peer}, Published: Pick(w, "", "21117", "172.17.0.2:21117"),
		},
	}
}
