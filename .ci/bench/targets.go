package main

import "fmt"

// target is a claim about two rows, or about one.
type target struct {
	text   string
	size   int
	row    string
	than   string  // the row that it is divided by, "" for the value itself
	atMost float64 // the maximum of the ratio, or of the value; 0 for none
	faster float64 // than must take at least so many times as long; 0 for no such demand
	unit   string  // of the value: MB or ms
}

var targets = []target{
	{text: "cycle of a narrow rule, candidates read and none old enough, by one walk of the kernel (floor d1)", size: 100_000, row: "cycle none old", than: "cycle floor d1", atMost: 1.2},
	{text: "the same", size: 1_000_000, row: "cycle none old", than: "cycle floor d1", atMost: 1.3},
	{text: "cycle of a rule that reads every socket, by a full dump (floor a)", size: 100_000, row: "cycle unfiltered", than: "cycle floor a", atMost: 1},
	{text: "the same, with two threads", size: 100_000, row: "cycle unfiltered", than: "cycle floor a", atMost: 0.7},
	{text: "whole audit, 5 % match, owners by BPF, by ss -tanp", size: 100_000, row: "audit narrow bpf", than: "ss -tanp", faster: 60},
	{text: "the same, owners by /proc", size: 100_000, row: "audit narrow proc", than: "ss -tanp", faster: 12},
	{text: "the same, nothing matches", size: 100_000, row: "audit none match", than: "ss -tanp", faster: 100},
	{text: "a watcher's cycle, none old enough, by ss -tanp", size: 100_000, row: "cycle none old", than: "ss -tanp", faster: 100},
	{text: "a watcher's cycle, 5 % match, by ss -tanp", size: 100_000, row: "cycle narrow", than: "ss -tanp", faster: 100},
	{text: "cycle with the owners of all sockets, by ss -tanp", size: 100_000, row: "cycle owners of all", than: "ss -tanp", faster: 30},
	{text: "the same, absolute", size: 100_000, row: "cycle owners of all", atMost: 200, unit: "ms"},
	{text: "cycle of 1000 rules, by one rule that reads the same sockets", size: 100_000, row: "cycle 1000 rules", than: "cycle 1 rule", atMost: 2},
	{text: "destroying 100,000 sockets, whole command, by ss -K", size: 100_000, row: "destroy kill", than: "destroy ss -K", faster: 2},
	{text: "peak memory of watch, 5 % match", size: 100_000, row: "watch narrow", atMost: 20, unit: "MB"},
	{text: "version, whole command", size: 100_000, row: "version", atMost: 10, unit: "ms"},
}

// measured returns the result of a target, and whether it is met; "" if one of its rows
// is missing.
func (t *target) measured(d *data) (text string, met bool) {
	r := d.find(t.row, t.size)
	if r == nil {
		return "", false
	}
	switch {
	case t.unit == "MB":
		peak := median(r.values(rss))
		return number(peak) + " MB", peak <= t.atMost
	case t.unit == "ms":
		return number(r.wall()) + " ms", r.wall() <= t.atMost
	}
	than := d.find(t.than, t.size)
	if than == nil {
		return "", false
	}
	if t.faster > 0 {
		ratio := than.ratio(r)
		return number(ratio) + "x faster", ratio >= t.faster
	}
	ratio := r.ratio(than)
	return fmt.Sprintf("%.2fx", ratio), ratio <= t.atMost
}

func (t *target) wanted() string {
	switch {
	case t.faster > 0:
		return fmt.Sprintf("at least %gx faster", t.faster)
	case t.unit != "":
		return fmt.Sprintf("at most %g %s", t.atMost, t.unit)
	}
	return fmt.Sprintf("at most %gx", t.atMost)
}
