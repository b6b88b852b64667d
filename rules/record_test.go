package rules

import (
	"math"
	"net/netip"
	"strings"
	"testing"

	"sockwarden/collectors"
)

// allFields is the set of every field that there is.
func allFields() collectors.FieldSet {
	var all collectors.FieldSet
	for _, d := range collectors.AllFields() {
		all.Add(collectors.Fields(d.Field))
	}
	return all
}

// alwaysKnown are the fields without which there is no record.
var alwaysKnown = collectors.Fields(collectors.FieldState, collectors.FieldProtocol, collectors.FieldFamily,
	collectors.FieldLocalAddr, collectors.FieldPort, collectors.FieldRemoteAddr, collectors.FieldRemotePort)

func addr(text string) collectors.Addr { return collectors.AddrFrom(netip.MustParseAddr(text)) }

// leak is a fully known record: a CLOSE_WAIT of a dual-stack server, in this
// state for 61.5 seconds at least and an hour at most.
func leak() *collectors.Record {
	s := &collectors.Socket{
		Cookie: 0xc0ffee, Local: addr("::ffff:10.1.2.3"), Remote: addr("::ffff:203.0.113.9"), LocalPort: 21117, RemotePort: 51514,
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
		Known: allFields(), Socket: s, Owner: o, Host: "relay1",
		Namespace: &collectors.Namespace{Name: "host", Interfaces: map[uint32]string{2: "eth0"}},
		Facts: &collectors.Facts{
			Age:    collectors.Age{Min: 61.5, Max: 3600, Bounded: true, Source: collectors.AgeObserved},
			Owners: []collectors.Owner{*o}, Direction: "inbound", ListenerOwner: o, Complete: true,
		},
	}
}

// without returns leak with some fields unknown.
func without(fields ...collectors.Field) *collectors.Record {
	r := leak()
	r.Known.Remove(collectors.Fields(fields...))
	for _, f := range fields {
		if f == collectors.FieldAge {
			r.Facts.Age = collectors.NoAge()
		}
	}
	return r
}

// scopeOf returns the names that a file defines; the file must be good.
func scopeOf(t testing.TB, text string) *scope {
	t.Helper()
	var wrong problemList
	f := &rulesFile{reader: reader{src: newSource("rules.yaml", "version: 1\n"+text), problems: &wrong}}
	f.parse(testCatalog(), nil)
	sc := f.scope()
	if wrong.seen > 0 {
		t.Fatal(wrong.all())
	}
	sc.file.left = math.MaxInt // tests compile for ever
	return sc
}

// names is what the tables of the language use besides fields.
const definitions = `
vars:
  close_wait_timeout: 60
  ratio: 0.5
  negative: -5
  exclude_ports: [22]
  include_ports: []
  web: [80, 443, "8000-8099", "9000:9001"]
  quiet: true
  loud: False
  server: hbbs
  servers: [hbbs, hbbr]
  numbered: {value: ["80", nginx], type: strings}
  escalate: {value: term, one_of: [none, term, kill]}
  timeouts: {hbbs: 30, postgres: 600}
  spans: {hbbs: 5m, nginx: 1h30m, postgres: 90}
  words: {hbbs: relay, postgres: database}
  by_port: {21117: 10, 80: 20}
  nothing: {}
sets:
  tailnet: [100.64.0.0/10, "fd7a:115c:a1e0::/48"]
  peers: [203.0.113.0/24, 198.51.100.7]
  mapped: ["::ffff:203.0.113.0/120"]
  names: [nginx, hbbs]
  gaps: [1..3, 5, 7-9]
macros:
  hung: state == "CLOSE_WAIT" and age > close_wait_timeout
  local: port in rustdesk
  both: hung and local
  minute: 60
  list: "[80, 21115..21119]"
  who: process
  third: remote_addr in peers
  folded: include_ports == [] or port in include_ports
`

// eval compiles a condition in a scope, which must work, and asks it about r.
func eval(t testing.TB, sc *scope, text string, r *collectors.Record) Tri {
	t.Helper()
	return compiled(t, sc, text).Eval(r)
}

func compiled(t testing.TB, sc *scope, text string) *Cond {
	t.Helper()
	c, errs := compileCond(text, sc)
	if c == nil {
		var lines []string
		for _, e := range errs {
			lines = append(lines, e.message)
		}
		t.Fatalf("%s: %s", text, strings.Join(lines, "; "))
	}
	return c
}

// statesIn names the states of a mask.
func statesIn(m collectors.StateMask) []string {
	var in []string
	for _, name := range collectors.StateNames() {
		if s, _ := collectors.ParseState(name); m.Has(s) {
			in = append(in, name)
		}
	}
	return in
}

func fieldNamed(t testing.TB, name string) collectors.Field {
	t.Helper()
	f, ok := collectors.FieldByName(name)
	if !ok {
		t.Fatalf("no field %s", name)
	}
	return f
}
