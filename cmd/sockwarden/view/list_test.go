package view

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/engine"
)

func sockets() []*engine.Candidate {
	return []*engine.Candidate{
		held(collectors.CloseWait, 21118, "hbbs", 1874, recv(1)),
		held(collectors.CloseWait, 21118, "hbbs", 1875, recv(1), func(c *engine.Candidate) { c.Facts.Age.Min = 90061 }),
		held(collectors.Established, 21117, "hbbr", 1901, recv(900), also("helper", 7)),
		held(collectors.Established, 443, "docker-proxy", 12, func(c *engine.Candidate) {
			c.Facts.Owners[0].Cmdline = "docker-proxy -container-ip 172.17.0.2 -container-port 8080"
			c.Facts.Owners[0].Container = strings.Repeat("abcdef01", 8)
		}),
		held(collectors.Listen, 80, "", 0, func(c *engine.Candidate) {
			c.Facts.Owners, c.Socket.Remote, c.Socket.RemotePort, c.Facts.Age = nil, collectors.Addr{}, 0, collectors.NoAge()
		}),
		held(collectors.FinWait1, 80, "", 0, func(c *engine.Candidate) {
			c.Facts.Owners, c.Socket.Inode, c.Socket.Timer, c.Socket.TimerExpires, c.Socket.Retransmits = nil, 0, collectors.TimerRetransmit, 61_000, 5
		}),
	}
}

func TestList(t *testing.T) {
	r := &engine.Report{OwnersHidden: 1, HiddenWhy: "run as root", Unseen: 2, UnseenNamespaces: 1}
	for name, l := range map[string]*Listing{
		"list.txt":     {Sockets: sockets(), Report: r},
		"list-top.txt": {Sockets: sockets(), Top: 2, Report: &engine.Report{}},
		"list-columns.txt": {
			Sockets: sockets(), Report: r, Columns: []collectors.Field{collectors.FieldState, collectors.FieldPort, collectors.FieldAge, collectors.FieldUID, collectors.FieldProcess},
		},
	} {
		golden(t, name, shown(t, Text, func(o Out) error { return List(o, l) }))
	}
	l := &Listing{Sockets: sockets(), Top: 1, Report: r, Columns: []collectors.Field{collectors.FieldPort}}
	if got := shown(t, Lines, func(o Out) error { return List(o, l) }); got != "{\"port\":21118}\n" {
		t.Error(got)
	}
	if got := shown(t, JSON, func(o Out) error { return List(o, l) }); got != "[\n  {\n    \"port\": 21118\n  }\n]\n" {
		t.Error(got)
	}
	if got := shown(t, JSON, func(o Out) error { return List(o, &Listing{Report: r}) }); got != "[]\n" {
		t.Error(got)
	}
}

// Groups have the values that JSON gives for them: processes of one name are one group,
// unless the process id is asked for.
func TestBy(t *testing.T) {
	by := func(f Format, g Grouping) string {
		g.Report = &engine.Report{OwnersHidden: 1, HiddenWhy: "run as root", Unseen: 3, UnseenNamespaces: 1}
		return shown(t, f, func(o Out) error { return By(o, sockets(), &g) })
	}
	process, pid, state := collectors.FieldProcess, collectors.FieldPID, collectors.FieldState
	golden(t, "by-process.txt", by(Text, Grouping{Fields: []collectors.Field{process}}))
	golden(t, "by-pid.txt", by(Text, Grouping{Fields: []collectors.Field{state, pid, process}, Top: 3}))
	for _, fields := range [][]collectors.Field{{process}, {pid}, {state, process}, {process, pid}, {collectors.FieldPort}} {
		lines := strings.Split(strings.TrimSpace(by(Lines, Grouping{Fields: fields})), "\n")
		keys := map[string]bool{}
		for _, line := range lines {
			key := regexp.MustCompile(`"(count|max_age|sum_\w+|fds|fd_limit|example_peer)":("[^"]*"|[\d.]+),?`).ReplaceAllString(line, "")
			if keys[key] {
				t.Errorf("%v: %s twice", fields, key)
			}
			keys[key] = true
		}
	}
	if got := by(Lines, Grouping{Fields: []collectors.Field{process}, Top: 1}); got != `{"count":2,"example_peer":"203.0.113.9:40018","max_age":90061,"process":"hbbs","sum_recv_queue":2,"sum_send_queue":0}`+"\n" {
		t.Error(got)
	}
}

// Groups are sorted by everything shown of them; by default the largest comes first.
func TestBySort(t *testing.T) {
	g := Grouping{Fields: []collectors.Field{collectors.FieldPort}, Report: &engine.Report{}}
	if names := fmt.Sprint(g.SortNames()); names != "[count port age recv_queue send_queue]" {
		t.Error(names)
	}
	for _, c := range []struct {
		sort       string
		descending bool
		want       string
	}{
		{"", false, "21118 80 21117 443"},
		{"count", false, "21117 443 21118 80"},
		{"count", true, "21118 80 21117 443"},
		{"port", false, "80 443 21117 21118"},
		{"age", true, "21118 21117 443 80"},
		{"recv_queue", true, "21117 21118 443 80"},
	} {
		g.Sort, g.Descending = c.sort, c.descending
		out := shown(t, Lines, func(o Out) error { return By(o, sockets(), &g) })
		var ports []string
		for _, m := range regexp.MustCompile(`"port":(\d+)`).FindAllStringSubmatch(out, -1) {
			ports = append(ports, m[1])
		}
		if got := strings.Join(ports, " "); got != c.want {
			t.Errorf("%s, descending %t: %s, not %s", c.sort, c.descending, got, c.want)
		}
	}
}

// A docker-proxy is shown with the container behind it, where that is known.
func TestBehindProxy(t *testing.T) {
	for leads, want := range map[string]string{"docker:hbbr": "for docker:hbbr", "": "host"} {
		c := held(collectors.CloseWait, 21117, "docker-proxy", 12, func(c *engine.Candidate) {
			c.Facts.Owners[0].Cmdline = "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 21117 -container-ip 172.17.0.2 -container-port 8080"
			c.Facts.Owners[0].LeadsTo = leads
		})
		if got := where(c); got != want {
			t.Errorf("%q, not %q", got, want)
		}
		if got := processText(c); got != "docker-proxy[12] for container 172.17.0.2:8080" {
			t.Error(got)
		}
	}
}
