package rules

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// key is one key that a mapping takes. Next to what the loader does with its value stands
// what the schema says of it.
type key[R, T any] struct {
	name string
	doc  string // what it means, for editors: one line
	form schema // what its value may look like
	read func(by R, into T, n *yaml.Node)
}

// keys are all keys that a mapping takes. The loader and the schema both go by them:
// neither knows a key that the other does not.
type keys[R, T any] []key[R, T]

func (ks keys[R, T]) find(name string) (key[R, T], bool) {
	i := slices.IndexFunc(ks, func(k key[R, T]) bool { return k.name == name })
	if i < 0 {
		return key[R, T]{}, false
	}
	return ks[i], true
}

func (ks keys[R, T]) names() []string {
	names := make([]string, len(ks))
	for i := range ks {
		names[i] = ks[i].name
	}
	return names
}

// fields reads the value of each known key of a mapping and reports the other keys.
func (ks keys[R, T]) fields(r *reader, n *yaml.Node, what string, by R, into T) {
	entries, ok := r.entries(n, what)
	if !ok {
		return
	}
	for _, e := range entries {
		k, known := ks.find(e.key.Value)
		switch {
		case known:
			k.read(by, into, e.value)
		case r.problems.full():
			r.errorf(idUnknownKey, e.key, "unknown key")
		default:
			names := slices.Sorted(slices.Values(ks.names()))
			hint := Suggest(e.key.Value, names)
			if hint == "" {
				hint = ": it has " + strings.Join(names, ", ")
			}
			r.errorf(idUnknownKey, e.key, "unknown key %q in %s%s", e.key.Value, what, hint)
		}
	}
}

// schema is the schema of the mapping: these keys and no others.
func (ks keys[R, T]) schema() schema {
	properties := schema{}
	for i := range ks {
		properties[ks[i].name] = ks[i].form.with("description", ks[i].doc)
	}
	return closedForm(properties)
}
