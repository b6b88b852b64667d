package rules

import (
	"errors"
	"path/filepath"
	"testing"
)

// What a condition names is written out as the files define it, each macro as its own file
// does; what cannot be, or is not clear, is said at its place.
func TestWriteOutOfProgram(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"a.yaml": "version: 1\nvars: {limit: 60, who: nginx, ports: [80, 443], times: {nginx: 30}, other: 1}\nsets: {mine: [21118, 21200..21210]}\n" +
			"macros:\n  old: age > limit /* long ago */\n  hung: state == \"CLOSE_WAIT\" and old\n  slow: age > lookup(times, process, 60)\n" +
			"rules:\n  - {name: a, when: hung and port in mine, then: [destroy]}\n",
		"b.yaml": "version: 1\nvars: {other: 2, limit: 60}\nmacros: {mine2: port == other}\nrules:\n  - {name: b, when: mine2 and age > limit, then: [destroy]}\n",
	})
	p, _, err := Load(Options{Paths: []string{filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")}, Catalog: testCatalog()})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"port == 80":                           "port == 80",
		"hung and port in mine":                "(state == \"CLOSE_WAIT\" and (age > 60 /* long ago */)) and port in [21118, 21200..21210]",
		"process == who and port in ports":     "process == \"nginx\" and port in [80, 443]",
		"mine2 and idle > limit":               "(port == 2) and idle > 60",
		"port in rustdesk":                     "port in [21115..21119]",
		"idle > other":                         `1:8: "other" means something else in ` + dir + "/b.yaml than in " + dir + "/a.yaml: write out what you mean",
		"slow":                                 `1:1: macro "slow": the map "times" cannot be written out here: write the value that you mean in place of lookup()`,
		"idle > lookup(times, process, 60)":    `1:15: the map "times" cannot be written out here: write the value that you mean in place of lookup()`,
		"port == 80 and old and limmit == 60":  `1:24: unknown name "limmit" (did you mean "limit"?)`,
		"process == \"hung\" and port != 8080": "process == \"hung\" and port != 8080",
	} {
		got, err := p.WriteOut(text)
		if list, ok := errors.AsType[Problems](err); ok {
			got = list[0].String()
			if list[0].File == "" && list[0].Line > 0 {
				t.Fatalf("%q", got)
			}
			got = got[len("expression:"):]
		}
		if got != want {
			t.Errorf("%s:\n%s\nnot\n%s", text, got, want)
		}
		if err != nil {
			continue
		}
		if err := CheckExpr(got, nil); err != nil {
			t.Errorf("%s still names something: %v", got, err)
		}
	}
	if text, err := (*Program)(nil).WriteOut("hung"); err == nil {
		t.Errorf("of no files: %s", text)
	}
}
