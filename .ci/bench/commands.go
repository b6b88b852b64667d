package main

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// task is one row of a table: something measured in each round.
type task struct {
	name  string
	floor string // the floor, or another row, that it is compared with; "" for none
	run   func() (sample, error)
}

// tasks are the rows for the mixed load, in the order of a round, and the names of those
// that cannot be measured here, with the reason.
func tasks(j *job) (list []task, missing map[string]string) {
	missing = map[string]string{}
	program := func(name, floor string, args ...string) {
		if _, err := exec.LookPath(args[0]); err != nil {
			missing[name] = args[0] + " is not installed"
			return
		}
		list = append(list, task{name, floor, func() (sample, error) { return meter(j.Dir, args...) }})
	}
	floor, warden := filepath.Join(j.Dir, "floor"), filepath.Join(j.Dir, "sockwarden")
	timeout := "timeout=" + strconv.Itoa(threshold(j.Quick))

	program("floor a", "", floor)
	program("floor a1", "", floor, "-C")
	program("floor d1", "", floor, "-C", "-s", "0x100", "-b")

	program("ss -tan", "floor a", "ss", "-tan")
	program("ss close-wait ports", "floor d1", "ss", "-tan", "state", "close-wait",
		"( sport = :21115 or sport = :21116 or sport = :21117 or sport = :21118 or sport = :21119 )")
	program("ss -tanp", "floor a", "ss", "-tanp")
	program("netstat -tanp", "floor a", "netstat", "-tanp")
	program("lsof -iTCP", "floor a", "lsof", "-iTCP", "-n", "-P")

	// Each row has its own state file, as each cron job would.
	audit := func(name, floor, rules string, flags ...string) {
		state := filepath.Join(j.Dir, strings.ReplaceAll(name, " ", "-")+".state")
		if flag := unknownFlag(warden, "audit", flags); flag != "" {
			list = append(list, task{name, floor, func() (sample, error) { return sample{}, fmt.Errorf("this sockwarden has no %s", flag) }})
			return
		}
		args := []string{warden, "audit", "--rules", rulesFile(j.Dir, rules), "--state-file", state, "--var", timeout}
		program(name, floor, append(args, flags...)...)
	}
	audit("audit none match", "floor d1", "none-match")
	audit("audit none old", "floor d1", "none-old")
	audit("audit narrow", "floor d1", "narrow")
	audit("audit narrow bpf", "floor d1", "narrow", "--owners=bpf")
	audit("audit narrow proc", "floor d1", "narrow", "--owners=proc")
	audit("audit narrow no-pushdown", "floor a", "narrow", "--no-pushdown")
	audit("audit unfiltered", "floor a", "unfiltered")
	audit("audit owners of all", "floor a", "owners")
	audit("audit 1 rule", "", "rules-1")
	audit("audit 1000 rules", "audit 1 rule", "rules-1000")
	program("list all", "floor a", warden, "list", "-o", "jsonl", "--state-file", filepath.Join(j.Dir, "list.state"))
	program("version", "", warden, "version")

	// Repeatedly in one process: what a watcher pays.
	looks := strconv.Itoa(min(max(3_000_000/j.Size, 3), 25))
	inProcess := func(name string, args ...string) {
		list = append(list, task{name, "", func() (sample, error) {
			_, median, err := askFloor(j.Dir, append(args, "-r", looks)...)
			return sample{Wall: median}, err
		}})
	}
	inProcess("cycle floor a")
	inProcess("cycle floor d1", "-C", "-s", "0x100", "-b")
	cycles := func(name, floor, rules string) {
		list = append(list, task{name, floor, func() (sample, error) { return repeatedCycle(rulesFile(j.Dir, rules), timeout, looks) }})
	}
	cycles("cycle none match", "cycle floor d1", "none-match")
	cycles("cycle none old", "cycle floor d1", "none-old")
	cycles("cycle narrow", "cycle floor d1", "narrow")
	cycles("cycle unfiltered", "cycle floor a", "unfiltered")
	cycles("cycle owners of all", "cycle floor a", "owners")
	list = append(list, task{"cycle counting walk", "cycle floor a", func() (sample, error) { return itself("count", looks) }})
	cycles("cycle 1 rule", "", "rules-1")
	cycles("cycle 1000 rules", "cycle 1 rule", "rules-1000")

	list = slices.DeleteFunc(list, func(t task) bool { return !wanted(j, t.name) })
	maps.DeleteFunc(missing, func(name, _ string) bool { return !wanted(j, name) })
	return list, missing
}

// wanted reports whether a row was asked for.
func wanted(j *job, name string) bool {
	return len(j.Only) == 0 || strings.Contains(name, "floor") ||
		slices.ContainsFunc(j.Only, func(part string) bool { return strings.Contains(name, part) })
}

// unknownFlag returns the first flag that a command of sockwarden does not have.
func unknownFlag(warden, command string, flags []string) string {
	help, err := exec.Command(warden, command, "--help").CombinedOutput()
	if err != nil {
		return fmt.Sprintf("(%s --help: %v: %s)", command, err, help)
	}
	for _, flag := range flags {
		name, _, _ := strings.Cut(flag, "=")
		if !strings.Contains(string(help), " "+name+" ") {
			return name
		}
	}
	return ""
}

// askFloor runs floor and returns how many sockets it counts and its median time in
// milliseconds.
func askFloor(dir string, args ...string) (n int, median float64, err error) {
	out, err := output(filepath.Join(dir, "floor"), args...)
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscan(out, &n, &median); err != nil {
		return 0, 0, fmt.Errorf("floor says %q: %w", out, err)
	}
	return n, median / 1e6, nil
}
