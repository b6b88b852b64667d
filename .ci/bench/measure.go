package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is one measurement: times in milliseconds, memory in MB (2^20 bytes).
type sample struct {
	Wall float64 `json:"wall_ms"`
	CPU  float64 `json:"cpu_ms,omitempty"`
	RSS  float64 `json:"rss_mb,omitempty"`
}

// row is the measurements of one task at one size. Samples of one round have the same
// index in all rows.
type row struct {
	Part    string   `json:"part"`
	Name    string   `json:"name"`
	Size    int      `json:"size"`
	Floor   string   `json:"floor,omitempty"`
	Samples []sample `json:"samples,omitempty"`
	Note    string   `json:"note,omitempty"`
	Failed  bool     `json:"failed,omitempty"` // the note is about a fault, not about what cannot be measured here
	Apart   *apart   `json:"apart,omitempty"`  // from another run than the others, nil for the same
}

// limit is the longest time that a program may take, in seconds.
const limit = 60

var errLate = fmt.Errorf("took more than %d s", limit)

// meter runs a whole program and throws its output away.
func meter(dir string, args ...string) (sample, error) {
	cmd := exec.Command(filepath.Join(dir, "meter"), append([]string{strconv.Itoa(limit)}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return sample{}, err
	}
	var code int
	var s sample
	if _, err := fmt.Sscan(string(out), &code, &s.Wall, &s.CPU, &s.RSS); err != nil {
		return sample{}, fmt.Errorf("meter says %q: %w", out, err)
	}
	s = sample{Wall: s.Wall / 1e6, CPU: s.CPU / 1e6, RSS: s.RSS / 1024}
	if code == -1 {
		return s, errLate
	}
	if code != 0 {
		first, _, _ := strings.Cut(errs.String(), "\n")
		return s, fmt.Errorf("exit code %d: %s", code, first)
	}
	return s, nil
}

// output runs a program and returns what it prints.
func output(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if ctx.Err() != nil {
		return "", errLate
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s: %w: %s", filepath.Base(name), err, exit.Stderr)
	}
	return string(out), err
}

// fail notes what went wrong with a row. Taking too long is a finding, not a fault.
func (r *row) fail(err error) {
	r.Note, r.Failed = strings.TrimSpace(err.Error()), !errors.Is(err, errLate)
}

// alternate runs all tasks in turn, in each round. A task that fails gets a note and is
// not tried again.
func alternate(part string, size, rounds int, list []task, missing map[string]string) []*row {
	var rows []*row
	for _, t := range list {
		rows = append(rows, &row{Part: part, Name: t.name, Size: size, Floor: t.floor, Note: missing[t.name]})
	}
	for round := range rounds {
		fmt.Fprintf(os.Stderr, "%s, %d sockets: round %d of %d\n", part, size, round+1, rounds)
		for i, t := range list {
			if rows[i].Note != "" {
				continue
			}
			s, err := t.run()
			if err != nil {
				fmt.Fprintf(os.Stderr, "  %s: %v\n", t.name, err)
				rows[i].fail(err)
				continue
			}
			rows[i].Samples = append(rows[i].Samples, s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		if !slices.ContainsFunc(list, func(t task) bool { return t.name == name }) {
			rows = append(rows, &row{Part: part, Name: name, Size: size, Note: missing[name]})
		}
	}
	return rows
}

// measure is the job for the mixed load.
func measure(j *job) ([]*row, error) {
	l, err := startMixed(j.Dir, j.Size)
	if err != nil {
		return nil, err
	}
	l.age(time.Duration(threshold(j.Quick)+1) * time.Second)
	if err := agree(j); err != nil {
		return nil, err
	}
	list, missing := tasks(j)
	maps.Copy(missing, j.Skipped)
	rows := alternate("measure", j.Size, j.Rounds, list, missing)
	rows = append(rows, watchMemory(j)...)
	return rows, l.stop()
}

// agree checks that sockwarden finds what the floor counts: overlooking sockets would
// make a program fast.
func agree(j *job) error {
	want, _, err := askFloor(j.Dir, "-C", "-s", "0x100", "-b")
	if err != nil {
		return err
	}
	out, err := output(filepath.Join(j.Dir, "sockwarden"), "audit", "--rules", rulesFile(j.Dir, "narrow"), "-o", "json",
		"--state-file", filepath.Join(j.Dir, "agree.state"), "--var", "timeout="+strconv.Itoa(threshold(j.Quick)))
	if err != nil {
		return err
	}
	var report struct{ Summary struct{ Matched int } }
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return err
	}
	if want == 0 || report.Summary.Matched != want {
		return fmt.Errorf("sockwarden matches %d sockets, the floor counts %d", report.Summary.Matched, want)
	}
	return nil
}
