package rules

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// testNotifiers are notifiers as rules see them.
func testNotifiers() Catalog {
	return Catalog{{Name: "webhook", Params: []Param{{Name: "url", Type: ParamString}, {Name: "quiet", Type: ParamBool}}, Bind: nothingWrong}}
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema(testCatalog(), testNotifiers())
	if err != nil {
		t.Fatal(err)
	}
	return compileSchema(t, text)
}

func compileSchema(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler() // also checks the schema against the schema of schemas
	if err := c.AddResource("rules.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("rules.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asData returns a rules file as a program reads it that knows YAML but not rules; false
// if it is not YAML.
func asData(text []byte) (data any, ok bool) {
	return data, yaml.Unmarshal(text, &data) == nil
}

// TestSchemaTakesGoodFiles: the schema takes what the loader takes.
func TestSchemaTakesGoodFiles(t *testing.T) {
	s := compiledSchema(t)
	for _, path := range append(testdata(t, "good/*.yaml"), "default.yaml") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data, ok := asData(text)
		if err := s.Validate(data); !ok || err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// loadText returns what the loader says of a file, with a set file, banned.txt, beside
// it.
func loadText(t *testing.T, text string) error {
	t.Helper()
	dir := writeFiles(t, map[string]string{"rules.yaml": text, "banned.txt": "10.0.0.1\n"})
	_, _, err := Load(Options{Paths: []string{filepath.Join(dir, "rules.yaml")}, Catalog: testCatalog(), Notifiers: testNotifiers()})
	return err
}

// structural are the kinds of problems that a schema can see.
var structural = []lang.ID{idUnknownKey, idWrongForm, idUnknownAction, idUnknownParameter, idMissing, idNoVersion}

// TestSchemaRefusesWrongStructure divides the files of testdata/bad into files of one
// section, or of one entry of rules or protect: the schema refuses those whose structure
// the loader refuses, and takes those that the loader takes.
func TestSchemaRefusesWrongStructure(t *testing.T) {
	s := compiledSchema(t)
	refused, taken := 0, 0
	for _, path := range testdata(t, "bad/*.yaml") {
		for _, part := range parts(t, path) {
			found, _ := loadText(t, part).(Problems) //nolint:errorlint // never wrapped
			data, ok := asData([]byte(part))
			if !ok {
				continue // not YAML, to a program that knows nothing of rules
			}
			invalid := s.Validate(data)
			switch wrong := ofKind(found, structural...); {
			case len(wrong) > 0 && invalid == nil:
				t.Errorf("%s: the schema takes this, although %s\n%s", path, wrong[0].Message, part)
			case len(found) == 0 && invalid != nil:
				t.Errorf("%s: the schema refuses what is right: %v\n%s", path, invalid, part)
			case len(wrong) > 0:
				refused++
			case len(found) == 0:
				taken++
			}
		}
	}
	if refused < 40 || taken < 40 {
		t.Errorf("%d parts refused and %d taken: too few to prove anything", refused, taken)
	}
}

// parts are the sections of a file, and the entries of its lists, as files of their own.
// A file that is not YAML, or not a mapping, has none.
func parts(t *testing.T, path string) (out []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	seen := map[string]bool{}
	add := func(key, value *yaml.Node) {
		content := []*yaml.Node{key, value}
		if key.Value != "version" {
			content = append([]*yaml.Node{{Kind: yaml.ScalarNode, Value: "version"}, {Kind: yaml.ScalarNode, Value: "1", Tag: "!!int"}}, content...)
		}
		part, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: content})
		if err == nil && !seen[string(part)] { // parts with anchors cannot be written alone
			seen[string(part)] = true
			out = append(out, string(part))
		}
	}
	root := doc.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if !slices.Contains([]string{"rules", "protect"}, key.Value) || value.Kind != yaml.SequenceNode {
			add(key, value)
			continue
		}
		for _, e := range value.Content {
			add(key, &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{e}})
		}
	}
	return out
}

// TestSchemaByForm checks each form of a value as files have it, and near misses.
func TestSchemaByForm(t *testing.T) {
	s := compiledSchema(t)
	rule := func(more string) string { return "version: 1\nrules: [{name: r, when: owned, " + more + "}]\n" }
	top := func(more string) string { return "version: 1\n" + more + "\n" }
	for _, text := range []string{
		rule("then: [destroy], for: 90"), rule("then: [destroy], for: 1.5"), rule("then: [destroy], for: 2d1h30m"), rule("then: [destroy], for: .5h"),
		rule("then: [destroy], canary: 5%"), rule("then: [destroy], canary: 0.05"), rule("then: [destroy], canary: 100%"), rule(`then: [destroy], canary: "0.5"`),
		rule("mode: observe"), rule("mode: disabled, then: []"), rule(`then: [destroy], during: ["1:00-24:00", "22:00 - 06:00"]`),
		rule("then: [destroy], group: pid, having: count > 5"), rule("then: [destroy], group: [pid, port], keep: 5, order: newest"),
		rule("then: [{signal: TERM, wait: 1m, if: owned}, {signal: {signal: KILL, owners: all}}, {knock: 3}, {destroy: }, {destroy: {udp: true}}]"),
		rule("then: [{knock: {times: 2, pause: 1s}}, knock, {destroy: , listen: true}]"),
		rule("then: [destroy], limits: {cooldown: {peer: 5m}, max_collateral: 0, share: 30%, per_minute: 1}"),
		top("sets: {a: {file: banned.txt, may_be_empty: true}, c: [80, 443..445]}"), top("netns: [host, docker-*]"), top("timezone: UTC"),
		top("vars: {a: 1, b: [1], c: {x: 5m}, d: {value: 1}, e: {value: [], type: ports}, f: {value: x, one_of: [x, y]}}"),
		top("actions: {ops: {plugin: webhook, url: x, quiet: true}}"), top("protect: [{name: night, during: ['22:00-06:00']}]"),
	} {
		data, _ := asData([]byte(text))
		if err := s.Validate(data); err != nil {
			t.Errorf("refused: %s%v", text, err)
		}
		if err := loadText(t, text); err != nil {
			t.Errorf("the loader does not take this, so that the schema need not: %s%v", text, err)
		}
	}
	for _, text := range []string{
		rule("then: [destroy], for: 5 minutes"), rule(`then: [destroy], for: ""`), rule("then: [destroy], for: -1"), rule("then: [destroy], for: 1x"), rule("then: [destroy], for: null"),
		rule("then: [destroy], canary: 5"), rule("then: [destroy], canary: 101%"), rule("then: [destroy], canary: half"),
		rule("mode: enforce"), rule("then: []"), rule("mode: on"), rule("then: [destroy], during: [01:00]"), rule("then: [destroy], during: []"),
		rule("then: [destroy], group: pid"), rule("then: [destroy], having: count > 5"), rule("then: [destroy], keep: 5"), rule("then: [destroy], order: newest"),
		rule("then: [destroy], group: pids, having: owned"), rule("then: [destroy], group: [pid, pid], having: owned"),
		rule("then: [signal]"), rule("then: [{kill: }]"), rule("then: [{destroy: yes}]"), rule("then: [{signal: [TERM]}]"), rule("then: [{knock: 0}]"),
		rule("then: [{destroy: , signal: TERM, udp: true}]"), rule("then: [{destroy: {wait: 5s}}]"), rule("then: [destroy], labels: {a: [b]}"),
		rule("then: [destroy], limits: {per_cycle: 0}"), rule("then: [destroy], limits: {cooldown: {peers: 5m}}"), rule("then: [destroy], if: owned"),
		top("sets: {a: {may_be_empty: true}}"), top("sets: {a-b: [80]}"), top("sets: {a: 80}"), top("sets: {a: {file: banned.txt, may_be_empty: 1}}"), top("netns: {a: b}"),
		top("vars: {a: {value: [], type: port}}"), top("vars: {a: {value: [], type: ports, other: 1}}"), top("vars: {a: [[1]]}"), top("vars: {a: null}"),
		top("actions: {ops: {url: x}}"), top("actions: {ops: {plugin: mail}}"), top("actions: {ops: {plugin: webhook, ulr: x}}"), top("actions: {a b: {plugin: webhook}}"),
		top("protect: [{name: ssh}]"), top("protect: {name: ssh, when: owned}"), top("defaults: {limit: {per_cycle: 5}}"), top("defaults: {breaker: {share: 30}}"),
		"version: 2\n", "rules: []\n", "[]\n",
	} {
		if loadText(t, text) == nil {
			t.Errorf("the loader takes this, so that the schema has to: %s", text)
		}
		data, _ := asData([]byte(text))
		if s.Validate(data) == nil {
			t.Errorf("taken: %s", text)
		}
	}
}
