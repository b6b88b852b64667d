package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sockwarden/collectors"
)

// groupFile is a file with one group rule; before holds its other keys.
func groupFile(group, having string, before ...string) string {
	return "version: 1\n" + strings.Join(before, "") + "rules:\n  - {name: r, when: owned, then: [log], group: " + group + ", having: '" + having + "'}\n"
}

// A group has one key or a list of them.
func TestGroupKeys(t *testing.T) {
	for text, want := range map[string][]GroupKey{
		"host": {ByHost}, "pid": {ByPID}, "[pid]": {ByPID}, "[process, port]": {ByProcess, ByPort}, `"unit"`: {ByUnit},
		"container_id": {ByContainerID},
		"[container, netns, remote_addr, remote_port, host]": {ByContainer, ByNetNS, ByRemoteAddr, ByRemotePort, ByHost},
	} {
		r := mustLoad(t, groupFile(text, "count > 1")).Rules[0]
		if !slices.Equal(r.Group, want) || !r.Grouped() || r.Having.Text != "count > 1" {
			t.Errorf("%s: %v, %+v", text, r.Group, r.Having)
		}
	}
	if r := mustLoad(t, ruleWith("owned")).Rules[0]; r.Grouped() || r.Having != nil {
		t.Errorf("no group: %v", r.Group)
	}
}

const groupKeyList = "host, pid, process, unit, container, container_id, listener, netns, port, remote_addr or remote_port"

// What is not a group is refused once, at its place.
func TestGroupRefused(t *testing.T) {
	const having = ", having: count > 5"
	for rest, want := range map[string][]string{
		"group: procss" + having:          {`group is ` + groupKeyList + `, not "procss" (did you mean "process"?)`},
		"group: local_port" + having:      {`group is ` + groupKeyList + `, not "local_port"`},
		"group: 5" + having:               {`group is ` + groupKeyList + `, not "5"`},
		"group: []" + having:              {"group needs a key: " + groupKeyList},
		"group: [pid, pid]" + having:      {"group has pid twice"},
		"group: [pid, prot]" + having:     {`group is ` + groupKeyList + `, not "prot" (did you mean "port"?)`},
		"group: [pid, [port]]" + having:   {"group is a string, not a list"},
		"group: {pid: 1}" + having:        {"group is a string, not a mapping"},
		"group:" + having:                 {"group is a string, not nothing"},
		"group: pid":                      {`rule "r": group and having belong together: write group: pid, having: count > 100`},
		"having: count > 5":               {`rule "r": group and having belong together: write group: pid, having: count > 100`},
		"group: pid, having: ''":          {`an empty condition: write one, as state == "CLOSE_WAIT" and age > 60`},
		"group: pid, having: 5":           {"this is a number, not a condition: compare it with something"},
		"group: pid, having: [count > 5]": {"a condition is an expression, not a list: join its parts with and, or with or"},
	} {
		lines := problems(t, "version: 1\nrules:\n  - {name: r, when: owned, then: [log], "+rest+"}\n")
		var got []string
		for _, l := range lines {
			_, message, _ := strings.Cut(l, ": ")
			if !strings.HasPrefix(l, "3:") {
				t.Errorf("%s: place of %s", rest, l)
			}
			got = append(got, message)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", rest, got, want)
		}
	}
}

// having evaluates the condition of a group.
func having(t *testing.T, text string, g collectors.Group, before ...string) Tri {
	t.Helper()
	return mustLoad(t, groupFile("pid", text, before...)).Rules[0].Having.Eval(&collectors.Record{Group: &g, Host: "here"})
}

// having reads the values of the group, in three values as everywhere.
func TestHaving(t *testing.T) {
	age := collectors.Age{Min: 60, Max: 120, Bounded: true, Source: collectors.AgeObserved}
	full := collectors.Group{Count: 6, Age: age, RecvQueue: 100, SendQueue: 2000, FDs: 900, FDLimit: 1000}
	bare := collectors.Group{Count: 0, Age: collectors.NoAge(), FDs: -1, FDLimit: -1}
	for _, test := range []struct {
		having string
		full   Tri
		bare   Tri
	}{
		{"count > 5", True, False},
		{"count == 0", False, True},
		{"count >= 6 and count < 7", True, False},
		{"count in [5..7]", True, False},
		{"sum_recv_queue > 99", True, False},
		{"fds > 800", True, Unknown},
		{"fds < 800", False, Unknown},
		{"fds * 10 > fd_limit * 8", True, Unknown},
		{"fd_limit - fds < 50", False, Unknown},
		{"max_age > 30", True, Unknown},
		{`max_age > "1m30s"`, Unknown, Unknown}, // between the bounds
		{`max_age > "3m"`, False, Unknown},
		{"max_age < 120", Unknown, Unknown},
		{"max_age < 121", True, Unknown},
		{"fds > 800 or count == 0", True, True},
		{"fds > 800 and count > 0", True, False},
		{"not (fds > 800)", False, Unknown},
		{"true", True, True},
	} {
		for g, want := range map[*collectors.Group]Tri{&full: test.full, &bare: test.bare} {
			if got := having(t, test.having, *g); got != want {
				t.Errorf("%s of %+v: %v, want %v", test.having, *g, got, want)
			}
		}
	}
	// Without a group there is no answer.
	for _, having := range []string{"count >= 0", "max_age >= 0"} {
		if got := mustLoad(t, groupFile("pid", having)).Rules[0].Having.Eval(&collectors.Record{}); got != Unknown {
			t.Errorf("%s of nothing: %v", having, got)
		}
	}
}

// Variables and macros work as in other conditions, even macros that are only about
// groups.
func TestHavingNames(t *testing.T) {
	const before = "vars: {limit: 5, share: {a: 3}, wanted: [4, 6]}\nmacros: {many: count > limit, full: fds * 10 > fd_limit * 9, bad: many or full, quiet: limit > 100}\n"
	g := collectors.Group{Count: 6, FDs: 10, FDLimit: 100}
	for text, want := range map[string]Tri{
		"count > limit": True, "many": True, "not many": False, "full": False, "bad": True, "many and full": False, "quiet": False,
		"count in wanted": True, "count > lookup(share, \"a\", 9)": True,
	} {
		if got := having(t, text, g, before); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	// In a question about a socket, such a macro is refused where it is used.
	checkLines(t, problems(t, "version: 1\nmacros: {many: count > 5}\nrules:\n  - {name: r, when: owned and many, then: [log]}\n"),
		`4:31: unknown name "count": it is a value of a group, write it into having: group: pid, having: count > 100`)
	// A mistake in a macro is reported once.
	checkLines(t, problems(t, groupFile("pid", "many", "macros: {many: cuont > 5}\n")), `2:16: unknown name "cuont": it is neither a field (sockwarden rules fields lists them) nor a variable, set or macro`)
}

// What is about single sockets is refused in having, and the message says what is allowed
// there.
func TestHavingRefused(t *testing.T) {
	const only = "having asks about the group: count, max_age, sum_recv_queue, sum_send_queue, fds or fd_limit; write "
	for having, want := range map[string]string{
		"port == 22": only + "port into when", "age > 60": only + "age into when", "recv_queue > 5": only + "recv_queue into when",
		`process == "nginx"`: only + "process into when", "count > 5 and host == \"a\"": only + "host into when",
		"known(port)": only + "known() into when", "known(count)": only + "known() into when",
		"cuont > 5":      `unknown name "cuont" (did you mean "count"?)`,
		"max_aeg > 5":    `unknown name "max_aeg" (did you mean "max_age"?)`,
		"result == \"\"": `unknown name "result": it is the result of the rung before, and belongs in the if of the next one`,
		"count":          "this is a number, not a condition: compare it with something",
		"max_age == 5":   "",
		"count == \"5\"": "",
	} {
		lines := problems(t, groupFile("pid", having))
		if len(lines) != 1 {
			t.Errorf("%s: %q", having, lines)
			continue
		}
		if _, message, _ := strings.Cut(lines[0], ": "); want != "" && message != want {
			t.Errorf("%s:\n got %s\nwant %s", having, message, want)
		}
	}
	// The values of a group mean nothing to when and unless.
	for _, name := range []string{"count", "max_age", "sum_recv_queue", "sum_send_queue"} { // fds and fd_limit are fields too
		for _, key := range []string{"when: owned, unless", "when"} {
			lines := problems(t, fmt.Sprintf("version: 1\nrules:\n  - {name: r, then: [log], group: pid, having: count > 5, %s: %s > 5}\n", key, name))
			if len(lines) != 1 || !strings.Contains(lines[0], fmt.Sprintf("unknown name %q", name)) {
				t.Errorf("%s: %s: %q", key, name, lines)
			}
		}
	}
}

// A name in the file never silently hides a value of the group, and does no harm where
// there is no group.
func TestHavingShadowed(t *testing.T) {
	for _, before := range []string{"vars: {count: 5}\n", "macros: {count: owned}\n", "sets: {count: [22]}\n"} {
		checkLines(t, problems(t, groupFile("pid", "count > 3", before)), "4:62: count is a value of the group, and also a name in this file: give that another one")
	}
	mustLoad(t, "version: 1\nvars: {count: 5, max_age: 60}\nrules:\n  - {name: r, when: age > max_age and port > count, then: [log]}\n")
}

// fds and fd_limit are about one process.
func TestHavingWithoutProcess(t *testing.T) {
	for group, warns := range map[string]bool{"host": true, "process": true, "[port, unit]": true, "pid": false, "[port, pid]": false} {
		for _, having := range []string{"fds > 5", "count > 1 or fd_limit < 5"} {
			p := mustLoad(t, groupFile(group, having))
			if !warns && len(p.Warnings) == 0 {
				continue
			}
			if len(p.Warnings) != 1 || !warns || !strings.Contains(p.Warnings[0].String(), `rule "r" never holds: fds and fd_limit are known only of one process, group: pid`) {
				t.Errorf("%s, %s: %v", group, having, p.Warnings)
			}
		}
	}
	if p := mustLoad(t, groupFile("host", "count > 5")); len(p.Warnings) != 0 {
		t.Errorf("%v", p.Warnings)
	}
}

// A rule reads what a group needs of a socket: its keys, and the age.
func TestGroupReads(t *testing.T) {
	for group, field := range map[string]collectors.Field{
		"pid": collectors.FieldPID, "process": collectors.FieldProcess, "unit": collectors.FieldUnit, "container": collectors.FieldContainer,
		"container_id": collectors.FieldContainerID,
		"netns":        collectors.FieldNetNS, "port": collectors.FieldPort, "remote_addr": collectors.FieldRemoteAddr, "remote_port": collectors.FieldRemotePort,
	} {
		p := mustLoad(t, groupFile(group, "max_age > 5"))
		if !p.Reads.Has(field) || !p.Rules[0].ReadsAge() {
			t.Errorf("%s: reads %s", group, p.Reads)
		}
	}
}

// GroupValue returns the value of the field, and for the host nothing in particular.
func TestGroupValue(t *testing.T) {
	r := collectors.NewRecord(&collectors.Socket{Known: collectors.Fields(collectors.FieldPort), LocalPort: 22}, nil, nil, &collectors.Owner{PID: 7}, "here")
	if v, ok := GroupValue(ByPort, &r); !ok || v != float64(22) {
		t.Errorf("port %v, %t", v, ok)
	}
	if v, ok := GroupValue(ByHost, &r); !ok || v != "" {
		t.Errorf("host %v, %t", v, ok)
	}
	for _, k := range []GroupKey{ByPID, ByProcess, ByUnit, ByContainer, ByContainerID, ByRemoteAddr} {
		if v, ok := GroupValue(k, &r); ok {
			t.Errorf("%s is not known, and is %v", k, v)
		}
	}
}
