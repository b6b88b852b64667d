package rules

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

func compiledTestSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := TestSchema(testWords)
	if err != nil {
		t.Fatal(err)
	}
	return compileSchema(t, text)
}

// asJSON returns a test file as an editor reads it: times are texts. It is nil for what is
// not YAML.
func asJSON(t *testing.T, text []byte) (data any) {
	t.Helper()
	read, ok := asData(text)
	if !ok {
		return nil
	}
	doc, err := json.Marshal(read)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, &data); err != nil {
		t.Fatal(err)
	}
	return data
}

// goodTests are test files that the loader takes.
func goodTests(t *testing.T) (all []string) {
	t.Helper()
	all = []string{everyKey}
	for _, path := range exampleTests(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

func exampleTests(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../examples/*_test.yaml")
	if err != nil || len(paths) < 5 {
		t.Fatal(len(paths), err)
	}
	return paths
}

// exampleWords are those of the examples, beside those of these tests.
var exampleWords = TestWords{
	Decisions: []string{
		"act", "observe", "pending", "unless", "protected", "guarded", "limited", "breaker", "cooldown", "shadowed", "paused", "soak", "canary", "window",
	},
	Results: []string{"gone", "refused", "ended", "still_running", "repaired", "unchanged", "done", "failed", "fd_still_held"},
	Actions: []string{"destroy", "signal", "restart", "repair", "abort", "shutdown", "exec", "log"},
}

// blind are problems of the right kind that a schema cannot see: they lie between two
// places, or in the words of other rooms.
func blind(p *Problem) bool {
	for _, what := range []string{"needs a state", "the last step expects nothing", "anchors are not supported", "duplicate key", "no rules: write"} {
		if strings.Contains(p.Message, what) {
			return true
		}
	}
	return false
}

// agree checks that the schema refuses a test file if the loader refuses its structure, and
// takes it if the loader does. It says which of them it was, if any.
func agree(t *testing.T, s *jsonschema.Schema, text string) (refused, taken bool) {
	t.Helper()
	_, err := ParseTests("x_test.yaml", text, exampleWords)
	found, _ := errors.AsType[Problems](err)
	data := asJSON(t, []byte(text))
	if data == nil {
		return false, false
	}
	invalid := s.Validate(data)
	wrong := slices.DeleteFunc(ofKind(found, append(slices.Clone(structural), lang.IDWrongValue)...), func(p Problem) bool { return p.ID == lang.IDWrongValue || blind(&p) })
	switch {
	case len(wrong) > 0 && invalid == nil:
		t.Errorf("the schema takes this, although %s\n%s", wrong[0].String(), text)
	case len(found) == 0 && invalid != nil:
		t.Errorf("the schema refuses what is right: %v\n%s", invalid, text)
	}
	return len(wrong) > 0, len(found) == 0
}

// TestTestSchema: the schema of test files agrees with the loader about good files, about
// each mistake that the loader's own tests know, and about good files in which a key has
// another name, or a value another form.
func TestTestSchema(t *testing.T) {
	text, err := TestSchema(exampleWords)
	if err != nil {
		t.Fatal(err)
	}
	s := compileSchema(t, text)
	refused, taken := 0, 0
	count := func(text string) {
		r, k := agree(t, s, text)
		if r {
			refused++
		}
		if k {
			taken++
		}
	}
	for _, good := range goodTests(t) {
		if r, k := agree(t, s, good); r || !k {
			t.Errorf("it is not good:\n%s", good)
		}
	}
	for _, other := range variants(t, everyKey) {
		count(other)
	}
	for _, wrong := range wrongTests {
		count(wrong[0])
	}
	if refused < 120 || taken < 20 {
		t.Errorf("%d refused and %d taken: too few to prove anything", refused, taken)
	}
}

// variants are the file with another name for one of its keys, or another form of one of its
// values.
func variants(t *testing.T, text string) (all []string) {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	write := func() {
		out, err := yaml.Marshal(&doc)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(out))
	}
	seen := map[string]bool{}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if !seen[k.Value] { // once for each name
				seen[k.Value] = true
				was := *k
				k.Value += "x"
				write()
				*k, was = was, *v
				for _, other := range []yaml.Node{
					{Kind: yaml.SequenceNode}, {Kind: yaml.MappingNode}, {Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, {Kind: yaml.ScalarNode, Tag: "!!str", Value: "other"},
				} {
					*v = other
					write()
				}
				*v = was
			}
		}
		for _, k := range n.Content {
			walk(k)
		}
	}
	walk(&doc)
	return all
}

// TestTestSchemaHasAll: it knows every field that a test can give, by each of its names, and
// says what it means.
func TestTestSchemaHasAll(t *testing.T) {
	s := compiledTestSchema(t)
	takes := func(text string) bool { return s.Validate(asJSON(t, []byte(text))) == nil }
	for _, d := range collectors.AllFields() {
		for _, name := range append(slices.Clone(d.Aliases), d.Name) {
			with := "rules: [builtin]\ntests: [{name: x, sockets: {a: {state: LISTEN, " + name + ": VALUE}}, expect: {a: none}}]\n"
			value := map[collectors.Type]string{
				collectors.TypeBool: "true", collectors.TypeNumber: "7", collectors.TypePort: "7", collectors.TypeSeconds: "1m30s", collectors.TypeAddr: "10.0.0.1", collectors.TypeString: "app",
			}[d.Type]
			if len(d.Values) > 0 {
				value = d.Values[0]
			}
			with = strings.Replace(with, "state: LISTEN, state", "state", 1)
			own := d.Field == collectors.FieldCookie || d.Field == collectors.FieldInode
			if takes(strings.Replace(with, "VALUE", value, 1)) == own {
				t.Errorf("%s: %s, taken: %v", name, value, own)
			}
			if takes(strings.Replace(with, "VALUE", "[]", 1)) {
				t.Errorf("%s is no list", name)
			}
		}
	}
	for _, state := range []string{"CLOSE_WAIT", "close-wait", "Close Wait", "ESTAB", "fin-wait-1", "LISTENING"} {
		if !takes("rules: [builtin]\ntests: [{name: x, sockets: {a: {state: " + state + "}}, expect: {a: none}}]\n") {
			t.Errorf("state %s is refused", state)
		}
	}
	if takes("rules: [builtin]\ntests: [{name: x, sockets: {a: {state: CLOSEWAIT}}, expect: {a: none}}]\n") {
		t.Error("CLOSEWAIT is no state")
	}
}
