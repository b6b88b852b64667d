package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// measureDestroy is the job that makes a fresh load for each program and round, and lets
// the program destroy all of it.
func measureDestroy(j *job) ([]*row, error) {
	var list []task
	add := func(name string, args ...string) {
		if wanted(j, name) {
			list = append(list, task{name, "destroy floor", func() (sample, error) { return destroyAll(j, args...) }})
		}
	}
	warden := filepath.Join(j.Dir, "sockwarden")
	add("destroy floor", filepath.Join(j.Dir, "killfloor"))
	add("destroy ss -K", "ss", "-K", "state", "close-wait")
	add("destroy kill", warden, "kill", "-s", "close-wait", "-y", "--max", "1000000", "--rules", "builtin")
	if len(list) == 1 {
		return nil, nil // nobody asked for the rest
	}
	return alternate("destroy", j.Size, j.Rounds, list, nil), nil
}

func destroyAll(j *job, args ...string) (sample, error) {
	l, err := startCloseWait(j.Dir, j.Size)
	if err != nil {
		return sample{}, err
	}
	l.age(1500 * time.Millisecond) // the closed ends are gone after a second
	s, err := meter(j.Dir, args...)
	left, _, countErr := askFloor(j.Dir, "-s", "0x100")
	if left > 0 {
		countErr = fmt.Errorf("%d sockets are left", left)
	}
	return s, errors.Join(err, countErr, l.stop())
}

// watchMemory measures the peak memory of dry watchers, at 100,000 sockets, or at 10,000
// in a quick run.
func watchMemory(j *job) []*row {
	cycles := 10
	if j.Quick {
		cycles = 3
	}
	var rows []*row
	for _, rules := range []string{"narrow", "none-match"} {
		name := "watch " + strings.ReplaceAll(rules, "-", " ")
		if !wanted(j, name) || j.Size != 100_000 && !(j.Quick && j.Size == 10_000) {
			continue
		}
		r := &row{Part: "memory", Name: name, Size: j.Size}
		peak, err := watchPeak(j, rules, cycles)
		if err != nil {
			r.fail(err)
		} else {
			r.Samples = []sample{{RSS: peak}}
		}
		rows = append(rows, r)
	}
	return rows
}

// watchPeak lets a watcher make cycles and returns its VmHWM in MB.
func watchPeak(j *job, rules string, cycles int) (float64, error) {
	cmd := exec.Command(filepath.Join(j.Dir, "sockwarden"), "watch", "-v", "--log-format", "json", "--interval", "1s",
		"--rules", rulesFile(j.Dir, rules), "--var", "timeout="+strconv.Itoa(threshold(j.Quick)), "--state-file", filepath.Join(j.Dir, "watch-"+rules+".state"))
	log, err := cmd.StderrPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	late := time.AfterFunc(limit*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	done := 0
	for lines := bufio.NewScanner(log); done < cycles && lines.Scan(); {
		if strings.Contains(lines.Text(), `"msg":"cycle"`) {
			done++
		}
	}
	peak, err := peakOf(cmd.Process.Pid)
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
	if done < cycles {
		return 0, errors.New("the watcher made too few cycles")
	}
	return peak, err
}

func peakOf(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kb float64
	_, err = fmt.Sscan(after, &kb)
	return kb / 1024, err
}
