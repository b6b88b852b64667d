package rules

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/rules/lang/langtest"
)

// fill repeats a text that depends on a counter until it has size bytes.
func fill(size int, begin string, part func(i int) string, end string) string {
	var b strings.Builder
	b.WriteString(begin)
	for i := 0; b.Len()+len(end) < size; i++ {
		p := part(i)
		if b.Len()+len(p)+len(end) > size {
			break
		}
		b.WriteString(p)
	}
	b.WriteString(end)
	return b.String()
}

// chunks joins parts into texts of at most 8,000 bytes, the limit of a condition, and
// writes each as part of the file.
func chunks(size int, begin, sep string, part func(i int) string, frame func(i int, text string) string) string {
	n := 0
	return fill(size, begin, func(i int) string {
		text := fill(8000, "", func(k int) string {
			n++
			if k == 0 {
				return part(n)
			}
			return sep + part(n)
		}, "")
		return frame(i, text)
	}, "")
}

func oneRuleOf(i int, condition string) string {
	return fmt.Sprintf("  - {name: r%d, when: '%s', then: [destroy]}\n", i, condition)
}

// rulesOnly is a directory with one file.
func rulesOnly(text string) map[string]string { return map[string]string{"rules.yaml": text} }

// sized are files of a given size with as much of one thing as fits, most of it wrong.
var sized = map[string]func(size int) map[string]string{
	"unknown keys on one line": func(n int) map[string]string {
		return rulesOnly(fill(n, "{version: 1", func(i int) string { return fmt.Sprintf(", k%d: 1", i) }, "}"))
	},
	"unknown keys": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\n", func(i int) string { return fmt.Sprintf("k%d: 1\n", i) }, ""))
	},
	"duplicate keys": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\n", func(int) string { return "netns: a\n" }, ""))
	},
	"long keys": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\n", func(i int) string { return fmt.Sprintf("%s%d: 1\n", strings.Repeat("x", 900), i) }, ""))
	},
	"rules that are none": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nrules: [a", func(int) string { return ",a" }, "]"))
	},
	"rules with one name": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nrules:\n", func(int) string { return oneRuleOf(1, "owned") }, ""))
	},
	"unknown fields, each a rule": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nrules:\n", func(i int) string { return oneRuleOf(i, "fild == 1") }, ""))
	},
	"unknown fields, together": func(n int) map[string]string {
		return rulesOnly(chunks(n, "version: 1\nrules:\n", " or ", func(i int) string { return fmt.Sprintf("x%d", i) }, oneRuleOf))
	},
	"names that are like many others": func(n int) map[string]string {
		vars := fill(n/2, "version: 1\nvars:\n", func(i int) string { return fmt.Sprintf("  variable%d: 1\n", i) }, "")
		return rulesOnly(vars + chunks(n/2, "rules:\n", " or ", func(i int) string { return fmt.Sprintf("variables%d", i) }, oneRuleOf))
	},
	"bad macros": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nmacros:\n", func(i int) string { return fmt.Sprintf("  m%d: x +\n", i) }, ""))
	},
	"macros of macros": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nmacros:\n  m0: owned\n", func(i int) string { return fmt.Sprintf("  m%d: m%d or m%d\n", i+1, i, i) }, ""))
	},
	"macros of a large one": func(n int) map[string]string {
		large := "version: 1\nmacros:\n  m: " + strings.Repeat("owned or ", 800) + "owned\n"
		return rulesOnly(fill(n, large, func(i int) string { return fmt.Sprintf("  m%d: m\n", i) }, ""))
	},
	"a large macro again and again": func(n int) map[string]string {
		large := "version: 1\nmacros:\n  m: owned /*" + strings.Repeat("x", 8000) + "*/\nrules:\n"
		return rulesOnly(chunks(n, large, " or ", func(int) string { return "m" }, oneRuleOf))
	},
	"rules of many large macros": func(n int) map[string]string {
		var names []string
		macros := fill(n/2, "version: 1\nmacros:\n", func(i int) string {
			names = append(names, fmt.Sprintf("m%d", i))
			return fmt.Sprintf("  m%d: owned /*%s*/\n", i, strings.Repeat("x", 8000))
		}, "")
		macros += "  all: " + strings.Join(names[:len(names)-1], " or ") + "\n"
		return rulesOnly(fill(n, macros+"rules:\n", func(i int) string { return oneRuleOf(i, "all") }, ""))
	},
	"rules of a large set": func(n int) map[string]string {
		set := fill(n/2, "version: 1\nsets:\n  s: [a", func(i int) string { return fmt.Sprintf(",a%d", i) }, "]\nrules:\n")
		return rulesOnly(fill(n, set, func(i int) string { return oneRuleOf(i, "process in s") }, ""))
	},
	"a large set again and again": func(n int) map[string]string {
		set := fill(n/2, "version: 1\nsets:\n  s: [a", func(i int) string { return fmt.Sprintf(",a%d", i) }, "]\nrules:\n")
		return rulesOnly(chunks(n, set, " or ", func(int) string { return "user in s" }, oneRuleOf))
	},
	"a large map again and again": func(n int) map[string]string {
		set := fill(n/2, "version: 1\nvars:\n  s: {a: b", func(i int) string { return fmt.Sprintf(",a%d: b", i) }, "}\nrules:\n")
		return rulesOnly(chunks(n, set, " or ", func(int) string { return `lookup(s,user,"")=="b"` }, oneRuleOf))
	},
	"rules and ports": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nrules:\n", func(i int) string { return oneRuleOf(i, fmt.Sprintf("port == %d", i*2%65536)) }, ""))
	},
	"ports in each rule": func(n int) map[string]string {
		return rulesOnly(chunks(n, "version: 1\nrules:\n", " or ", func(i int) string { return fmt.Sprintf("port==%d", i*2%65536) }, oneRuleOf))
	},
	"deep conditions": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nrules:\n", func(i int) string {
			return oneRuleOf(i, strings.Repeat("(", 2000)+"owned"+strings.Repeat(")", 2000))
		}, ""))
	},
	"not not": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nrules:\n", func(i int) string { return oneRuleOf(i, strings.Repeat("!", 2000)+"owned") }, ""))
	},
	"long chains": func(n int) map[string]string {
		return rulesOnly(chunks(n, "version: 1\nrules:\n", "+", func(int) string { return "pid" }, func(i int, s string) string { return oneRuleOf(i, s+" > 1") }))
	},
	"namespaces and rules": func(n int) map[string]string {
		return rulesOnly(fill(n, fill(n/2, "version: 1\nnetns: [a", func(i int) string { return fmt.Sprintf(",n%d", i) }, "]\nrules:\n"),
			func(i int) string { return oneRuleOf(i, "owned") }, ""))
	},
	"bad elements": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nsets:\n  s: [1", func(int) string { return ",a" }, "]"))
	},
	"bad lines of a list": func(n int) map[string]string {
		files := rulesOnly("version: 1\nsets:\n  s: {file: list.txt}\n")
		files["list.txt"] = fill(n, "1\n", func(int) string { return "aaaaaaaaa\n" }, "")
		return files
	},
	"many lists": func(n int) map[string]string {
		files := rulesOnly(fill(n/4, "version: 1\nsets:\n", func(i int) string { return fmt.Sprintf("  s%d: {file: list.txt}\n", i) }, ""))
		files["list.txt"] = fill(n/1000, "1\n", func(int) string { return "a\n" }, "")
		return files
	},
	"several files": func(n int) map[string]string {
		files := map[string]string{}
		for k := range 8 {
			files[fmt.Sprintf("rules.d/%d.yaml", k)] = fill(n/8, "version: 1\n", func(i int) string { return fmt.Sprintf("k%d: 1\n", i) }, "")
		}
		return files
	},
	"bad rungs": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nrules:\n- name: r\n  when: owned\n  then:\n", func(int) string { return "  - destroi\n" }, ""))
	},
	"notify": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nrules:\n- name: r\n  when: owned\n  then: [log]\n  notify: [a", func(i int) string { return fmt.Sprintf(",a%d", i) }, "]"))
	},
	"never matches": func(n int) map[string]string { // warnings
		return rulesOnly(fill(n, "version: 1\nrules:\n", func(i int) string { return oneRuleOf(i, `state == "LISTEN" and state == "CLOSE"`) }, ""))
	},
	"brackets":       func(n int) map[string]string { return rulesOnly(strings.Repeat("[", n)) },
	"braces":         func(n int) map[string]string { return rulesOnly(strings.Repeat("{", n)) },
	"dashes":         func(n int) map[string]string { return rulesOnly(strings.Repeat("- ", n/2)) },
	"question marks": func(n int) map[string]string { return rulesOnly(strings.Repeat("? ", n/2)) },
	"colons":         func(n int) map[string]string { return rulesOnly(strings.Repeat("a: ", n/3)) },
	"comments":       func(n int) map[string]string { return rulesOnly("version: 1\n" + strings.Repeat("# c\n", n/4)) },
	"comments between": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nrules:\n", func(int) string { return "# c\n\n- a\n" }, ""))
	},
	"tags": func(n int) map[string]string {
		return rulesOnly(fill(n, "version: 1\nrules: [a", func(int) string { return ",!x a" }, "]"))
	},
	"aliases": func(n int) map[string]string {
		return rulesOnly(fill(n, "a: &a 1\nrules: [1", func(int) string { return ",*a" }, "]"))
	},
	"one word":          func(n int) map[string]string { return rulesOnly(strings.Repeat("a", n)) },
	"lines of one word": func(n int) map[string]string { return rulesOnly(strings.Repeat("a\n", n/2)) },
	"quoted":            func(n int) map[string]string { return rulesOnly(`"` + strings.Repeat(`\x41\n`, n/6)) },
	"block":             func(n int) map[string]string { return rulesOnly("version: |\n" + strings.Repeat(" a\n", n/3)) },
	"indents": func(n int) map[string]string {
		return rulesOnly(fill(n, "", func(i int) string { return strings.Repeat(" ", i) + "a:\n" }, ""))
	},
}

func loadSized(t testing.TB, files map[string]string) (*Program, error) {
	t.Helper()
	dir := writeFiles(t, files)
	paths := []string{filepath.Join(dir, "rules.yaml")}
	if _, ok := files["rules.yaml"]; !ok {
		paths = []string{filepath.Join(dir, "rules.d")}
	}
	p, _, err := Load(Options{Catalog: testCatalog(), Paths: paths})
	var list Problems
	if err != nil && !errors.As(err, &list) {
		t.Fatalf("%v (%T)", err, err)
	}
	return p, err
}

// spent is the CPU time that this process has used so far. Unlike wall time it does not
// depend on what else the machine does.
func spent(t testing.TB) time.Duration {
	t.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// mostTime is the most that a file of that size may take, based on a plain one on this
// machine: of the 130,000-byte files that took quadratic time, most took a thousand times
// as long.
func mostTime(t testing.TB, size int) time.Duration {
	t.Helper()
	began := spent(t)
	if _, err := loadSized(t, rulesOnly(manyRules(size/150))); err != nil {
		t.Fatal(err)
	}
	return max(100*(spent(t)-began), 3*time.Second)
}

// TestSizes: whatever is in a file, good or bad, the time to load it and report its
// errors grows no faster than its size.
func TestSizes(t *testing.T) {
	size := langtest.Rounds(130_000)
	limit := mostTime(t, size)
	for _, name := range sortedKeys(sized) {
		t.Run(name, func(t *testing.T) {
			files := sized[name](size)
			began := spent(t)
			p, err := loadSized(t, files)
			var list Problems
			if errors.As(err, &list); p != nil {
				list = p.Warnings
			}
			text := list.Error() + list.Detail()
			if took := spent(t) - began; took > limit {
				t.Errorf("it took %s, more than %s", took, limit)
			}
			shown, omitted := list.Shown()
			if len(shown) > maxProblems || omitted > 0 && len(shown) < maxProblems || len(text) > 100_000 {
				t.Errorf("%d problems and %d more, %d bytes of text", len(shown), omitted, len(text))
			}
		})
	}
}

// TestProblemsAreCounted: of many problems the first are shown, in their order, and the
// others counted, however they came about.
func TestProblemsAreCounted(t *testing.T) {
	all := langtest.Rounds(80_000)
	keys := "{version: 1" + strings.Repeat(", k: 1", all) + "}"
	for name, files := range map[string]map[string]string{
		"keys on one line": rulesOnly(keys),
		"lines of a list":  {"rules.yaml": "version: 1\nsets: {s: {file: list}}\n", "list": strings.Repeat("1\n", all+1) + strings.Repeat("a\n", all)},
		"elements":         rulesOnly("version: 1\nsets: {s: [1" + strings.Repeat(", a", all) + "]}\n"),
		"rungs":            rulesOnly("version: 1\nrules: [{name: r, when: owned, then: [" + strings.Repeat("x, ", all) + "]}]\n"),
	} {
		_, err := loadSized(t, files)
		list := err.(Problems) //nolint:errorlint // never wrapped
		shown, omitted := list.Shown()
		if len(shown) != maxProblems || omitted != all-maxProblems || list[maxProblems].String() != fmt.Sprintf("... and %d,950 more problems", all/1000-1) {
			t.Errorf("%s: %d shown, %d omitted, %s", name, len(shown), omitted, list[len(list)-1])
		}
		for i, p := range shown {
			if p.Line == 0 || p.Source == "" || p.Message == "" || i > 0 && (p.Line < shown[i-1].Line || p.Line == shown[i-1].Line && p.Column <= shown[i-1].Column) {
				t.Errorf("%s: %+.200v", name, p)
			}
		}
		if _, again := loadSized(t, files); strings.Count(again.Error(), "\n") != strings.Count(err.Error(), "\n") {
			t.Errorf("%s: another time it is\n%.500s", name, again)
		}
	}
	// Conditions in several files: the first file's come first.
	files := map[string]string{}
	for i := range 3 {
		files[fmt.Sprintf("rules.d/%d.yaml", i)] = "version: 1\nrules:\n" + strings.Repeat("- {name: r, when: fild, then: [log]}\n", 40)
	}
	_, err := loadSized(t, files)
	shown, omitted := err.(Problems).Shown() //nolint:errorlint // never wrapped
	if len(shown) != maxProblems || omitted != 3*40+3*40-1-maxProblems || !strings.HasSuffix(shown[0].File, "0.yaml") || shown[0].Line != 3 {
		t.Errorf("%d shown, %d omitted, first %s", len(shown), omitted, shown[0])
	}
}

func TestFirstProblems(t *testing.T) {
	list := problemList{}
	for i := range 1051 {
		list.add(Problem{File: "a", Line: 1051 - i, Column: 1, Message: "x"})
	}
	for n, want := range map[int]string{0: "... and 1,051 more problems", 3: "... and 1,048 more problems", 50: "... and 1,001 more problems", 60: "... and 1,001 more problems"} {
		got := list.all().First(n)
		if shown, _ := got.Shown(); got[len(got)-1].String() != want || len(shown) != min(n, maxProblems) || n > 0 && shown[0].Line != 1051-49 {
			t.Errorf("%d: %v", n, got)
		}
	}
	if got := (Problems{{Message: "a"}, {Message: "b"}}).First(1); got.Error() != "a\n... and 1 more problem" {
		t.Errorf("%v", got)
	}
	if got := (Problems{{Message: "a"}}).First(1); got.Error() != "a" {
		t.Errorf("%v", got)
	}
}

// BenchmarkLoadBad loads wrong files, and one large one, by size.
func BenchmarkLoadBad(b *testing.B) {
	for _, name := range []string{"unknown keys on one line", "unknown fields, together", "names that are like many others", "bad lines of a list", "rules of many large macros"} {
		for _, size := range []int{10_000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(name, " ", "-"), size), func(b *testing.B) {
				dir := writeFiles(b, sized[name](size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := load(dir, "rules.yaml"); err != nil {
						_ = err.(Problems).Detail() //nolint:errorlint // never wrapped
					}
				}
			})
		}
	}
}
