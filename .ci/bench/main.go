// Command bench measures sockwarden against other programs that look at sockets, and
// against the least time that the kernel needs for the same.
//
// Comes in: flags. Goes out: performance-data.json with every sample, and performance.md
// and performance.svg made from it. Each size has a load of real connections in its own
// namespaces, which end with this program; nothing leaves loopback.
package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// programs are the load, the floors and the meter. They are in C, to add nothing of their
// own to what they measure.
//
//go:embed c/*.c
var programs embed.FS

// job is what one run in its own namespaces does.
type job struct {
	Part    string // measure, destroy or namespaces
	Size    int    // how many sockets there are, or namespaces
	Rounds  int
	Quick   bool
	Dir     string            // the built programs and the rules
	Only    []string          // rows by a part of their names, empty for all
	Skipped map[string]string // rows that took too long at a smaller size
}

func main() {
	var err error
	switch {
	case len(os.Args) > 2 && os.Args[1] == "inside":
		err = inside(os.Args[2])
	case len(os.Args) > 2 && os.Args[1] == "cycle":
		err = cycle(os.Args[2:])
	case len(os.Args) > 2 && os.Args[1] == "count":
		err = count(os.Args[2:])
	default:
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	sizes := flag.String("sizes", "1000,10000,100000,1000000", "`NUMBERS` of sockets")
	rounds := flag.Int("rounds", 9, "how `often` each program runs")
	out := flag.String("out", "../../docs", "`DIRECTORY` of performance.md, performance.svg and performance-data.json")
	quick := flag.Bool("quick", false, "a smoke test: 1000 and 10000 sockets, 2 rounds, no wait for sockets to grow old")
	only := flag.String("only", "", "only rows whose names contain one of `PARTS`; floors are always measured")
	merge := flag.Bool("merge", false, "with -only: put these rows, with their floors of this run, among those that are in -out already")
	flag.Parse()
	if *quick {
		*sizes, *rounds = "1000,10000", 2
	}
	if *merge && *only == "" {
		return errors.New("-merge is for the rows of -only")
	}
	if os.Geteuid() != 0 {
		return errors.New("namespaces and destroying sockets need root")
	}
	dir, err := os.MkdirTemp("", "sockwarden-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := build(ctx, dir); err != nil {
		return err
	}

	d := &data{Machine: machine(), Rounds: *rounds, Threshold: threshold(*quick)}
	j := job{Part: "measure", Rounds: *rounds, Quick: *quick, Dir: dir, Skipped: map[string]string{}}
	if *only != "" {
		j.Only = strings.Split(*only, ",")
	}
	var jobs []job
	for text := range strings.SplitSeq(*sizes, ",") {
		if j.Size, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("-sizes: %w", err)
		}
		jobs = append(jobs, j)
	}
	for _, size := range []int{10_000, 100_000} {
		if slices.ContainsFunc(jobs, func(j job) bool { return j.Part == "measure" && j.Size == size }) {
			j.Part, j.Size, j.Rounds = "destroy", size, min(*rounds, max(3, *rounds/3))
			jobs = append(jobs, j)
		}
	}
	for _, size := range []int{1, 20, 200} {
		j.Part, j.Size, j.Rounds = "namespaces", size, min(*rounds, max(3, *rounds/3))
		jobs = append(jobs, j)
	}
	for _, j := range jobs {
		rows, err := enter(ctx, j)
		if err != nil {
			return fmt.Errorf("%s of %d: %w", j.Part, j.Size, err)
		}
		d.add(rows, j.Skipped)
		if *merge {
			continue
		}
		if err := d.save(*out); err != nil {
			return err
		}
	}
	err = d.faults(j.Only)
	if *merge && err == nil {
		return d.mergeInto(*out)
	}
	return err
}

// build compiles sockwarden and the C programs, and writes the rules.
func build(ctx context.Context, dir string) error {
	commands := [][]string{{"go", "build", "-C", "../..", "-trimpath", "-o", filepath.Join(dir, "sockwarden"), "./cmd/sockwarden"}}
	for _, name := range []string{"meter", "floor", "killfloor", "sockload"} {
		text, err := programs.ReadFile("c/" + name + ".c")
		if err != nil {
			return err
		}
		source := filepath.Join(dir, name+".c")
		if err := os.WriteFile(source, text, 0o600); err != nil {
			return err
		}
		commands = append(commands, []string{"gcc", "-O2", "-o", filepath.Join(dir, name), source})
	}
	for _, c := range commands {
		if out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(c, " "), err, out)
		}
	}
	return writeRules(dir)
}

// enter does a job in new namespaces: network, to see only the load; mounts, for a
// private /run; processes, to make all end with the first.
func enter(ctx context.Context, j job) ([]*row, error) {
	runtime.LockOSThread() // the death signal is tied to the thread
	defer runtime.UnlockOSThread()
	arg, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "inside", string(arg))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	if err != nil {
		return nil, err
	}
	var rows []*row
	return rows, json.Unmarshal(out, &rows)
}

// inside does a job and prints its rows.
func inside(arg string) error {
	var j job
	if err := json.Unmarshal([]byte(arg), &j); err != nil {
		return err
	}
	if err := furnish(); err != nil {
		return err
	}
	do := measure
	switch j.Part {
	case "destroy":
		do = measureDestroy
	case "namespaces":
		do = measureNamespaces
	}
	rows, err := do(&j)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(rows)
}
