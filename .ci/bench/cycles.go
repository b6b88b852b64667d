package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"time"

	"sockwarden/actions"
	"sockwarden/actions/destroy"
	"sockwarden/collectors"
	"sockwarden/collectors/procnet"
	"sockwarden/collectors/sockdiag"
	"sockwarden/engine"
	"sockwarden/engine/catalog"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// repeatedCycle runs this program again, as one that makes cycles.
func repeatedCycle(args ...string) (sample, error) { return itself("cycle", args...) }

// itself runs this program again, as one that measures something over and over.
func itself(what string, args ...string) (s sample, err error) {
	out, err := output("/proc/self/exe", append([]string{what}, args...)...)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// cycle makes cycles in one process, as a dry watcher does between two writes of its
// state file, and prints the median. The first one does not count: it opens and loads
// what the next ones keep.
func cycle(args []string) error {
	file, variable := args[0], args[1]
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	e, p, err := open(file, variable)
	if err != nil {
		return err
	}
	defer e.Close()
	return repeat(n, func() error {
		r, err := e.Cycle(context.Background(), p)
		if err != nil {
			return err
		}
		return errors.Join(r.Errors...)
	})
}

// count makes counting walks in one process, as a watcher with --listen does between its
// cycles, and prints the median.
func count(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	c, err := engine.NewCounter(options(), true)
	if err != nil {
		return err
	}
	defer c.Close()
	return repeat(n, func() error {
		census, err := c.Count(context.Background(), []string{"host"}, nil)
		if err != nil {
			return err
		}
		return errors.Join(census.Errors...)
	})
}

// repeat prints how long something takes, as the median of n times after the first.
func repeat(n int, do func() error) error {
	var took []float64
	var before time.Duration
	for i := range n + 1 {
		if i == 1 {
			before = used()
		}
		began := time.Now()
		if err := do(); err != nil {
			return err
		}
		if i > 0 {
			took = append(took, ms(time.Since(began)))
		}
	}
	return json.NewEncoder(os.Stdout).Encode(sample{Wall: median(took), CPU: ms(used()-before) / float64(n)})
}

// open makes an engine as the program does, without a state file.
func open(file, variable string) (*engine.Engine, *rules.Program, error) {
	registry, err := actions.NewRegistry(destroy.Plugin())
	if err != nil {
		return nil, nil, err
	}
	v, err := rules.ParseOverride(variable)
	if err != nil {
		return nil, nil, err
	}
	p, _, err := rules.Load(rules.Options{Paths: []string{file}, Vars: []rules.Override{v}, Catalog: catalog.New(registry)})
	if err != nil {
		return nil, nil, fmt.Errorf("rules: %w", err)
	}
	e, err := engine.New(options())
	return e, p, err
}

// options are those of a watcher.
func options() engine.Options {
	return engine.Options{
		Sources: []collectors.Plugin{sockdiag.Plugin(), procnet.Plugin()},
		Logger:  slog.New(slog.DiscardHandler),
		Owners:  world.OwnersBPF, // what a watcher uses, loaded once
	}
}

// used is the CPU time of this process.
func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail for itself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
