package rules

import (
	_ "embed"
	"fmt"
	"slices"
	"sync"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// Kind explains a kind of problem.
type Kind struct {
	ID      lang.ID `yaml:"id"`
	Warning bool    `yaml:"warning"` // else an error: the files are refused
	Means   string  `yaml:"means"`
	Cure    string  `yaml:"cure"`
	// Bad is a file with the problem and Good one without it, "" if a file alone does not
	// show it.
	Bad  string `yaml:"bad"`
	Good string `yaml:"good"`
	// Whole says that both are complete; otherwise they lack their first line.
	Whole bool `yaml:"whole"`
}

//go:embed kinds.yaml
var kindsText string

// Kinds returns all kinds of problems, errors first.
var Kinds = sync.OnceValue(func() (kinds []Kind) {
	if err := yaml.Load([]byte(kindsText), &kinds); err != nil {
		panic(fmt.Sprintf("the kinds of problems: %v", err)) // it is part of the program
	}
	for i := range kinds {
		k := &kinds[i]
		if k.Bad != "" && !k.Whole {
			k.Bad, k.Good = "version: 1\n"+k.Bad, "version: 1\n"+k.Good
		}
	}
	return kinds
})

// KindOf returns the kind with that id.
func KindOf(id lang.ID) (Kind, bool) {
	i := slices.IndexFunc(Kinds(), func(k Kind) bool { return k.ID == id })
	if i < 0 {
		return Kind{}, false
	}
	return Kinds()[i], true
}

func isKind(id lang.ID) bool {
	_, ok := KindOf(id)
	return ok
}

func kindNames() (names []string) {
	for _, k := range Kinds() {
		names = append(names, string(k.ID))
	}
	return names
}

// Cure says what generally helps against the problem; "" for one without a kind.
func (p *Problem) Cure() string {
	k, _ := KindOf(p.ID)
	return k.Cure
}

// Severity is "error" or "warning".
func (k *Kind) Severity() string {
	if k.Warning {
		return "warning"
	}
	return "error"
}

// suffix names the kind of a problem after its message.
func (p *Problem) suffix() string {
	if p.ID == "" {
		return ""
	}
	return fmt.Sprintf(" [%s]", p.ID)
}
