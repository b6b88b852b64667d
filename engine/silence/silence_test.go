package silence

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func about(names ...string) *Silence {
	return &Silence{Rules: names, CreatedBy: "anna", StartsAt: noon, EndsAt: noon.Add(time.Hour)}
}

// Whoever adds at the same time, each silence has its own number and none is lost.
func TestAddTogether(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "a", base), filepath.Join(dir, "b", base)
	files := []string{one, two}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := Add(t.Context(), one, files, about("r")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := Add(t.Context(), two, files, about("r")); err != nil {
		t.Fatal(err)
	}
	in := NewStore(files...).At(noon)
	var ids []int
	for _, s := range in {
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 21 || ids[0] != 1 || ids[20] != 21 {
		t.Errorf("numbers %v", ids)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) != 4 {
		t.Errorf("there are %v", left)
	}
	if st, err := os.Stat(one); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("%v %v", st, err)
	}
}

// A file that nobody could read any more would spare everything: what makes it too large is
// refused, and the rest goes on.
func TestTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), base)
	large := `comm == "` + strings.Repeat("<", 16_000) + `"` // each takes six bytes in JSON
	added := 0
	var err error
	for ; err == nil && added < maxSilences; added++ {
		one := about("r")
		one.Comment = large
		err = Add(t.Context(), path, []string{path}, one)
	}
	if err == nil || !strings.Contains(err.Error(), "would be larger than 1048576 bytes") {
		t.Fatalf("after %d: %v", added, err)
	}
	if in := NewStore(path).At(noon); len(in) != added-1 || in[0].Broken() != "" {
		t.Errorf("%d of %d: %s", len(in), added-1, in[0])
	}
	if err := Remove(t.Context(), []string{path}, 1, "bob", noon); err != nil {
		t.Error(err)
	}
}

// A rule that has another name is another rule.
func TestMissing(t *testing.T) {
	exists := func(rule string) bool { return rule == "r" }
	if got := about("r", "s").Missing(exists); !slices.Equal(got, []string{"s"}) {
		t.Error(got)
	}
	if got := about().Missing(exists); got != nil {
		t.Error(got)
	}
}

// A number is never given twice, and ended silences make room.
func TestNumbers(t *testing.T) {
	path := filepath.Join(t.TempDir(), base)
	files := []string{path}
	for range 3 {
		if err := Add(t.Context(), path, files, about("r")); err != nil {
			t.Fatal(err)
		}
	}
	if err := Remove(t.Context(), files, 3, "bob", noon); err != nil {
		t.Fatal(err)
	}
	for _, id := range []int{3, 9, 0, -1} {
		if err := Remove(t.Context(), files, id, "bob", noon); !errors.Is(err, ErrUnknown) {
			t.Errorf("%d: %v", id, err)
		}
	}
	later := about("r")
	later.StartsAt, later.EndsAt = noon.Add(2*time.Hour), noon.Add(3*time.Hour)
	if err := Add(t.Context(), path, files, later); err != nil || later.ID != 4 {
		t.Errorf("%d, %v", later.ID, err)
	}
	s := NewStore(files...)
	if in := s.At(noon.Add(150 * time.Minute)); len(in) != 1 || in[0].ID != 4 || in.IDs() != "4" {
		t.Errorf("%v", in)
	}
	// A clock that is set back does not end it; one that is set forward does.
	if len(s.At(noon.Add(-time.Hour))) != 1 || len(s.At(noon.Add(3*time.Hour))) != 0 {
		t.Error("it does not go by the wall clock")
	}
}

// What cannot be read is not overwritten, and a file that is put in place is seen.
func TestBrokenFileStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), base)
	s := NewStore(path)
	if in := s.At(noon); len(in) != 0 {
		t.Errorf("%v", in)
	}
	if err := os.WriteFile(path, []byte("{\"format\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	if in := s.At(noon); len(in) != 1 || !strings.Contains(in[0].Broken(), path+" is broken") || !in[0].Is("any") {
		t.Errorf("%v", in)
	}
	if err := Add(t.Context(), path, []string{path}, about("r")); err == nil || !strings.Contains(err.Error(), "remove it to go on") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "{\"format\":" {
		t.Errorf("%q, %v", b, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", path); err != nil {
		t.Fatal(err)
	}
	if in := s.At(noon); len(in) != 1 || in[0].Broken() == "" {
		t.Errorf("through a link: %v", in)
	}
}

func TestCheck(t *testing.T) {
	for want, change := range map[string]func(*Silence){
		"nothing is selected":   func(s *Silence) { s.Rules = nil },
		"has no name":           func(s *Silence) { s.Rules = []string{" "} },
		"has no time":           func(s *Silence) { s.EndsAt = s.StartsAt },
		"at most a year":        func(s *Silence) { s.EndsAt = s.StartsAt.Add(400 * 24 * time.Hour) },
		"comment has more":      func(s *Silence) { s.Comment = strings.Repeat("x", 501) },
		"condition has more":    func(s *Silence) { s.Expr = strings.Repeat("x", 20_000) },
		"unknown name \"no\"":   func(s *Silence) { s.Expr = "no == 1" },
		"everything or nothing": func(s *Silence) { s.Rules, s.Expr = nil, "(1 == 1)" },
		"not a condition":       func(s *Silence) { s.Owner = "pid" },
	} {
		s := about("r")
		change(s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
	}
	if err := about("r").Check(); err != nil {
		t.Error(err)
	}
}

// The file says who has removed a silence; that of many is forgotten at last.
func TestRemovedBy(t *testing.T) {
	path := filepath.Join(t.TempDir(), base)
	files := []string{path}
	s := NewStore(files...)
	for id := 1; id <= maxRemoved+1; id++ {
		if err := Add(t.Context(), path, files, about("r")); err != nil {
			t.Fatal(err)
		}
		if err := Remove(t.Context(), files, id, "bob\x1b", noon); err != nil {
			t.Fatal(err)
		}
	}
	if in := s.At(noon); len(in) != 0 {
		t.Errorf("in force: %v", in)
	}
	for id, want := range map[int]string{1: "", 2: "bob?", maxRemoved + 1: "bob?", maxRemoved + 2: ""} {
		if got := s.RemovedBy(id); got != want {
			t.Errorf("silence %d was removed by %q", id, got)
		}
	}
}
