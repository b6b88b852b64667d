package rules

import (
	"errors"
	"maps"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors/trust"
)

// Notifier is a configured way to send messages, under actions in a rules file.
type Notifier struct {
	Plugin string
	Params map[string]any
}

// Equal reports whether two are configured the same.
func (n Notifier) Equal(o Notifier) bool {
	return n.Plugin == o.Plugin && maps.Equal(n.Params, o.Params)
}

// pluginKey is the key of an entry of actions that is not a parameter of its plugin.
const pluginKey = "plugin"

// actionSection reads the section actions.
type actionSection struct {
	*reader
	catalog Catalog
	all     map[string]Notifier
	// checkSecret says what is wrong, and what is unwise, with a file that holds a
	// secret.
	checkSecret func(path string) (warning string, err error)
	warnings    Problems
}

// parse reads actions: {ops: {plugin: webhook, format: slack, ...}}.
func (as *actionSection) parse(n *yaml.Node) {
	entries, _ := as.entries(n, "actions")
	for _, e := range entries {
		if !validRuleName(e.key.Value) || e.key.Value == "" {
			as.errorf(idBadName, e.key, "a name under actions is made of letters, digits, -, _ and ., not %q", e.key.Value)
			continue
		}
		as.all[e.key.Value] = Notifier{} // its errors are reported only here
		as.parseOne(e)
	}
}

func (as *actionSection) parseOne(at entry) {
	entries, ok := as.entries(at.value, "an entry of actions")
	if !ok {
		return
	}
	var spec *ActionSpec
	for _, e := range entries {
		if e.key.Value != pluginKey {
			continue
		}
		found, ok := as.catalog.find(e.value.Value)
		if !ok {
			as.errorf(idUnknownAction, e.value, "unknown plugin %q%s: %s", e.value.Value, Suggest(e.value.Value, as.catalog.names()), as.catalog.there())
			return
		}
		spec = &found
	}
	if spec == nil {
		as.errorf(idMissing, at.value, "%s needs its plugin: write plugin: webhook", at.key.Value)
		return
	}
	before := as.problems.seen
	rung := rawRung{at: at.value, params: map[string]any{}}
	for _, e := range entries {
		if e.key.Value != pluginKey {
			as.param(e, spec, &rung, pluginKey)
		}
	}
	if as.problems.seen > before {
		return
	}
	if _, err := spec.Bind(rung.params); err != nil {
		as.wrong(at, entries, err)
		return
	}
	as.all[at.key.Value] = Notifier{spec.Name, rung.params}
	for _, e := range entries {
		if q, ok := spec.param(e.key.Value); ok && q.SecretFile {
			as.secret(e.value)
		}
	}
}

// placedError says in which line of which parameter a mistake is.
type placedError interface {
	error
	Place() (param string, line int)
}

// wrong reports what a plugin says about its parameters, where the wrong one stands.
func (as *actionSection) wrong(at entry, entries []entry, err error) {
	message := at.key.Value + ": " + err.Error()
	if placed, ok := errors.AsType[placedError](err); ok {
		name, line := placed.Place()
		for _, e := range entries {
			if e.key.Value == name {
				line, column := as.src.within(e.value, line)
				as.problems.add(as.src.problem(idWrongParameter, line, column, message))
				return
			}
		}
	}
	as.errorf(idWrongParameter, at.value, "%s", message)
}

// secret looks at the file that holds a secret. Whoever wants to read a missing file
// reports it: rules are also checked on other machines.
func (as *actionSection) secret(n *yaml.Node) {
	warning, err := as.checkSecret(n.Value)
	switch {
	case errors.Is(err, trust.ErrForeign):
		as.errorf(idUntrusted, n, "%s: %v", n.Value, err)
	case err != nil:
		as.errorf(idWrongParameter, n, "%s: %v", n.Value, err)
	}
	if warning != "" {
		as.warnings = append(as.warnings, as.src.problem(idPluginAdvice, n.Line, n.Column, n.Value+": "+warning))
	}
}

func (l *loader) checkSecret(path string) (warning string, err error) {
	switch err := l.trust.Secret(path); {
	case errors.Is(err, trust.ErrNotRegular), l.opts.Trust && errors.Is(err, trust.ErrForeign):
		return "", err
	case errors.Is(err, trust.ErrForeign), errors.Is(err, trust.ErrReadable):
		return err.Error(), nil
	}
	return "", nil
}
