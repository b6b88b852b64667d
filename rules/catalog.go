package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors"
)

// ParamType is the type of a parameter of an action.
type ParamType string

// The types of parameters, as YAML scalars.
const (
	ParamString   ParamType = "string"
	ParamBool     ParamType = "bool"
	ParamNumber   ParamType = "number"   // float64
	ParamDuration ParamType = "duration" // time.Duration
)

// Param is a parameter of an action.
type Param struct {
	Name string
	Type ParamType
	Doc  string
	// SecretFile says that it names a file whose content is a secret.
	SecretFile bool
	// Program says that it names a program to run.
	Program bool
}

// ActionSpec is what a rules file needs to know about an action.
type ActionSpec struct {
	Name   string
	Doc    string // what it does, for editors: one line
	Params []Param
	// Main is the parameter directly after the name, as TERM in {signal: TERM}; "" for
	// none.
	Main string
	// OnProcess and Single say whether it acts on a process, with all its sockets, or on
	// one socket.
	OnProcess, Single bool
	// NeedsCooldown says that a rule that uses it must have a cool-down.
	NeedsCooldown bool
	// Results are its possible outcomes, apart from those that end the ladder; nil if
	// they are not known.
	Results []string
	// Spares says that it ends neither connections nor processes.
	Spares bool
	// Never says why it lacks certain parameters of other actions.
	Never map[string]string
	// Bind says what is wrong with the values of the parameters, or returns what rungs
	// keep as Bound.
	Bind func(params map[string]any) (any, error)
	// Refuses says why a rung, as Bind has bound it, is never applied to sockets of such
	// a kind, "" if it may be; nil if it may be applied to all.
	Refuses func(bound any, s *collectors.Socket) string
	// Warn says what may not be meant by valid parameters, for sockets that the query
	// asks for and that have been silent for at least so long; "" for nothing, nil if
	// there is never anything to say.
	Warn func(params map[string]any, of *collectors.Query, silent time.Duration) string
}

// Catalog lists the actions that rules can use.
type Catalog []ActionSpec

func (c Catalog) find(name string) (ActionSpec, bool) {
	i := slices.IndexFunc(c, func(a ActionSpec) bool { return a.Name == name })
	if i < 0 {
		return ActionSpec{}, false
	}
	return c[i], true
}

func (c Catalog) names() []string {
	names := make([]string, len(c))
	for i := range c {
		names[i] = c[i].Name
	}
	return names
}

// example is an action as one writes it into a ladder, made from what stands there.
func (c Catalog) example(n *yaml.Node) string {
	words := strings.Fields(n.Value)
	if n.Kind == yaml.ScalarNode && len(words) > 0 && len(words) < 3 {
		if spec, ok := c.find(words[0]); ok {
			return spec.written(words[1:])
		}
	}
	return "destroy"
}

// takes returns the action whose main parameter takes a word, as it is written with that
// word; "" for none or several.
func (c Catalog) takes(word string) string {
	found := ""
	for i := range c {
		if c[i].Main == "" {
			continue
		}
		if _, err := c[i].Bind(map[string]any{c[i].Main: word}); err == nil {
			if found != "" {
				return ""
			}
			found = c[i].written([]string{word})
		}
	}
	return found
}

// written is the action with what follows its name.
func (a *ActionSpec) written(params []string) string {
	if len(params) == 0 || a.Main == "" {
		return a.Name
	}
	return fmt.Sprintf("{%s: %s}", a.Name, params[0])
}

func (c Catalog) unknown(name string) string {
	words := strings.Fields(name)
	if len(words) == 2 {
		if spec, ok := c.find(words[0]); ok {
			return fmt.Sprintf("unknown action %q: write %s", name, spec.written(words[1:]))
		}
	}
	if slices.Contains(besides, name) && len(c) > 0 {
		return fmt.Sprintf("%s belongs to an action, and goes inside its braces: {%s: ..., %s: ...}", name, c[0].Name, name)
	}
	hint := Suggest(name, c.names())
	first, _, _ := strings.Cut(name, " ")
	if instead := c.takes(strings.ToUpper(first)); instead != "" && hint == "" {
		hint = " (did you mean " + instead + "?)"
	}
	return fmt.Sprintf("unknown action %q%s: %s", name, hint, c.there())
}

// there lists the actions for people.
func (c Catalog) there() string {
	is := "there are "
	if len(c) == 1 {
		is = "there is "
	}
	return is + strings.Join(c.names(), ", ")
}

func (a *ActionSpec) param(name string) (Param, bool) {
	i := slices.IndexFunc(a.Params, func(p Param) bool { return p.Name == name })
	if i < 0 {
		return Param{}, false
	}
	return a.Params[i], true
}

func (a *ActionSpec) paramNames() []string {
	names := make([]string, len(a.Params))
	for i := range a.Params {
		names[i] = a.Params[i].Name
	}
	return names
}
