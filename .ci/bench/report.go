package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

const (
	markBegin = "<!-- bench: begin -->"
	markEnd   = "<!-- bench: end -->"
)

// writeReport replaces what is between the marks; people write the rest.
func writeReport(d *data, path string) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = []byte("# Performance\n\n"+markBegin+"\n"+markEnd+"\n"), nil
	}
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), markBegin)
	_, after, closed := strings.Cut(rest, markEnd)
	if !found || !closed {
		return fmt.Errorf("%s has no lines %s and %s", path, markBegin, markEnd)
	}
	text := before + markBegin + "\n\n" + report(d) + "\n" + markEnd + after
	return os.WriteFile(path, []byte(text), 0o644)
}

func report(d *data) string {
	var b strings.Builder
	fmt.Fprintf(&b, `Written by %smake bench%s; every sample is in [performance-data.json](performance-data.json).

`, "`", "`")
	for _, f := range d.Machine {
		fmt.Fprintf(&b, "- %s: %s\n", f.What, f.Is)
	}
	fmt.Fprintf(&b, `
Each program ran up to %d times, in turn with all others (destroying: fewer), in namespaces that hold nothing but the load: 5 %% of the
sockets in CLOSE_WAIT on the five ports of RustDesk, 2 %% in TIME_WAIT, the rest ESTABLISHED, a tenth of those over ::1;
1,000 sockets in each process, at most 100 processes. A time is the median; spread is (p90 - p10) / median. A ratio is the
median of the ratios within a round. RSS is the peak; times of the processes include their start and end, output goes to
/dev/null.

floor a dumps every TCP socket by sock_diag (IPv4, then IPv6) and only counts; a1 does both in one walk of the kernel's
table; d1 is a1 for CLOSE_WAIT on the five ports, filtered by the kernel.

`, d.Rounds)
	b.WriteString("![Time over number of sockets](performance.svg)\n\n")
	targetTable(&b, d)
	for _, size := range d.sizes() {
		if !has(d, "measure", size) {
			continue
		}
		fmt.Fprintf(&b, "## %s sockets\n\n", thousands(size))
		noise(&b, d, size)
		table(&b, d, size, "Whole processes", "process", func(r *row) bool { return r.Part == "measure" && !strings.HasPrefix(r.Name, "cycle") })
		table(&b, d, size, "In one process, again and again: a watcher's cycles", "cycle", func(r *row) bool { return strings.HasPrefix(r.Name, "cycle") })
	}
	destroyed(&b, d)
	namespaceTable(&b, d)
	legend(&b, d)
	return b.String()
}

func has(d *data, part string, size int) bool {
	for _, r := range d.Rows {
		if r.Part == part && r.Size == size {
			return true
		}
	}
	return false
}

func targetTable(b *strings.Builder, d *data) {
	b.WriteString("## Targets\n\n| target | sockets | wanted | measured | |\n|---|--:|--:|--:|---|\n")
	for _, t := range targets {
		measured, met := t.measured(d)
		result := "missed"
		switch {
		case measured == "":
			measured, result = "", "not measured"
		case met:
			result = "met"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", t.text, thousands(t.size), t.wanted(), measured, result)
	}
	b.WriteString("\n")
}

func noise(b *strings.Builder, d *data, size int) {
	var parts []string
	for _, name := range []string{"floor a", "floor d1", "cycle floor a", "cycle floor d1"} {
		if r := d.find(name, size); r != nil {
			parts = append(parts, fmt.Sprintf("%s %.0f %%", name, 100*r.spread()))
		}
	}
	fmt.Fprintf(b, "Noise, the spread of the floors: %s. Smaller differences mean nothing.\n\n", strings.Join(parts, ", "))
}

func table(b *strings.Builder, d *data, size int, caption, first string, in func(*row) bool) {
	fmt.Fprintf(b, "%s:\n\n| %s | median ms | spread | by its floor | ss -tanp takes | CPU ms | RSS MB |\n|---|--:|--:|--:|--:|--:|--:|\n", caption, first)
	peer := d.find("ss -tanp", size)
	for _, r := range d.Rows {
		if r.Size != size || !in(r) {
			continue
		}
		if len(r.Samples) == 0 {
			fmt.Fprintf(b, "| %s | %s | | | | | |\n", r.Name, cell(r.Note))
			continue
		}
		floor, slower := "", ""
		if f := d.find(r.Floor, size); f != nil {
			floor = fmt.Sprintf("%.2fx %s", r.ratio(f), strings.NewReplacer("cycle ", "", "audit ", "", "floor ", "").Replace(r.Floor))
		}
		if peer != nil && r != peer && r.Apart == nil {
			slower = number(peer.ratio(r)) + "x"
		}
		fmt.Fprintf(b, "| %s | %s | %.0f %% | %s | %s | %s | %s |\n", title(r), number(r.wall()), 100*r.spread(), floor, slower,
			number(median(r.values(cpu))), number(median(r.values(rss))))
	}
	b.WriteString("\n")
}

func destroyed(b *strings.Builder, d *data) {
	b.WriteString("## Destroying and watching\n\nEvery socket of a load that is all CLOSE_WAIT, a fresh one for each program and round. The row says so if any was left afterwards.\n\n")
	b.WriteString("| command | sockets | median ms | spread | by its floor | CPU ms | RSS MB |\n|---|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range d.Rows {
		switch {
		case r.Part != "destroy":
		case len(r.Samples) == 0:
			fmt.Fprintf(b, "| %s | %s | %s | | | | |\n", r.Name, thousands(r.Size), cell(r.Note))
		default:
			ratio := ""
			if f := d.find(r.Floor, r.Size); f != nil {
				ratio = fmt.Sprintf("%.2fx", r.ratio(f))
			}
			fmt.Fprintf(b, "| %s | %s | %s | %.0f %% | %s | %s | %s |\n", title(r), thousands(r.Size), number(r.wall()), 100*r.spread(), ratio,
				number(median(r.values(cpu))), number(median(r.values(rss))))
		}
	}
	b.WriteString("\n| watcher, dry | sockets | peak RSS MB |\n|---|--:|--:|\n")
	for _, r := range d.Rows {
		if r.Part == "memory" {
			peak := cell(r.Note)
			if len(r.Samples) > 0 {
				peak = number(median(r.values(rss)))
			}
			fmt.Fprintf(b, "| %s | %s | %s |\n", r.Name, thousands(r.Size), peak)
		}
	}
	b.WriteString("\n")
}

// title is the name of a row, with what ended it early.
func title(r *row) string {
	if r.Apart != nil {
		return fmt.Sprintf("%s (on %s, %s cores)", r.Name, r.Apart.Date, r.Apart.Cores)
	}
	if r.Note == "" {
		return r.Name
	}
	return fmt.Sprintf("%s (%d rounds, then: %s)", r.Name, len(r.Samples), cell(r.Note))
}

func legend(b *strings.Builder, d *data) {
	fmt.Fprintf(b, "## What the rows are\n\n")
	for _, l := range [][2]string{
		{"narrow", fmt.Sprintf("%s with a timeout of %d s: all CLOSE_WAIT match, 5 %% of the sockets. bpf, proc: how owners are found", code("narrow"), d.Threshold)},
		{"none old", code("none-old") + ": the same sockets are read, none matches"},
		{"none match", code("none-match") + ": the kernel has no candidate"},
		{"unfiltered", code("unfiltered") + ": every socket is read, none matches; UDP is looked at too, which floor a does not"},
		{"owners of all", code("owners") + ": the owner of every socket is needed"},
		{"counting walk", "what `watch --listen` counts for metrics: every TCP and UDP socket by its state, and who listens"},
		{"1 rule", code("rules-1")},
		{"1000 rules", code("rules-1000") + " and so on: a rule for each of the same states and ports"},
		{"ss close-wait ports", "ss -tan with a filter of state and ports, which knows neither ages nor owners"},
		{"destroy floor, ss -K, kill", "raw SOCK_DESTROY, 64 in a message; ss -K state close-wait; sockwarden kill -s close-wait -y, which checks guards before and looks again after"},
	} {
		fmt.Fprintf(b, "- %s: %s.\n", l[0], l[1])
	}
}

// code is the first condition of a rules file.
func code(rules string) string { return "`" + ruleTexts[rules][0] + "`" }

// cell is the first line of a text, for a table.
func cell(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return strings.ReplaceAll(first, "|", "/")
}

// number has three significant digits; 0 means not measured.
func number(v float64) string {
	switch {
	case v == 0:
		return ""
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
