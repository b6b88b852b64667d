package rules

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"sockwarden/rules/lang/langtest"
)

const someVars = `version: 1
vars:
  number: 60
  wait: 5m
  text: hello
  flag: true
  choice: {value: none, one_of: [none, term, kill]}
  ports: [22, 80-90]
  typed: {value: [], type: ports}
  nets: [10.0.0.0/8]
  no_nets: {value: [], type: addresses}
  names: [nginx]
  no_names: {value: [], type: strings}
  open: []
  timeouts: {nginx: 30, postgres: 10m}
  words: {a: x}
`

// withVars loads someVars and returns the variables as they are written.
func withVars(t *testing.T, overrides ...string) (map[string]string, error) {
	t.Helper()
	opts := Options{Paths: []string{filepath.Join(writeFiles(t, map[string]string{"rules.yaml": someVars}), "rules.yaml")}, Catalog: testCatalog()}
	for _, text := range overrides {
		o, err := ParseOverride(text)
		if err != nil {
			t.Fatal(err)
		}
		opts.Vars = append(opts.Vars, o)
	}
	p, _, err := Load(opts)
	if err != nil {
		return nil, err
	}
	return p.Vars, nil
}

func TestVars(t *testing.T) {
	got, err := withVars(t)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"number": "60", "wait": `"5m"`, "text": `"hello"`, "flag": "true", "choice": `"none"`, "ports": "[22, 80..90]", "typed": "[]", "nets": "[10.0.0.0/8]",
		"no_nets": "[]", "names": `["nginx"]`, "no_names": "[]", "open": "[]", "timeouts": "{nginx: 30, postgres: 600}", "words": `{a: "x"}`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestOverrides(t *testing.T) {
	tests := []struct{ override, name, want string }{
		{"number=30", "number", "30"},
		{"number=1.5", "number", "1.5"},
		{"number=5m", "number", "300"},
		{"number=1h30m", "number", "5400"},
		{"number=0", "number", "0"},
		{"wait=90s", "wait", `"90s"`},
		{"text=", "text", `""`},
		{"text=a=b,c", "text", `"a=b,c"`},
		{"flag=false", "flag", "false"},
		{"flag=1", "flag", "true"},
		{"choice=kill", "choice", `"kill"`},
		{"ports=3306", "ports", "[3306]"},
		{"ports=22,3306", "ports", "[22, 3306]"},
		{"ports=22, 3306 ,", "ports", "[22, 3306]"},
		{"ports=1..3,5-6,7:9", "ports", "[1..3, 5..9]"},
		{"ports=", "ports", "[]"},
		{"ports+=3306", "ports", "[22, 80..90, 3306]"},
		{"ports+=", "ports", "[22, 80..90]"},
		{"ports+=91,85", "ports", "[22, 80..91]"},
		{"typed=80", "typed", "[80]"},
		{"typed+=80,443", "typed", "[80, 443]"},
		{"nets=192.0.2.1,::ffff:10.0.0.0/104", "nets", "[10.0.0.0/8, 192.0.2.1/32]"},
		{"nets+=fd00::1/8", "nets", "[10.0.0.0/8, fd00::/8]"},
		{"no_nets=10.1.2.3/8", "no_nets", "[10.0.0.0/8]"},
		{"names=a,b", "names", `["a", "b"]`},
		{"names+=80", "names", `["nginx", "80"]`},
		{"no_names=80,10.0.0.1", "no_names", `["80", "10.0.0.1"]`},
		{"open=80", "open", "[80]"},
		{"open=10.0.0.1", "open", "[10.0.0.1/32]"},
		{"open=x", "open", `["x"]`},
		{"timeouts=a:5,b:1m", "timeouts", "{a: 5, b: 60}"},
		{"timeouts+=nginx:5, b:1m", "timeouts", "{b: 60, nginx: 5, postgres: 600}"},
		{"timeouts=", "timeouts", "{}"},
		{"words+=b:y", "words", `{a: "x", b: "y"}`},
	}
	for _, tt := range tests {
		got, err := withVars(t, tt.override)
		if err != nil || got[tt.name] != tt.want {
			t.Errorf("--var %s: %s, %v; want %s", tt.override, got[tt.name], err, tt.want)
		}
	}
	got, err := withVars(t, "ports=1", "ports+=5", "number=3")
	if err != nil || got["ports"] != "[1, 5]" || got["number"] != "3" {
		t.Errorf("several: %v, %v", got, err)
	}
}

func TestWrongOverrides(t *testing.T) {
	tests := map[string]string{
		"number=x":         `--var: number is a number, not "x": write number=60, or units as in 90s, 5m, 1h30m, 2d`,
		"number=":          `--var: number is a number, not "": write number=60, or units as in 90s, 5m, 1h30m, 2d`,
		"number=nan":       `--var: number is a number, not "nan": write number=60, or units as in 90s, 5m, 1h30m, 2d`,
		"number=inf":       `--var: number is a number, not "inf": write number=60, or units as in 90s, 5m, 1h30m, 2d`,
		"number=1e999":     `--var: number is a number, not "1e999": write number=60, or units as in 90s, 5m, 1h30m, 2d`,
		"number=-1":        `--var: number is a number of at least 0, not "-1"`,
		"number+=5":        `--var: += adds to lists and maps, number is a number: write number=5`,
		"flag=maybe":       `--var: flag is true or false, not "maybe"`,
		"choice=kil":       `--var: choice is none, term or kill, not "kil" (did you mean "kill"?)`,
		"text+=x":          `--var: += adds to lists and maps, text is a string: write text=x`,
		"ports=x":          `--var: ports is a list of numbers, not "x": write ports=80,443`,
		"ports=80,x":       `--var: ports is a list of numbers, not "x": write ports=80,443`,
		"ports=10.0.0.1":   `--var: ports is a list of numbers, not "10.0.0.1": write ports=80,443`,
		"ports=90-80":      `--var: ports: "90-80" is not a range of ports: it goes from low to high, up to 65535`,
		"ports=80-99999":   `--var: ports: "80-99999" is not a range of ports: it goes from low to high, up to 65535`,
		"typed=x":          `--var: typed is a list of numbers, not "x": write typed=80,443`,
		"nets=80":          `--var: nets is a list of addresses, not "80": write nets=10.0.0.0/8,203.0.113.7`,
		"nets=10.0.0.0/99": `--var: nets: "10.0.0.0/99" is not a CIDR prefix, such as 10.0.0.0/8 or 2001:db8::/32`,
		"no_nets=x":        `--var: no_nets is a list of addresses, not "x": write no_nets=10.0.0.0/8,203.0.113.7`,
		"timeouts=5":       `--var: timeouts is a map: write timeouts=key:value,key:value, not "5"`,
		"timeouts=a:x":     `--var: timeouts holds numbers: "x" is not a time: write seconds, or units as in 90s, 5m, 1h30m, 2d`,
		"numer=5":          `--var: no rules file has a variable "numer" (did you mean "number"?)`,
		"zzzzzzzz=5": `--var: no rules file has a variable "zzzzzzzz" (known: choice, flag, names, nets, no_names, no_nets, number, open, ports, text, ` +
			`timeouts, typed, wait, words)`,
	}
	for override, want := range tests {
		_, err := withVars(t, override)
		checkUsage(t, err, want)
	}
	for _, text := range []string{"", "number", "=5", "+=5", "+"} {
		if o, err := ParseOverride(text); err == nil {
			t.Errorf("ParseOverride(%q) is %+v", text, o)
		}
	}
}

// TestOverrideFiles: a variable is set in every file that has it, and errors in a file
// come before those on the command line.
func TestOverrideFiles(t *testing.T) {
	file := "version: 1\nvars: {limit: 5}\nrules:\n  - {name: %s, when: port == limit, then: [destroy]}\n"
	dir := writeFiles(t, map[string]string{"a.yaml": fmt.Sprintf(file, "a"), "b.yaml": fmt.Sprintf(file, "b"), "c.yaml": twoRule})
	r := leak()
	r.Socket.LocalPort = 7
	p, _, err := Load(Options{Paths: []string{dir}, Vars: []Override{{Name: "limit", Value: "7"}}, Catalog: testCatalog()})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.NewEvaluator().Match(r)); got != "[0 1]" {
		t.Errorf("match %s", got)
	}
	writeFile(t, filepath.Join(dir, "d.yaml"), "version: 2\n")
	_, _, err = Load(Options{Paths: []string{dir}, Vars: []Override{{Name: "wrong", Value: "7"}}, Catalog: testCatalog()})
	checkLines(t, problemLines(t, err, dir), `d.yaml:1:10: version "2" is not known: write version: 1`)
	// A value that suits the variable but not its use is reported at the use.
	_, _, err = Load(Options{Paths: []string{filepath.Join(dir, "a.yaml")}, Vars: []Override{{Name: "limit", Value: "70000"}}, Catalog: testCatalog()})
	checkLines(t, problemLines(t, err, dir), `a.yaml:4:29: port 70000 is out of range (0..65535)`)
}

func TestSetFiles(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"sub/rules.yaml": "version: 1\nsets:\n  s: {file: set.txt}\nrules:\n  - {name: r, when: remote_addr in s, then: [destroy]}\n",
		"sub/set.txt":    "",
		"ports.yaml":     "version: 1\nsets:\n  s: {file: ports.txt}\nrules:\n  - {name: r, when: port in s, then: [destroy]}\n",
		"ports.txt":      "# ports\n80\r\n90-99   # a range\n\n\t100..105\n443\n# end",
		"bom.yaml":       "version: 1\nsets:\n  s: {file: bom.txt}\nrules:\n  - {name: r, when: process in s, then: [destroy]}\n",
		"bom.txt":        "\ufeffhbbs\n",
	})
	path := filepath.Join(dir, "sub", "rules.yaml")
	set := filepath.Join(dir, "sub", "set.txt")
	load := func(path string) (*Program, []string, error) {
		return Load(Options{Paths: []string{path}, Catalog: testCatalog()})
	}
	for text, want := range map[string][]string{
		"10.0.0.0/8\nnginx\n80\n": {
			`sub/set.txt:2:1: "nginx" is of another kind than the other entries, which are addresses`,
			`sub/set.txt:3:1: "80" is of another kind than the other entries, which are addresses`,
		},
		"10.0.0.0/8\n\n  10.0.0.0/99 # wrong\n": {`sub/set.txt:3:1: "10.0.0.0/99" is not a CIDR prefix, such as 10.0.0.0/8 or 2001:db8::/32`},
		"\xff\n":                                {`sub/set.txt:1:1: is not UTF-8 text: save the list as UTF-8`},
		"nginx\n":                               {`sub/set.txt:1:1: "nginx" is not an address (asked at sub/rules.yaml:5:36)`},
	} {
		writeFile(t, set, text)
		_, watched, err := load(path)
		got := problemLines(t, err, dir)
		for i := range want {
			want[i] = strings.ReplaceAll(want[i], dir+"/", "")
		}
		checkLines(t, got, want...)
		if len(watched) != 2 || watched[1] != set {
			t.Errorf("watched %v", watched)
		}
	}
	for name, text := range map[string]string{"empty": "", "comments": "# nothing\n\n", "one": "203.0.113.9"} {
		writeFile(t, set, text)
		p, _, err := load(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := p.Rules[0].When.Eval(leak()); (got == True) != (name == "one") || got == Unknown {
			t.Errorf("%s: %v", name, got)
		}
	}
	p, _, err := load(filepath.Join(dir, "ports.yaml"))
	if err != nil || p.Sets["s"].String() != "[80, 90..105, 443]" || !p.Sets["s"].IsPorts() {
		t.Errorf("ports: %v, %v", p, err)
	}
	p, _, err = load(filepath.Join(dir, "bom.yaml"))
	if err != nil || p.Rules[0].When.Eval(leak()) != True {
		t.Errorf("a mark at the beginning: %v", err)
	}
}

// TestLongestList: a list can have the maximum length, and no more.
func TestLongestList(t *testing.T) {
	if langtest.Race {
		t.Skip("two million lines take long under the race detector: the run without it has them")
	}
	text := strings.Repeat("10.0.0.1\n", maxListEntries)
	dir := writeFiles(t, map[string]string{"rules.yaml": listRules, "s.txt": text})
	p, err := load(dir, "rules.yaml")
	if err != nil || p.Sets["s"].String() != "[10.0.0.1/32]" {
		t.Errorf("as long as it may be: %v", err)
	}
	writeFile(t, filepath.Join(dir, "s.txt"), text+"10.0.0.1\n")
	_, err = load(dir, "rules.yaml")
	checkLines(t, problemLines(t, err, dir), fmt.Sprintf("s.txt:%d:1: a list has at most 2,000,000 entries: divide it into several sets", maxListEntries+1))
}

// TestSetsInFile shows how elements are written, and how they are displayed.
func TestSetsInFile(t *testing.T) {
	for text, want := range map[string]string{
		"[1, 3..5, 4-9, 11:12, 2]": "[1..9, 11..12]", "[80]": "[80]", "[010]": "[10]", `["80"]`: "[80]", "[]": "[]", "[0, 65535]": "[0, 65535]", "[100000]": "[100000]",
		"[10.1.2.3/8, 10.0.0.1]": "[10.0.0.0/8]", `["::ffff:10.1.2.3"]`: "[10.1.2.3/32]", `["::1", "fe80::/10"]`: "[::1/128, fe80::/10]", `["::/0"]`: "[::/0]",
		"[a, b-c, 1.5.x]": `["a", "b-c", "1.5.x"]`, "[/usr/bin/x]": `["/usr/bin/x"]`, "[yes, no]": `["yes", "no"]`,
	} {
		p := mustLoad(t, "version: 1\nsets:\n  s: "+text+"\n")
		if got := p.Sets["s"].String(); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	p := mustLoad(t, "version: 1\nsets:\n  rustdesk: [1]\n")
	if got := p.Sets["rustdesk"].String(); got != "[1]" {
		t.Errorf("the built-in set wins: %s", got)
	}
}
