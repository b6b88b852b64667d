package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// apart says where a row comes from that was measured in another run than the others. Its
// floor was measured with it, in the same rounds: what another machine takes says nothing.
type apart struct {
	Date  string   `json:"date"`
	Cores string   `json:"cores"`
	Floor []sample `json:"floor,omitempty"`
}

// mergeInto puts the rows of this run, but for the floors, among those of an earlier one.
func (d *data) mergeInto(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "performance-data.json"))
	if err != nil {
		return err
	}
	earlier := &data{}
	if err := json.Unmarshal(b, earlier); err != nil {
		return err
	}
	for _, r := range d.Rows {
		if r.Floor == "" || len(r.Samples) == 0 {
			continue
		}
		r.Apart = &apart{Date: d.fact("date"), Cores: d.fact("cores")}
		if f := d.find(r.Floor, r.Size); f != nil {
			r.Apart.Floor = f.Samples
		}
		earlier.put(r)
	}
	return earlier.save(dir)
}

// put replaces a row, or adds it behind the others of its size.
func (d *data) put(r *row) {
	last := -1
	for i, other := range d.Rows {
		if other.Part != r.Part || other.Size != r.Size {
			continue
		}
		if last = i; other.Name == r.Name {
			d.Rows[i] = r
			return
		}
	}
	if last < 0 {
		fmt.Fprintf(os.Stderr, "%s: there are no other rows with %d sockets\n", r.Name, r.Size)
		last = len(d.Rows) - 1
	}
	d.Rows = slices.Insert(d.Rows, last+1, r)
}

// fact is what a run says about its machine.
func (d *data) fact(what string) string {
	for _, f := range d.Machine {
		if f.What == what {
			return f.Is
		}
	}
	return ""
}
