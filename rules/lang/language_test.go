package lang

import (
	"fmt"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/rules/lang/langtest"
)

// TestKnown has a condition for every construct of the language and says whether it holds
// for langtest.Leak(), of which everything is known.
func TestKnown(t *testing.T) {
	sc := scopeOf(t, langtest.Definitions)
	tests := []struct {
		text string
		want bool
	}{
		// the example of the design
		{`state == "CLOSE_WAIT" && age > 60 && port in rustdesk`, true},
		// literals and constants
		{`true`, true},
		{`false`, false},
		{`1 < 2`, true},
		{`0x10 == 16 and 0b11 == 3 and 0o17 == 15 and 1_000 == 1000`, true},
		{`"a" == 'a' and 'a' == ` + "`a`", true},
		{`"a" != "b"`, true},
		{`1.5 > 1 and .5 < 1 and 1e3 == 1000`, true},
		{`true == false`, false},
		{`5 in [1..3, 5]`, true},
		// comparisons of numbers
		{`recv_queue == 1`, true},
		{`recv_queue != 1`, false},
		{`1 == recv_queue`, true},
		{`recv_queue < 1`, false},
		{`recv_queue <= 1`, true},
		{`recv_queue >= 1`, true},
		{`recv_queue > 1`, false},
		{`1 < send_queue`, true},
		{`300 <= send_queue`, true},
		{`301 > send_queue`, true},
		{`300 >= send_queue`, true},
		{`300 != send_queue`, false},
		{`fds < fd_limit`, true},
		{`fd_limit < fds`, false},
		{`port == local_port`, true},
		{`port != remote_port`, true},
		{`inode == 4242 and uid == 1000 and pid == 1874 and owners == 1`, true},
		{`uid > negative`, true},
		{`80 < port < 30000`, true},
		{`80 < port < 90`, false},
		{`30000 > port > 80`, true},
		{`21115 <= port <= 21119`, true},
		{`1 < recv_queue + 1 < 3 < 4`, true},
		// seconds and durations
		{`idle == 300`, true},
		{`idle == "5m"`, true},
		{`"5m" == idle`, true},
		{`idle >= "300s"`, true},
		{`idle > "4m59s"`, true},
		{`idle < "1d"`, true},
		{`idle_recv == 300 and idle_send == 400`, true},
		{`ack_idle == 1.5`, true},
		{`ack_idle == "1500ms"`, true},
		{`rtt == 0.025 and rtt == "25ms"`, true},
		{`process_age == "1d" and process_age == "24h"`, true},
		{`timer_expires > "7s" and timer_expires < "7.3s"`, true},
		{`idle > ack_idle`, true},
		{`age_max == "1h"`, true},
		{`minute * 5 == idle`, true},
		// arithmetic
		{`recv_queue + send_queue == 301`, true},
		{`send_queue - recv_queue == 299`, true},
		{`send_queue * 2 > 599`, true},
		{`fds * 10 > fd_limit * 9`, true},
		{`fds > fd_limit * ratio`, true},
		{`2 + 3 * 4 == 14`, true},
		{`(2 + 3) * 4 == 20`, true},
		{`0 - 5 == -5 and -5 == negative and +5 == 5`, true},
		{`idle * 2 == "10m"`, true},
		{`idle == "1m" * 5 and idle < "4m" + 61 and idle == 2 * "2m" + "1m"`, true},
		{`age > "10s" * 2`, true},
		{`port + 1 == 21118`, true},
		{`port * 10 == 211170`, true},
		{`10 - 3 - 2 == 5`, true},
		// and, or, not
		{`owned and not orphan`, true},
		{`owned && !orphan`, true},
		{`orphan or owned`, true},
		{`orphan || unaccepted`, false},
		{`not (owned and orphan)`, true},
		{`not not owned`, true},
		{`!!orphan`, false},
		{`not orphan == true`, true},
		{`orphan or owned and false`, false},
		{`(orphan or owned) and true`, true},
		{`true or owned`, true},
		{`not true`, false},
		// conditions compared
		{`owned == true`, true},
		{`true != owned`, false},
		{`owned != orphan`, true},
		{`(port == 80) == (remote_port == 80)`, true},
		{`quiet and not loud`, true},
		{`eof_read`, false},
		// strings
		{`process == "hbbs"`, true},
		{`"hbbs" == process`, true},
		{`process != "nginx"`, true},
		{`process == "HBBS"`, false},
		{`process == server`, true},
		{`process == listener_process`, true},
		{`process != user`, true},
		{`exe startsWith "/usr/"`, true},
		{`exe endsWith process`, true},
		{`cmdline contains "relay"`, true},
		{`cmdline contains "Relay"`, false},
		{`process not contains "x"`, true},
		{`process not startsWith "h"`, false},
		{`process not endsWith "s"`, false},
		{`process matches "^hbb[sr]$"`, true},
		{`process matches "BB"`, false},
		{`process matches "(?i)BB"`, true},
		{`process not matches "^hbb[sr]$"`, false},
		{`cmdline matches server`, true},
		{`"hbbs" contains "b"`, true},
		{`"hbbs" matches "^b"`, false},
		{`cookie == "c0ffee"`, true},
		{`unit == "hbbs.service" and container_id == "" and cgroup contains "system.slice"`, true},
		{`interface == "eth0" and netns == "host" and host == "relay1"`, true},
		{`user in ["rustdesk", "root"]`, true},
		{`state contains "WAIT"`, true},
		// states and the other fields of few values
		{`state == "CLOSE-WAIT"`, true},
		{`state == "close wait"`, true},
		{`state == "close_wait"`, true},
		{`"Close-Wait" == state`, true},
		{`state != "LISTEN"`, true},
		{`state in ["estab", "close-wait"]`, true},
		{`state not in ["ESTABLISHED", "LISTEN"]`, true},
		{`state in ["FIN_WAIT1", "FIN-WAIT-2"]`, false},
		{`protocol == "TCP"`, true},
		{`protocol != "udp"`, true},
		{`protocol in ["udp"]`, false},
		{`family == "ipv4"`, true},
		{`timer == "Keepalive"`, true},
		{`timer in ["none", "keepalive"]`, true},
		{`direction == "inbound"`, true},
		{`age_source == "observed"`, true},
		{`age_source != "event"`, true},
		// in
		{`port in rustdesk`, true},
		{`port not in rustdesk`, false},
		{`not (port in rustdesk)`, false},
		{`port in [80, 21115..21119]`, true},
		{`port in [80, 21115..21116]`, false},
		{`port in 21115..21119`, true},
		{`port in 1..21116`, false},
		{`port in [21117]`, true},
		{`port in exclude_ports`, false},
		{`remote_port in rustdesk`, false},
		{`port in []`, false},
		{`port not in []`, true},
		{`process in []`, false},
		{`port in include_ports`, false},
		{`uid in [0, 1000..2000]`, true},
		{`send_queue in [100..200, 300]`, true},
		{`send_queue in gaps`, false},
		{`recv_queue in gaps`, true},
		{`recv_queue + 5 in gaps`, false},
		{`recv_queue + 6 in gaps`, true},
		{`recv_queue * 1.5 in [1..2]`, false}, // whole numbers
		{`recv_queue * 1.5 in [1..70000]`, false},
		{`recv_queue * 2.0 in [1..70000]`, true},
		{`process in ["nginx", "hbbs"]`, true},
		{`process in servers and process in names`, true},
		{`process in numbered`, false},
		{`process not in ["nginx"]`, true},
		{`recv_queue in [1] and recv_queue not in [2]`, true},
		{`list == []`, false},
		{`include_ports == []`, true},
		{`[] == include_ports`, true},
		{`exclude_ports != []`, true},
		{`exclude_ports == []`, false},
		{`[] == []`, true},
		{`port in list`, true},
		// addresses; mapped ones are IPv4
		{`local_addr in ["10.0.0.0/8"]`, true},
		{`local_addr in ["10.1.2.3"]`, true},
		{`local_addr in ["::/0"]`, false}, // IPv6 only
		{`local_addr in ["::/80"]`, false},
		{`local_addr in ["::ffff:0:0/95"]`, false},
		{`local_addr in ["::ffff:0:0/96"]`, true},
		{`local_addr in ["::/0", "0.0.0.0/0"]`, true},
		{`local_addr not in ["::/0"]`, true},
		{`local_addr in ["0.0.0.0/0"]`, true},
		{`local_addr in ["fe80::/10", "10.1.2.0/24"]`, true},
		{`local_addr in ["11.0.0.0/8"]`, false},
		{`local_addr in ["::ffff:10.0.0.0/104"]`, true},
		{`local_addr == "10.1.2.3"`, true},
		{`local_addr == "::ffff:10.1.2.3"`, true},
		{`"10.1.2.3" == local_addr`, true},
		{`local_addr != "10.1.2.4"`, true},
		{`local_addr != remote_addr`, true},
		{`remote_addr in peers`, true},
		{`remote_addr in mapped`, true},
		{`remote_addr not in tailnet`, true},
		{`remote_addr in ["203.0.113.8/31"]`, true},
		{`remote_addr in ["203.0.113.10/31"]`, false},
		{`remote_addr in ["203.0.113.77/24"]`, true},
		// known and lookup
		{`known(process)`, true},
		{`not known(age)`, false},
		{`known(local_port)`, true},
		{`lookup(timeouts, process, 60) == 30`, true},
		{`lookup(timeouts, user, 60) == 60`, true},
		{`lookup(timeouts, "postgres", 60) == 600`, true},
		{`lookup(timeouts, process, "1m") == 30`, true},
		{`lookup(spans, process, 60) == 300`, true},
		{`lookup(spans, process, 60) == "5m"`, true},
		{`lookup(spans, user, "90s") == "1m30s"`, true},
		{`lookup(words, process, "none") == "relay"`, true},
		{`lookup(words, user, "none") == "none"`, true},
		{`lookup(by_port, port, 0) == 10`, true},
		{`lookup(by_port, remote_port, 5) == 5`, true},
		{`lookup(by_port, recv_queue + 79, 0) == 20`, true},
		{`lookup(nothing, process, 7) == 7`, true},
		{`lookup(nothing, process, "x") == "x"`, true},
		{`idle > lookup(timeouts, process, 60) * 2`, true},
		// macros
		{`hung`, true},
		{`not hung`, false},
		{`both and third`, true},
		{`who == "hbbs"`, true},
		{`who in ["hbbs"]`, true},
		{`age > minute`, true},
		{`folded`, true},
		// comments
		{`owned /* and orphan */`, true},
		{"owned\n  and\n  not orphan", true},
		{`process != "//"`, true},
	}
	r := langtest.Leak()
	for _, tt := range tests {
		if got := eval(t, sc, tt.text, r); got != triOf(tt.want) {
			t.Errorf("%s is %v, want %v", tt.text, got, tt.want)
		}
	}
}

// TestUnknown has conditions on records with one unknown field.
func TestUnknown(t *testing.T) {
	sc := scopeOf(t, langtest.Definitions)
	tests := []struct {
		text  string
		field collectors.Field
		want  Tri
	}{
		// the owner exists but cannot be read
		{`process == "nginx"`, collectors.FieldProcess, Unknown},
		{`process != "nginx"`, collectors.FieldProcess, Unknown},
		{`not (process == "nginx")`, collectors.FieldProcess, Unknown},
		{`process in ["nginx"]`, collectors.FieldProcess, Unknown},
		{`process not in ["nginx"]`, collectors.FieldProcess, Unknown},
		{`process == user`, collectors.FieldProcess, Unknown},
		{`user == process`, collectors.FieldProcess, Unknown},
		{`process contains ""`, collectors.FieldProcess, Unknown},
		{`process matches ".*"`, collectors.FieldProcess, Unknown},
		{`user startsWith process`, collectors.FieldProcess, Unknown},
		{`lookup(timeouts, process, 60) > 0`, collectors.FieldProcess, Unknown},
		{`lookup(words, process, "x") == "x"`, collectors.FieldProcess, Unknown},
		{`lookup(nothing, process, 60) == 60`, collectors.FieldProcess, Unknown},
		{`lookup(by_port, pid, 60) > 0`, collectors.FieldPID, Unknown},
		{`idle > lookup(timeouts, process, 60)`, collectors.FieldProcess, Unknown},
		{`age > lookup(timeouts, process, 60)`, collectors.FieldProcess, Unknown},
		{`pid > 0`, collectors.FieldPID, Unknown},
		{`pid >= 0`, collectors.FieldPID, Unknown},
		{`pid * 0 == 0`, collectors.FieldPID, Unknown},
		{`pid + 1 > 0`, collectors.FieldPID, Unknown},
		{`1 - pid < 2`, collectors.FieldPID, Unknown},
		{`pid == pid`, collectors.FieldPID, Unknown},
		{`pid < uid < 5`, collectors.FieldPID, False},
		{`pid in [1..99]`, collectors.FieldPID, Unknown},
		{`uid == 1000`, collectors.FieldUID, Unknown},
		{`idle > 60`, collectors.FieldIdle, Unknown},
		{`idle <= "1h"`, collectors.FieldIdle, Unknown},
		{`owned == orphan`, collectors.FieldOwned, Unknown},
		{`owned`, collectors.FieldOwned, Unknown},
		{`not owned`, collectors.FieldOwned, Unknown},
		{`direction == "inbound"`, collectors.FieldDirection, Unknown},
		{`direction != "inbound"`, collectors.FieldDirection, Unknown},
		{`direction in ["inbound", "outbound"]`, collectors.FieldDirection, Unknown},
		{`remote_addr in peers`, collectors.FieldRemoteAddr, Unknown},
		{`remote_addr != local_addr`, collectors.FieldRemoteAddr, Unknown},
		{`remote_addr == "10.0.0.1"`, collectors.FieldRemoteAddr, Unknown},
		{`remote_addr != "10.0.0.1"`, collectors.FieldRemoteAddr, Unknown},
		{`who == "hbbs"`, collectors.FieldProcess, Unknown},
		// the rest decides alone
		{`process != "nginx" and port == 80`, collectors.FieldProcess, False},
		{`port == 80 and process != "nginx"`, collectors.FieldProcess, False},
		{`process == "nginx" or port == 21117`, collectors.FieldProcess, True},
		{`port == 21117 or process == "nginx"`, collectors.FieldProcess, True},
		{`process == "nginx" and port == 21117`, collectors.FieldProcess, Unknown},
		{`process == "nginx" or port == 80`, collectors.FieldProcess, Unknown},
		{`process == "a" and process == "b"`, collectors.FieldProcess, Unknown},
		// nothing is in an empty list, whether known or not
		{`process in []`, collectors.FieldProcess, False},
		{`process not in []`, collectors.FieldProcess, True},
		{`port in include_ports`, collectors.FieldPort, False},
		{`true or process == "x"`, collectors.FieldProcess, True},
		{`false and process == "x"`, collectors.FieldProcess, False},
		// known itself is always known after looking
		{`known(process)`, collectors.FieldProcess, False},
		{`not known(process)`, collectors.FieldProcess, True},
		{`known(process) and process == "hbbs"`, collectors.FieldProcess, False},
		{`not known(process) or process != "nginx"`, collectors.FieldProcess, True},
		{`known(user)`, collectors.FieldProcess, True},
	}
	for _, tt := range tests {
		if got := eval(t, sc, tt.text, langtest.Without(tt.field)); got != tt.want {
			t.Errorf("without %s: %s is %v, want %v", tt.field, tt.text, got, tt.want)
		}
	}
}

// TestKnownBeforeLooking: until owners have been looked for, known() cannot say that
// nobody knows them.
func TestKnownBeforeLooking(t *testing.T) {
	sc := scopeOf(t, "")
	r := langtest.Without(collectors.FieldProcess)
	r.Facts.Complete = false
	for text, want := range map[string]Tri{`known(process)`: Unknown, `not known(process)`: Unknown, `known(port)`: True} {
		if got := eval(t, sc, text, r); got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
	r.Facts = nil
	if got := eval(t, sc, `known(process)`, r); got != Unknown {
		t.Errorf("without facts known(process) is %v", got)
	}
	if got := eval(t, sc, `age > 1`, r); got != Unknown {
		t.Errorf("without facts age > 1 is %v", got)
	}
}

// TestNoOwner: "known to have no owner" is not unknown.
func TestNoOwner(t *testing.T) {
	sc := scopeOf(t, "")
	r := langtest.Leak()
	r.Owner, r.Facts.Owners, r.Socket.Inode, r.Socket.State = nil, nil, 0, collectors.FinWait1
	for text, want := range map[string]Tri{
		`owned == false`: True, `process == ""`: True, `pid == 0`: True, `orphan`: True, `owners == 0`: True,
		`process != "nginx"`: True, `eof_read`: False, `unaccepted`: False,
	} {
		if got := eval(t, sc, text, r); got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
}

func TestKleene(t *testing.T) {
	sc := scopeOf(t, "")
	// Three conditions, one of each truth value.
	values := map[Tri]string{True: "owned", False: "orphan", Unknown: "unaccepted"}
	all := []Tri{Unknown, False, True}
	r := langtest.Without(collectors.FieldUnaccepted)
	for v, text := range values {
		if got := eval(t, sc, text, r); got != v {
			t.Fatalf("%s is %v", text, got)
		}
	}
	rank := map[Tri]int{False: 0, Unknown: 1, True: 2}
	of := map[int]Tri{0: False, 1: Unknown, 2: True}
	for _, a := range all {
		if got, want := eval(t, sc, "not "+values[a], r), of[2-rank[a]]; got != want {
			t.Errorf("not %v is %v, want %v", a, got, want)
		}
		for _, b := range all {
			for op, want := range map[string]Tri{"and": of[min(rank[a], rank[b])], "or": of[max(rank[a], rank[b])]} {
				if got := eval(t, sc, values[a]+" "+op+" "+values[b], r); got != want {
					t.Errorf("%v %s %v is %v, want %v", a, op, b, got, want)
				}
			}
			deMorgan := fmt.Sprintf("(not (%[1]s and %[2]s)) == (not %[1]s or not %[2]s)", values[a], values[b])
			if got := eval(t, sc, deMorgan, r); got == False {
				t.Errorf("%s is false", deMorgan)
			}
			equal := triOf(a == b)
			if a == Unknown || b == Unknown {
				equal = Unknown
			}
			if got := eval(t, sc, values[a]+" == "+values[b], r); got != equal {
				t.Errorf("%v == %v is %v, want %v", a, b, got, equal)
			}
			if got := eval(t, sc, values[a]+" != "+values[b], r); got != equal.not() {
				t.Errorf("%v != %v is %v, want %v", a, b, got, equal.not())
			}
		}
	}
}

// TestAge: age is the interval [age, age_max].
func TestAge(t *testing.T) {
	sc := scopeOf(t, langtest.Definitions)
	bounded := collectors.Age{Min: 50, Max: 70, Bounded: true}
	open := collectors.Age{Min: 50}
	exact := collectors.Age{Min: 60, Max: 60, Bounded: true}
	tests := []struct {
		age  collectors.Age
		text string
		want Tri
	}{
		{bounded, `age > 49`, True},
		{bounded, `age > 50`, Unknown},
		{bounded, `age > 69.9`, Unknown},
		{bounded, `age > 70`, False},
		{bounded, `age >= 50`, True},
		{bounded, `age >= 50.1`, Unknown},
		{bounded, `age >= 70`, Unknown},
		{bounded, `age >= 70.1`, False},
		{bounded, `age < 50`, False},
		{bounded, `age < 50.1`, Unknown},
		{bounded, `age < 70`, Unknown},
		{bounded, `age < 70.1`, True},
		{bounded, `age <= 49.9`, False},
		{bounded, `age <= 50`, Unknown},
		{bounded, `age <= 69.9`, Unknown},
		{bounded, `age <= 70`, True},
		// the other way round
		{bounded, `49 < age`, True},
		{bounded, `50 < age`, Unknown},
		{bounded, `70 < age`, False},
		{bounded, `50 <= age`, True},
		{bounded, `70.1 <= age`, False},
		{bounded, `50 > age`, False},
		{bounded, `70.1 > age`, True},
		{bounded, `49.9 >= age`, False},
		{bounded, `70 >= age`, True},
		// negations
		{bounded, `not (age > 49)`, False},
		{bounded, `not (age > 70)`, True},
		{bounded, `not (age > 60)`, Unknown},
		// without an upper bound
		{open, `age > 49`, True},
		{open, `age > 50`, Unknown},
		{open, `age > 1000000`, Unknown},
		{open, `age < 50`, False},
		{open, `age <= 50`, Unknown},
		{open, `age < 1000000`, Unknown},
		// exactly known
		{exact, `age > 60`, False},
		{exact, `age >= 60`, True},
		{exact, `age < 60`, False},
		{exact, `age <= 60`, True},
		// nothing known
		{collectors.NoAge(), `age > 60`, Unknown},
		{collectors.NoAge(), `age < 60`, Unknown},
		{collectors.NoAge(), `age >= 0`, True},
		{collectors.NoAge(), `age < 0`, False},
		// durations, variables, maps, fields
		{bounded, `age > "49s"`, True},
		{bounded, `age > "1m10s"`, False},
		{bounded, `"1m" < age`, Unknown},
		{bounded, `"40" < age`, True},
		{bounded, `age > close_wait_timeout`, Unknown},
		{bounded, `age > close_wait_timeout * 2`, False},
		{bounded, `age > lookup(timeouts, process, 60)`, True},
		{bounded, `age > lookup(timeouts, user, 60)`, Unknown},
		{bounded, `lookup(timeouts, user, "49s") < age`, True},
		{bounded, `age > lookup(spans, process, 60)`, False},
		{bounded, `age > idle`, False},
		{bounded, `idle > age`, True},
		{bounded, `age > negative`, True},
		{bounded, `40 < age < 80`, True},
		{bounded, `40 < age < 60`, Unknown},
		{bounded, `75 < age < 80`, False},
	}
	for _, tt := range tests {
		r := langtest.Leak()
		r.Facts.Age = tt.age
		if got := eval(t, sc, tt.text, r); got != tt.want {
			t.Errorf("of %+v, %s is %v, want %v", tt.age, tt.text, got, tt.want)
		}
	}
}

// TestStateNames: every state, in the spelling of the kernel, netstat and ss.
func TestStateNames(t *testing.T) {
	sc := scopeOf(t, "")
	spellings := map[collectors.State][]string{
		collectors.Established: {"ESTABLISHED", "established", "ESTAB", "estab"},
		collectors.SynSent:     {"SYN_SENT", "SYN-SENT", "syn-sent"},
		collectors.SynRecv:     {"SYN_RECV", "SYN-RECV", "SYN_RCVD", "syn-received"},
		collectors.FinWait1:    {"FIN_WAIT1", "FIN-WAIT-1", "fin_wait_1"},
		collectors.FinWait2:    {"FIN_WAIT2", "FIN-WAIT-2", "fin wait 2"},
		collectors.TimeWait:    {"TIME_WAIT", "TIME-WAIT", " time_wait "},
		collectors.Close:       {"CLOSE", "UNCONN", "closed"},
		collectors.CloseWait:   {"CLOSE_WAIT", "CLOSE-WAIT"},
		collectors.LastAck:     {"LAST_ACK", "LAST-ACK"},
		collectors.Listen:      {"LISTEN", "LISTENING", "listen"},
		collectors.Closing:     {"CLOSING", "closing"},
	}
	r := langtest.Leak()
	for state, names := range spellings {
		for _, name := range names {
			c := compiled(t, sc, fmt.Sprintf("state == %q", name))
			for s := range spellings {
				r.Socket.State = s
				if got := c.Eval(r); got != triOf(s == state) {
					t.Errorf("state == %q of %v is %v", name, s, got)
				}
			}
		}
	}
	if len(spellings) != len(collectors.StateNames()) {
		t.Errorf("%d states of %d", len(spellings), len(collectors.StateNames()))
	}
}

// TestFields: every field can be read under each of its names, is unknown when it is not
// known, and counts as read.
func TestFields(t *testing.T) {
	sc := scopeOf(t, "")
	forms := map[collectors.Type]string{
		collectors.TypeBool: "%s == %[1]s", collectors.TypeNumber: "%s >= 0 - 1", collectors.TypeSeconds: "%s >= 0",
		collectors.TypePort: "%s <= 65535", collectors.TypeString: "%s contains \"\"", collectors.TypeAddr: `%s in ["::/0", "0.0.0.0/0"]`,
	}
	for _, d := range collectors.AllFields() {
		for _, name := range append([]string{d.Name}, d.Aliases...) {
			text := strings.ReplaceAll(forms[d.Type], "%[1]s", "%s")
			text = strings.ReplaceAll(text, "%s", name)
			c := compiled(t, sc, text)
			if c.Reads != collectors.Fields(d.Field) {
				t.Errorf("%s reads %b", text, c.Reads)
			}
			if got := c.Eval(langtest.Leak()); got != True {
				t.Errorf("%s is %v", text, got)
			}
			if d.Field == collectors.FieldAge {
				continue // at least 0, whatever is known
			}
			if got := c.Eval(langtest.Without(d.Field)); got != Unknown {
				t.Errorf("without %s: %s is %v", d.Name, text, got)
			}
		}
	}
}

// TestFolded: what is decided when the rules are loaded costs nothing later.
func TestFolded(t *testing.T) {
	sc := scopeOf(t, langtest.Definitions)
	tests := []struct {
		text     string
		constant bool
		reads    collectors.FieldSet
	}{
		{`include_ports == []`, true, collectors.FieldSet{}},
		{`include_ports == [] or port in include_ports`, true, collectors.FieldSet{}},
		{`folded and owned`, false, collectors.Fields(collectors.FieldOwned)},
		{`exclude_ports == [] or port in exclude_ports`, false, collectors.Fields(collectors.FieldPort)},
		{`process in []`, true, collectors.FieldSet{}},
		{`not (process in []) and owned`, false, collectors.Fields(collectors.FieldOwned)},
		{`escalate != "none"`, true, collectors.FieldSet{}},
		{`escalate == "kill"`, true, collectors.FieldSet{}},
		{`quiet and not loud`, true, collectors.FieldSet{}},
		{`loud and process == "x"`, true, collectors.FieldSet{}},
		{`2 * 30 > close_wait_timeout`, true, collectors.FieldSet{}},
		{`server contains "b" and server matches "^h"`, true, collectors.FieldSet{}},
		{`quiet or protocol == "udp"`, true, collectors.Fields(collectors.FieldProtocol)},
		{`not (quiet or protocol == "udp")`, true, collectors.Fields(collectors.FieldProtocol)},
		{`(quiet or protocol == "udp") and owned`, false, collectors.Fields(collectors.FieldProtocol, collectors.FieldOwned)},
		{`protocol in [] or owned`, false, collectors.Fields(collectors.FieldProtocol, collectors.FieldOwned)},
	}
	for _, tt := range tests {
		c := compiled(t, sc, tt.text)
		if c.Constant != tt.constant || c.Reads != tt.reads {
			t.Errorf("%s: constant %v, reads %s; want %v, %s", tt.text, c.Constant, c.Reads, tt.constant, tt.reads)
		}
	}
}
