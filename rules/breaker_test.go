package rules

import (
	"fmt"
	"testing"
)

// Only what files set of the breaker counts, and of that the strictest, in whatever order
// the files come.
func TestBreakerOfFiles(t *testing.T) {
	files := map[string]string{
		"silent.yaml": oneRule, "other.yaml": "version: 1\ndefaults: {limits: {per_cycle: 3}}\n",
		"high.yaml":  "version: 1\ndefaults: {breaker: {count: 2000, share: 90%}}\n",
		"count.yaml": "version: 1\ndefaults: {breaker: {count: 1000}}\n",
		"share.yaml": "version: 1\ndefaults: {breaker: {share: 60%}}\n",
		"low.yaml":   "version: 1\ndefaults: {breaker: {count: 5, share: 1%}}\n",
	}
	dir := writeFiles(t, files)
	for _, c := range []struct {
		files []string
		want  string
	}{
		{[]string{"silent.yaml"}, "500/30%"},
		{[]string{"high.yaml"}, "2000/90%"},
		{[]string{"high.yaml", "silent.yaml", "other.yaml"}, "2000/90%"},
		{[]string{"count.yaml", "silent.yaml"}, "1000/30%"},
		{[]string{"share.yaml"}, "500/60%"},
		{[]string{"high.yaml", "count.yaml", "share.yaml"}, "1000/60%"},
		{[]string{"count.yaml", "low.yaml", "silent.yaml"}, "5/1%"},
	} {
		for range 2 {
			p, err := load(dir, c.files...)
			if err != nil {
				t.Fatalf("%v: %v", c.files, err)
			}
			if p.Breaker.String() != c.want || p.Breaker.ShareMin != 50 || p.Breaker.ByHand {
				t.Errorf("%v: %v %+v, want %s", c.files, p.Breaker, p.Breaker, c.want)
			}
			for i, j := 0, len(c.files)-1; i < j; i, j = i+1, j-1 {
				c.files[i], c.files[j] = c.files[j], c.files[i]
			}
		}
	}
}

// The command line wins, and is written back as it was read.
func TestParseBreaker(t *testing.T) {
	for text, want := range map[string]Breaker{
		"off":      {ShareMin: 50, ByHand: true},
		"1":        {Count: 1, ShareMin: 50, ByHand: true},
		"2000":     {Count: 2000, ShareMin: 50, ByHand: true},
		"2000/50%": {Count: 2000, Share: 0.5, ShareMin: 50, ByHand: true},
	} {
		b, err := ParseBreaker(text)
		if err != nil || b != want || b.String() != text {
			t.Errorf("%s: %+v %q, %v", text, b, b, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "on", "50%", "2000/", "2000/0%", "2000/101%", "2000/5", "2000/50%/1", "1e3", " 5"} {
		if b, err := ParseBreaker(text); err == nil {
			t.Errorf("%q: %+v", text, b)
		}
	}
	dir := writeFiles(t, map[string]string{"low.yaml": "version: 1\ndefaults: {breaker: {count: 5, share: 1%}}\n"})
	off, err := ParseBreaker("off")
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := Load(Options{Paths: []string{dir + "/low.yaml"}, Breaker: &off})
	if err != nil || fmt.Sprint(p.Breaker) != "off" || !p.Breaker.ByHand {
		t.Errorf("%v, %v", p, err)
	}
}
