package procnet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sockwarden/collectors"
)

func FuzzParseNet(f *testing.F) {
	files, err := filepath.Glob("testdata/*-6.18")
	if err != nil || len(files) == 0 {
		f.Fatalf("no testdata (%v)", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		must(f, "read", err)
		for line := range strings.Lines(string(b)) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, p := range everything.Protocols {
			for _, fam := range []collectors.Family{collectors.IPv4, collectors.IPv6} {
				var s collectors.Socket
				if parseNet(line, table{p, fam}, &s) != nil {
					continue
				}
				checkNet(t, &s)
				if s.Protocol != p || s.Family != fam {
					t.Errorf("%s, family %d", s.Protocol, s.Family)
				}
			}
		}
	})
}

func BenchmarkParseNet(b *testing.B) {
	kind := table{family: 2, protocol: 6}
	n := len(readTestdata(b, "tcp-6.18", kind))
	b.ReportAllocs()
	for b.Loop() {
		if len(readTestdata(b, "tcp-6.18", kind)) != n {
			b.Fatal("records are missing")
		}
	}
}
