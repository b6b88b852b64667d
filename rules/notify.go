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

// parseNotifiers reads actions: {ops: {plugin: webhook, format: slack, ...}}.
func (f *rulesFile) parseNotifiers(n *yaml.Node, catalog Catalog) {
	entries, _ := f.entries(n, "actions")
	for _, e := range entries {
		if !validRuleName(e.key.Value) || e.key.Value == "" {
			f.errorf(e.key, "a name under actions is made of letters, digits, -, _ and ., not %q", e.key.Value)
			continue
		}
		f.notifiers[e.key.Value] = Notifier{} // what is wrong with it is said only here
		f.parseNotifier(e, catalog)
	}
}

func (f *rulesFile) parseNotifier(at entry, catalog Catalog) {
	entries, ok := f.entries(at.value, "an entry of actions")
	if !ok {
		return
	}
	var spec *ActionSpec
	for _, e := range entries {
		if e.key.Value != "plugin" {
			continue
		}
		found, ok := catalog.find(e.value.Value)
		if !ok {
			f.errorf(e.value, "unknown plugin %q%s: %s", e.value.Value, Suggest(e.value.Value, catalog.names()), catalog.there())
			return
		}
		spec = &found
	}
	if spec == nil {
		f.errorf(at.value, "%s needs its plugin: write plugin: webhook", at.key.Value)
		return
	}
	before := f.problems.seen
	rung := rawRung{at: at.value, params: map[string]any{}}
	for _, e := range entries {
		if e.key.Value != "plugin" {
			f.param(e, spec, &rung, "plugin")
		}
	}
	if f.problems.seen > before {
		return
	}
	if _, err := spec.Bind(rung.params); err != nil {
		f.errorf(at.value, "%s: %v", at.key.Value, err)
		return
	}
	f.notifiers[at.key.Value] = Notifier{spec.Name, rung.params}
	for _, e := range entries {
		if q, ok := spec.param(e.key.Value); ok && q.SecretFile {
			f.secret(e.value)
		}
	}
}

// secret looks at the file that holds a secret. That there is none is said by
// who wants to read it: rules are also checked on other machines.
func (f *rulesFile) secret(n *yaml.Node) {
	warning, err := f.checkSecret(n.Value)
	if err != nil {
		f.errorf(n, "%s: %v", n.Value, err)
	}
	if warning != "" {
		f.warnings = append(f.warnings, f.src.problem(n.Line, n.Column, n.Value+": "+warning))
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
