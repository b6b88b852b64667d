package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"sockwarden/collectors"
)

// randomDefinitions is what random conditions use besides fields; plainNames
// says the same to expr.
const randomDefinitions = `
vars:
  limit: 60
  ratio: 0.5
  negative: -5
  yes_var: true
  no_var: false
  server: hbbs
  empty: []
  web: [80, 443, 8000..8099]
  servers: [hbbs, nginx]
  timeouts: {hbbs: 30, nginx: 1m}
  words: {hbbs: relay, nginx: web}
sets:
  tailnet: [100.64.0.0/10, "fd7a:115c:a1e0::/48"]
  everyone6: ["::/0"]
  mapped10: ["::ffff:10.0.0.0/104"]
  gaps: [1..3, 5, 7-9]
macros:
  hung: state == "CLOSE_WAIT" and age > limit
  local: port in rustdesk or remote_port in web
  both: hung or not local
  who: process
  listed: '[80, 21115..21119]'
`

// said is one expression twice: in the language of the rules, and in that of
// expr without anything of ours.
type said struct{ rules, plain string }

func same(text string) said { return said{text, text} }

func (s said) parens() said { return said{"(" + s.rules + ")", "(" + s.plain + ")"} }

// writer writes random conditions.
type writer struct{ *rand.Rand }

func pick[T any](w writer, from ...T) T { return from[w.IntN(len(from))] }

func (w writer) join(op string, parts ...said) said {
	var rules, plain []string
	for _, p := range parts {
		rules, plain = append(rules, p.rules), append(plain, p.plain)
	}
	return said{strings.Join(rules, op), strings.Join(plain, op)}
}

// condition writes a condition of at most the given depth.
func (w writer) condition(depth int) said {
	if depth == 0 || w.IntN(5) == 0 {
		return w.leaf()
	}
	a, b := w.condition(depth-1), w.condition(depth-1)
	switch w.IntN(9) {
	case 0, 1:
		return w.join(pick(w, " and ", " && ", "\n and "), a, b) // binds as it happens
	case 2, 3:
		return w.join(pick(w, " or ", " || "), a, b)
	case 4:
		return w.join(" and ", a.parens(), b.parens())
	case 5:
		return w.join(" or ", a.parens(), b.parens())
	case 6:
		return w.join(pick(w, " == ", " != "), a.parens(), b.parens())
	}
	n := pick(w, "not ", "!", "not not ")
	return said{n + a.parens().rules, n + a.parens().plain}
}

func (w writer) leaf() said {
	switch w.IntN(13) {
	case 0:
		return same(pick(w, "owned", "orphan", "unaccepted", "eof_read", "true", "false", "yes_var", "no_var"))
	case 1, 2:
		return w.numbers()
	case 3:
		return w.seconds()
	case 4, 5:
		return w.age()
	case 6, 7:
		return w.state()
	case 8:
		return w.enum()
	case 9:
		return w.strings()
	case 10:
		return w.addresses()
	case 11:
		return w.ports()
	}
	return w.named()
}

func (w writer) comparison() string { return pick(w, " == ", " != ", " < ", " <= ", " > ", " >= ") }

// number writes a number.
func (w writer) number(depth int) said {
	if depth > 0 && w.IntN(3) == 0 {
		return w.join(pick(w, " + ", " - ", " * "), w.number(depth-1).parens(), w.number(depth-1).parens())
	}
	switch w.IntN(4) {
	case 0:
		return same(pick(w, "0", "1", "2", "5", "60", "300", "0x10", "2.5", "1_000", "-5", "limit", "ratio", "negative"))
	case 1:
		key := pick(w, "process", "user", `"hbbs"`)
		def := pick(w, "45", "60")
		return said{fmt.Sprintf("lookup(timeouts, %s, %s)", key, def), fmt.Sprintf("(%[1]s in timeouts ? timeouts[%[1]s] : %[2]s)", key, def)}
	}
	return same(pick(w, "recv_queue", "send_queue", "retransmits", "backoff", "unacked", "lost", "bytes_sent", "bytes_received",
		"inode", "uid", "pid", "owners", "fds", "fd_limit", "rtt", "rto", "port", "remote_port", "idle"))
}

func (w writer) numbers() said {
	a := w.join(" + ", same(pick(w, "recv_queue", "pid", "fds", "rtt")), w.number(1).parens())
	if w.IntN(4) == 0 {
		op := pick(w, " < ", " <= ")
		return said{a.rules + op + "port" + op + "9000", a.plain + op + "port" + op + "9000"}
	}
	return w.join(w.comparison(), a, w.number(2).parens())
}

// seconds compares a time with a duration.
func (w writer) seconds() said {
	field := same(pick(w, "idle", "idle_recv", "idle_send", "ack_idle", "process_age", "timer_expires", "age_max"))
	d := w.duration()
	if w.IntN(3) == 0 {
		field, d = d, field
	}
	return w.join(w.comparison(), field, d)
}

func (w writer) duration() said {
	return pick(w, same("60"), same("1.5"), same("0"), said{`"1m"`, "60"}, said{`"90s"`, "90"}, said{`"1h"`, "3600"}, said{`"1d"`, "86400"},
		said{`"1500ms"`, "1.5"}, said{`"2m30s"`, "150"}, said{`"30"`, "30"})
}

func (w writer) age() said {
	age, d := same("age"), w.duration()
	if w.IntN(3) == 0 {
		d = pick(w, w.number(0), same("idle"))
		for strings.Contains(d.rules, "port") {
			d = w.number(0)
		}
	}
	if w.IntN(3) == 0 {
		age, d = d, age
	}
	return w.join(pick(w, " < ", " <= ", " > ", " >= "), age, d)
}

// spell writes a state in one of the ways in which people do.
func (w writer) spell(state string) string {
	switch w.IntN(4) {
	case 0:
		return strings.ToLower(state)
	case 1:
		return strings.ReplaceAll(state, "_", "-")
	case 2:
		return map[string]string{"ESTABLISHED": "ESTAB", "FIN_WAIT1": "fin-wait-1", "LISTEN": "LISTENING", "CLOSE": "UNCONN"}[state]
	}
	return state
}

func (w writer) state() said {
	name := func() said {
		state := pick(w, collectors.StateNames()...)
		spelled := w.spell(state)
		if spelled == "" {
			spelled = state
		}
		return said{fmt.Sprintf("%q", spelled), fmt.Sprintf("%q", state)}
	}
	a, b, c := name(), name(), name()
	switch w.IntN(4) {
	case 0:
		op := pick(w, " in ", " not in ")
		return said{fmt.Sprintf("state%s[%s, %s, %s]", op, a.rules, b.rules, c.rules), fmt.Sprintf("state%s[%s, %s, %s]", op, a.plain, b.plain, c.plain)}
	case 1:
		return w.join(pick(w, " == ", " != "), a, same("state"))
	}
	return w.join(pick(w, " == ", " != "), same("state"), a)
}

func (w writer) enum() said {
	of := func(field string, values ...string) said {
		v := pick(w, values...)
		spelled := pick(w, v, strings.ToUpper(v))
		if w.IntN(4) == 0 {
			op := pick(w, " in ", " not in ")
			return said{fmt.Sprintf("%s%s[%q, %q]", field, op, spelled, values[0]), fmt.Sprintf("%s%s[%q, %q]", field, op, v, values[0])}
		}
		op := pick(w, " == ", " != ")
		return said{fmt.Sprintf("%s%s%q", field, op, spelled), fmt.Sprintf("%s%s%q", field, op, v)}
	}
	switch w.IntN(7) {
	case 0:
		return of("family", "ipv4", "ipv6")
	case 1:
		return of("timer", "none", "retransmit", "keepalive", "timewait", "probe")
	case 2:
		return of("direction", "inbound", "outbound")
	case 3:
		return of("age_source", "observed", "tcp_info", "timer", "none")
	}
	return of("protocol", "tcp", "udp")
}

func (w writer) text() said {
	switch w.IntN(5) {
	case 0:
		return same(pick(w, `"hbbs"`, `"nginx"`, `""`, `"b"`, "server"))
	case 1:
		return said{`lookup(words, process, "none")`, `(process in words ? words[process] : "none")`}
	}
	return same(pick(w, "process", "user", "exe", "unit", "listener_process", "cmdline", "cgroup", "interface", "netns", "host", "cookie", "container_id"))
}

func (w writer) strings() said {
	switch w.IntN(4) {
	case 0:
		op := pick(w, " matches ", " not matches ")
		pattern := pick(w, `"^h"`, `"b+s?$"`, `"(?i)NGINX"`, `"^$"`, "server")
		t := w.text()
		return said{t.rules + op + pattern, t.plain + op + pattern}
	case 1:
		op := pick(w, " in ", " not in ")
		list := pick(w, said{`["hbbs", "nginx"]`, `["hbbs", "nginx"]`}, said{"servers", `["hbbs", "nginx"]`}, said{`["hbbs"]`, `["hbbs"]`}, said{"[]", "[]"}, said{"empty", "[]"})
		t := pick(w, "process", "user", "listener_process", "who")
		return said{t + op + list.rules, strings.Replace(t, "who", "process", 1) + op + list.plain}
	}
	return w.join(pick(w, " == ", " != ", " contains ", " startsWith ", " endsWith ", " not contains ", " not startsWith "), w.text(), w.text())
}

func (w writer) addresses() said {
	field := pick(w, "local_addr", "remote_addr")
	switch w.IntN(4) {
	case 0:
		a := pick(w, "10.1.2.3", "::ffff:10.1.2.3", "203.0.113.9", "fd7a:115c:a1e0::1", "::1")
		op := pick(w, " == ", " != ")
		plain := fmt.Sprintf("same(%s, %q)", field, a)
		if op == " != " {
			plain = "not " + plain
		}
		return said{fmt.Sprintf("%s%s%q", field, op, a), plain}
	case 1:
		return said{field + " in tailnet", fmt.Sprintf(`inside(%[1]s, "100.64.0.0/10") or inside(%[1]s, "fd7a:115c:a1e0::/48")`, field)}.parens()
	case 2:
		return said{"local_addr != remote_addr", "not equal(local_addr, remote_addr)"}
	}
	p := pick(w, "10.0.0.0/8", "203.0.113.8/31", "::/0", "0.0.0.0/0", "fd00::/8", "100.64.0.0/10", "10.1.2.3/32", "::ffff:0.0.0.0/96",
		"::/80", "::/95", "::ffff:0:0/90", "::ffff:10.0.0.0/104", "::ffff:203.0.113.9/128", "::/128", "0.0.0.0/32", "everyone6", "mapped10")
	if named := map[string]string{"everyone6": "::/0", "mapped10": "::ffff:10.0.0.0/104"}[p]; named != "" {
		return said{field + " in " + p, fmt.Sprintf("inside(%s, %q)", field, named)}
	}
	if w.IntN(2) == 0 {
		return said{fmt.Sprintf("%s not in [%q]", field, p), fmt.Sprintf("not inside(%s, %q)", field, p)}
	}
	return said{fmt.Sprintf(`%s in [%q, "192.0.2.0/24"]`, field, p), fmt.Sprintf(`(inside(%[1]s, %[2]q) or inside(%[1]s, "192.0.2.0/24"))`, field, p)}
}

func (w writer) ports() said {
	field := pick(w, "port", "local_port", "remote_port")
	own := strings.Replace(field, "local_", "", 1)
	if w.IntN(3) == 0 {
		op, n := w.comparison(), pick(w, "0", "22", "80", "443", "21117", "51514", "65535", "remote_port", "port")
		return said{field + op + n, own + op + n}
	}
	list := pick(w, said{"rustdesk", "% in 21115..21119"}, said{"[80, 21115..21119]", "(% in [80] or % in 21115..21119)"}, said{"21115..21119", "% in 21115..21119"},
		said{"[22]", "% in [22]"}, said{"web", "(% in [80, 443] or % in 8000..8099)"}, said{"[]", "% in []"}, said{"empty", "% in []"}, said{"listed", "(% in [80] or % in 21115..21119)"},
		said{"1..65535", "% in 1..65535"}, said{"gaps", "% in [1, 2, 3, 5, 7, 8, 9]"})
	plain := strings.ReplaceAll(list.plain, "%", own)
	if w.IntN(3) == 0 {
		return said{field + " not in " + list.rules, "not (" + plain + ")"}
	}
	return said{field + " in " + list.rules, "(" + plain + ")"}
}

// named uses macros, known() and comparisons with an empty list.
func (w writer) named() said {
	const (
		hung  = `(state == "CLOSE_WAIT" and age > 60)`
		local = `(port in 21115..21119 or (remote_port in [80, 443] or remote_port in 8000..8099))`
	)
	field := pick(w, "process", "age", "port", "rtt", "direction", "owners")
	return pick(w, said{"hung", hung}, said{"local", local}, said{"both", "(" + hung + " or not " + local + ")"}, said{"known(" + field + ")", "true"},
		said{"empty == []", "true"}, said{"web != []", "true"}, said{"(empty == [] or port in empty)", "true"}, said{"known(" + field + ") and known(uid)", "true"},
		said{"uid in gaps", "(uid in [1, 2, 3, 5, 7, 8, 9])"}, said{"uid in [0, 1000..2000]", "(uid == 0 or 1000 <= uid <= 2000)"})
}

// randomRecord returns a record of which everything is known.
func randomRecord(w writer) *collectors.Record {
	addresses := []string{"10.1.2.3", "203.0.113.9", "203.0.113.8", "100.64.3.4", "fd7a:115c:a1e0::1", "::1", "192.0.2.77", "2001:db8::5", "0.0.0.0", "::", "::fffe:a01:203"}
	states := collectors.StateNames()
	state, _ := collectors.ParseState(pick(w, states...))
	port := func() uint16 { return pick[uint16](w, 0, 1, 5, 22, 80, 443, 8050, 21115, 21117, 21120, 51514, 65535) }
	small := func() uint32 { return pick[uint32](w, 0, 1, 2, 3, 5, 60, 300, 1000, 60_000, 90_000, 1500) }
	s := &collectors.Socket{
		Cookie: w.Uint64N(20), Local: addr(pick(w, addresses...)), Remote: addr(pick(w, addresses...)), LocalPort: port(), RemotePort: port(),
		Protocol: pick(w, collectors.TCP, collectors.TCP, collectors.UDP), Family: pick(w, collectors.IPv4, collectors.IPv6), State: state,
		Timer: collectors.Timer(w.IntN(5)), TimerExpires: small(), Inode: small(), UID: pick[uint32](w, 0, 5, 1000, 65534), IfIndex: uint32(w.IntN(3)),
		RecvQueue: small(), SendQueue: small(), Retransmits: uint8(w.IntN(4)),
		Info: collectors.TCPInfo{
			LastDataRecv: small(), LastDataSent: small(), LastAckRecv: small(), RTT: small(), RTO: small(), Unacked: small(), Lost: small(),
			Backoff: uint8(w.IntN(4)), BytesSent: uint64(small()), BytesReceived: uint64(small()),
		},
	}
	o := &collectors.Owner{
		PID: w.IntN(4), Age: float64(small()), FDs: int(small()), FDLimit: uint64(small()), Name: pick(w, "hbbs", "nginx", "bash", ""),
		Exe: pick(w, "/usr/bin/hbbs", ""), Cmdline: pick(w, "hbbs -r relay", "nginx"), User: pick(w, "root", "hbbs"), Cgroup: pick(w, "/x", ""), Unit: pick(w, "hbbs", ""),
		Container: pick(w, "b", ""), ContainerName: pick(w, "b", ""),
	}
	age := float64(small())
	return &collectors.Record{
		Known: allFields(), Socket: s, Owner: o, Host: pick(w, "relay1", "b"),
		Namespace: &collectors.Namespace{Name: "host", Interfaces: map[uint32]string{1: "lo", 2: "b"}},
		Facts: &collectors.Facts{
			Age:    collectors.Age{Min: age, Max: age, Bounded: true, Source: pick(w, collectors.AgeObserved, collectors.AgeTimer, collectors.AgeNone)},
			Owners: make([]collectors.Owner, w.IntN(3)), Direction: pick(w, "inbound", "outbound"), ListenerOwner: &collectors.Owner{Name: pick(w, "hbbs", "")}, Complete: true,
		},
	}
}
