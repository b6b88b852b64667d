package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sockwarden/collectors/netns"
	"sockwarden/collectors/sockdiag"
)

// measureNamespaces is the job that makes as many network namespaces as its size says. A
// listener waits in each of them and then, for the last row, in none.
func measureNamespaces(j *job) ([]*row, error) {
	if !wanted(j, "cycle of namespaces") && !wanted(j, "cycle of empty namespaces") {
		return nil, nil
	}
	var conns []*sockdiag.Conn
	var listeners []int
	for i := range j.Size {
		conn, listener, err := addNamespace(fmt.Sprint("bench", i))
		if err != nil {
			return nil, err
		}
		conns, listeners = append(conns, conn), append(listeners, listener)
	}
	file, looks := rulesFile(j.Dir, "namespaces"), "10"
	timeout := "timeout=" + strconv.Itoa(threshold(j.Quick))
	walks := task{"walks of namespaces", "", func() (sample, error) { return walk(conns, file, timeout) }}
	cycles := func(name string) task {
		return task{name, walks.name, func() (sample, error) { return repeatedCycle(file, timeout, looks) }}
	}
	only := func(list ...task) []task {
		return slices.DeleteFunc(list, func(t task) bool { return t.floor != "" && !wanted(j, t.name) })
	}
	rows := alternate("namespaces", j.Size, j.Rounds, only(walks, cycles("cycle of namespaces")), nil)
	for _, fd := range listeners {
		_ = syscall.Close(fd)
	}
	return append(rows, alternate("namespaces", j.Size, j.Rounds, only(cycles("cycle of empty namespaces")), nil)...), nil
}

// addNamespace makes a namespace with a listener in it, and connects to its sock_diag.
func addNamespace(name string) (conn *sockdiag.Conn, listener int, err error) {
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return nil, 0, fmt.Errorf("ip netns add %s: %w: %s", name, err, out)
	}
	file, err := os.Open("/run/netns/" + name)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	err = netns.Do(file, func() (err error) {
		if listener, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return syscall.Listen(listener, 1)
	})
	if err != nil {
		return nil, 0, err
	}
	conn, err = sockdiag.Dial(int(file.Fd()))
	return conn, listener, err
}

// walk is the time that the kernel needs to look at all namespaces, for the rules of a
// file, over connections that are already open: the median of ten runs.
func walk(conns []*sockdiag.Conn, file, variable string) (sample, error) {
	e, p, err := open(file, variable)
	if err != nil {
		return sample{}, err
	}
	defer e.Close()
	const times = 10
	var took []float64
	before := used()
	for range times {
		began := time.Now()
		for _, c := range conns {
			for _, err := range c.Dump(context.Background(), p.Query) {
				if err != nil {
					return sample{}, err
				}
			}
		}
		took = append(took, ms(time.Since(began)))
	}
	return sample{Wall: median(took), CPU: ms(used()-before) / times}, nil
}

// namespaceTable shows what many namespaces cost.
func namespaceTable(b *strings.Builder, d *data) {
	if !slices.ContainsFunc(d.Rows, func(r *row) bool { return r.Part == "namespaces" }) {
		return
	}
	fmt.Fprintf(b, "## Many network namespaces\n\nA cycle of %s with `netns: all`, again and again in one process, by the least that the kernel takes for its\n"+
		"walks over open connections; each namespace has one listener, or nothing.\n\n", code("namespaces"))
	b.WriteString("| cycle | namespaces | median ms | spread | by the walks | CPU ms |\n|---|--:|--:|--:|--:|--:|\n")
	for _, r := range d.Rows {
		switch {
		case r.Part != "namespaces":
		case len(r.Samples) == 0:
			fmt.Fprintf(b, "| %s | %s | %s | | | |\n", r.Name, thousands(r.Size), cell(r.Note))
		default:
			ratio := ""
			if f := d.find(r.Floor, r.Size); f != nil {
				ratio = fmt.Sprintf("%.2fx", r.ratio(f))
			}
			fmt.Fprintf(b, "| %s | %s | %s | %.0f %% | %s | %s |\n", title(r), thousands(r.Size), number(r.wall()), 100*r.spread(), ratio, number(median(r.values(cpu))))
		}
	}
	b.WriteString("\n")
}
