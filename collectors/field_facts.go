package collectors

// factFields are what the engine finds out about a socket beyond its record.
var factFields = []FieldDoc{
	{
		Field: FieldAge, Name: "age", Type: TypeSeconds, Unit: "s", Cost: CostAge, Source: "tcp_info, timers, observation",
		Meaning: "proven time in this state; compares as the interval [age, age_max]",
		Unknown: "nothing proves a bound: a comparison is then unknown",
		Num:     func(r *Record) float64 { return factsOf(r).Age.Min },
		SetNum:  func(r *Record, v float64) { r.setAge(v) },
	},
	{
		Field: FieldAgeMax, Name: "age_max", Type: TypeSeconds, Unit: "s", Cost: CostAge, Source: "tcp_info, timers",
		Meaning: "longest time in this state that the evidence allows", Unknown: "nothing bounds it",
		Num:    func(r *Record) float64 { return factsOf(r).Age.Max },
		SetNum: func(r *Record, v float64) { r.facts().Age.Max, r.facts().Age.Bounded = v, true },
	},
	{
		Field: FieldAgeSource, Name: "age_source", Type: TypeString, Cost: CostAge, Source: "sockwarden",
		Meaning: "what proved age", Unknown: never,
		Values: []string{"event", "observed", "tcp_info", "timer", "none"},
		Str:    func(r *Record) string { return string(factsOf(r).Age.Source) },
		SetStr: func(r *Record, v string) { r.facts().Age.Source = AgeSource(v) },
	},
	{
		Field: FieldSendStalled, Name: "send_stalled", Type: TypeSeconds, Unit: "s", Cost: CostStall, Source: tcpInfo + ", observation",
		Meaning: "proven time that something waits to be acknowledged and the peer acknowledged nothing; compares as an interval, as age does",
		Unknown: "one look seldom proves any: two do (watch, runs with the same state file, --observe); where there is no tcp_info",
		Num:     func(r *Record) float64 { return factsOf(r).Stalled.Min },
		SetNum: func(r *Record, v float64) {
			r.facts().Stalled = Age{Min: v, Max: v, Bounded: true, Source: AgeObserved}
		},
	},
	{
		Field: FieldOwners, Name: "owners", Type: TypeNumber, Cost: CostOwner, Source: proc,
		Meaning: "number of processes that hold the socket", Unknown: noOwner,
		Num:    func(r *Record) float64 { return float64(len(factsOf(r).Owners)) },
		SetNum: func(r *Record, v float64) { r.setOwners(v) },
	},
	{
		Field: FieldListenerProcess, Name: "listener_process", Type: TypeString, Cost: CostListeners, Source: "sock_diag, /proc",
		Meaning: "process that listens where this connection came in, \"\" where nobody listens",
		Unknown: "the listener's process cannot be read, or listeners of several processes fit (SO_REUSEPORT)",
		Str:     func(r *Record) string { return listenerOf(r).Name },
		SetStr:  func(r *Record, v string) { r.facts().ListenerOwner = listenerNamed(v) },
	},
	{
		Field: FieldDirection, Name: "direction", Type: TypeString, Cost: CostListeners, Source: diag,
		Meaning: "inbound: a listener of the namespace matches port, family and address; outbound: none does and the port is ephemeral",
		Unknown: "neither, or UDP",
		Values:  []string{"inbound", "outbound"},
		Str:     func(r *Record) string { return factsOf(r).Direction },
		SetStr:  func(r *Record, v string) { r.facts().Direction = v },
	},
	{
		Field: FieldPublished, Name: "published", Type: TypeString, Cost: CostPublished, Source: engines + ", arguments of docker-proxy",
		Meaning: "of a socket in a container: the port of the host that leads to it, several with commas; of docker-proxy: address:port in the container; else \"\"",
		Unknown: noOwner + ", an engine does not say",
		Str:     func(r *Record) string { return factsOf(r).Published },
		SetStr:  func(r *Record, v string) { r.facts().Published = v },
	},
	{
		Field: FieldPeerPID, Name: "peer_pid", Type: TypeNumber, Cost: CostPeer, Source: otherEnd,
		Meaning: "process at the other end, 0 where that is not on this host or nobody holds it", Unknown: noPeer,
		Num:    func(r *Record) float64 { return float64(peerOf(r).PID) },
		SetNum: func(r *Record, v float64) { r.peer(v != 0).PID = int(v) },
	},
	{
		Field: FieldPeerProcess, Name: "peer_process", Type: TypeString, Cost: CostPeer, Source: otherEnd,
		Meaning: "name of the process at the other end, \"\" where that is not on this host or nobody holds it", Unknown: noPeer,
		Str:    func(r *Record) string { return peerOf(r).Name },
		SetStr: func(r *Record, v string) { r.peer(v != "").setName(v) },
	},
	{
		Field: FieldPeerContainer, Name: "peer_container", Type: TypeString, Cost: CostPeerContainer, Source: otherEnd + ", " + engines,
		Meaning: "container of the process at the other end, \"\" where there is none", Unknown: noPeer + ", an engine does not say",
		Str:    func(r *Record) string { return peerOf(r).ContainerName },
		SetStr: func(r *Record, v string) { r.peer(v != "").ContainerName = v },
	},
	{
		Field: FieldLocalAddrGone, Name: "local_addr_gone", Type: TypeBool, Cost: CostAddresses, Source: "rtnetlink",
		Meaning: "the local address is no longer one of the namespace: no interface and no local route has it",
		Unknown: "IP_TRANSPARENT, MPTCP, TIME_WAIT, SYN_RECV, FIN_WAIT2 orphans, /proc/net, unless the address is there",
		Bool:    func(r *Record) bool { return factsOf(r).LocalAddrGone },
		SetBool: func(r *Record, v bool) { r.facts().LocalAddrGone = v },
	},
}
