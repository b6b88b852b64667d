package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// data is a whole run, kept as performance-data.json.
type data struct {
	Machine   []fact `json:"machine"`
	Rounds    int    `json:"rounds"`
	Threshold int    `json:"age_threshold_s"`
	Rows      []*row `json:"rows"`
}

type fact struct {
	What string `json:"what"`
	Is   string `json:"is"`
}

// add takes the rows of a job, and notes what larger sizes need not try.
func (d *data) add(rows []*row, skipped map[string]string) {
	d.Rows = append(d.Rows, rows...)
	for _, r := range rows {
		if r.Note == errLate.Error() {
			skipped[r.Name] = "left out: " + r.Note + " for a smaller load"
		}
	}
}

// faults says what makes a run useless: rows that failed, and parts of names that match
// no measured row.
func (d *data) faults(only []string) error {
	var all []error
	for _, r := range d.Rows {
		if r.Failed {
			all = append(all, fmt.Errorf("%s, %d sockets: %s", r.Name, r.Size, r.Note))
		}
	}
	for _, part := range only {
		if !slices.ContainsFunc(d.Rows, func(r *row) bool { return len(r.Samples) > 0 && strings.Contains(r.Name, part) }) {
			all = append(all, fmt.Errorf("-only %s: no row of that name was measured", part))
		}
	}
	return errors.Join(all...)
}

// save writes everything known so far.
func (d *data) save(dir string) error {
	b, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "performance-data.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	if err := writePlot(d, filepath.Join(dir, "performance.svg")); err != nil {
		return err
	}
	return writeReport(d, filepath.Join(dir, "performance.md"))
}

// find returns a measured row, or nil.
func (d *data) find(name string, size int) *row {
	for _, r := range d.Rows {
		if r.Name == name && r.Size == size && len(r.Samples) > 0 {
			return r
		}
	}
	return nil
}

func (d *data) sizes() []int {
	var sizes []int
	for _, r := range d.Rows {
		sizes = append(sizes, r.Size)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

func (r *row) values(of func(sample) float64) []float64 {
	var v []float64
	for _, s := range r.Samples {
		v = append(v, of(s))
	}
	return v
}

func (r *row) wall() float64 { return median(r.values(wall)) }

func wall(s sample) float64 { return s.Wall }
func cpu(s sample) float64  { return s.CPU }
func rss(s sample) float64  { return s.RSS }

// spread is the relative width of the times: (p90 - p10) / median.
func (r *row) spread() float64 {
	v := r.values(wall)
	return (quantile(v, 0.9) - quantile(v, 0.1)) / median(v)
}

// ratio is the median of this row's times, each divided by the other row's time in the
// same round: changes of the machine between the rounds do not matter.
func (r *row) ratio(other *row) float64 {
	samples := other.Samples
	if r.Apart != nil && other.Name == r.Floor {
		samples = r.Apart.Floor
	}
	var v []float64
	for i := range min(len(r.Samples), len(samples)) {
		v = append(v, r.Samples[i].Wall/samples[i].Wall)
	}
	return median(v)
}

func median(v []float64) float64 { return quantile(v, 0.5) }

// quantile interpolates between the two nearest values.
func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	at := q * float64(len(v)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(v)-1)
	return v[low] + (at-float64(low))*(v[high]-v[low])
}

// machine describes what the numbers were measured on and with.
func machine() []fact {
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	model := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(cpu)
	if model == nil {
		model = [][]byte{nil, []byte(runtime.GOARCH)}
	}
	mem, _ := os.ReadFile("/proc/meminfo")
	_, after, _ := strings.Cut(string(mem), "MemTotal:")
	total, _, _ := strings.Cut(strings.TrimSpace(after), "\n")
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	facts := []fact{
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"CPU", string(model[1])},
		{"cores", strconv.Itoa(runtime.NumCPU())},
		{"memory", total},
		{"kernel", strings.TrimSpace(string(release))},
		{"Go", runtime.Version()},
	}
	for _, program := range [][]string{{"ss", "-V"}, {"netstat", "--version"}, {"lsof", "-v"}, {"gcc", "--version"}} {
		facts = append(facts, fact{program[0], version(program)})
	}
	return facts
}

// version is the first line with a number in what a program says about itself.
func version(program []string) string {
	out, err := exec.Command(program[0], program[1:]...).CombinedOutput()
	if err != nil && len(out) == 0 {
		return "not installed"
	}
	number := regexp.MustCompile(`\d+\.\d+`)
	for line := range strings.Lines(string(out)) {
		if number.MatchString(line) && !strings.Contains(line, "://") {
			return strings.TrimSpace(line)
		}
	}
	return "of unknown version"
}
