package rules

import (
	"fmt"

	"sockwarden/rules/lang"
)

// fileNames is what a file gives names to.
type fileNames struct {
	file  string
	scope lang.Scope
}

// WriteOut writes the sets that a condition of one argument asks into its text: then it
// needs no rules file. The error is Problems.
func WriteOut(text string, sets map[string]*Set) (string, error) {
	return writeOut(text, &lang.Scope{Sets: sets})
}

// WriteOut writes the variables, sets and macros that a condition of one argument names into
// its text, as the files of the program define them: then it needs no rules file. A program
// that is nil defines none. The error is Problems.
func (p *Program) WriteOut(text string) (string, error) {
	if p == nil {
		return writeOut(text, &lang.Scope{})
	}
	return writeOut(text, p.allNames())
}

func writeOut(text string, sc *lang.Scope) (string, error) {
	out, errs := lang.WriteOut(text, sc)
	if errs != nil {
		return "", newSource("expression", text).problems(errs)
	}
	return out, nil
}

// allNames are those of all files. A name that means different things in two of them means
// nothing here.
func (p *Program) allNames() *lang.Scope {
	all := &lang.Scope{Vars: map[string]*lang.Value{}, Sets: map[string]*Set{}, Macros: map[string]string{}, Refused: map[string]string{}}
	first := map[string]string{} // the file that defines a name
	take := func(file, name string, kept, same bool) bool {
		if first[name] != "" && (!kept || !same) {
			all.Refused[name] = fmt.Sprintf("%q means something else in %s than in %s: write out what you mean", name, file, first[name])
			return false
		}
		first[name] = file
		return true
	}
	for _, f := range p.names {
		for name, v := range f.scope.Vars {
			if was, kept := all.Vars[name]; take(f.file, name, kept, kept && was.String() == v.String()) {
				all.Vars[name] = v
			}
		}
		for name, s := range f.scope.Sets {
			if was, kept := all.Sets[name]; take(f.file, name, kept, kept && was.Equal(s)) {
				all.Sets[name] = s
			}
		}
		for name := range f.scope.Macros {
			text, err := f.scope.WrittenOut(name)
			if err != nil {
				all.Refused[name] = fmt.Sprintf("macro %q: %v", name, err)
			}
			if was, kept := all.Macros[name]; take(f.file, name, kept, kept && was == text) {
				all.Macros[name] = text
			}
		}
	}
	return all
}
