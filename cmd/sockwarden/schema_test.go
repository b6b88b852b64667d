package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

// schemaLine is how the examples name the schema.
const schemaLine = "# yaml-language-server: $schema=../docs/rules.schema.json\n"

// TestSchema: docs/rules.schema.json is what rules schema prints; it accepts the built-in
// rules and all examples, which name it.
func TestSchema(t *testing.T) {
	text := schemaText(t)
	path := filepath.Join(root, "docs/rules.schema.json")
	if update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if shipped, err := os.ReadFile(path); err != nil || !bytes.Equal(shipped, text) {
		t.Errorf("docs/rules.schema.json is not what rules schema prints (%v); UPDATE_GOLDEN=1 rewrites it", err)
	}
	if bytes.Contains(text, []byte(`"description": ""`)) {
		t.Error("the schema has a key, an action or a parameter that says nothing of itself")
	}
	schema := compileSchema(t, text)
	validate := func(name string, text []byte) {
		var data any
		if err := yaml.Unmarshal(text, &data); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	validate("builtin", []byte(rules.BuiltinText()))
	for _, file := range exampleFiles(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), schemaLine) {
			t.Errorf("%s does not begin with %s", file, schemaLine)
		}
		validate(file, text)
	}
}

// schemaText returns what rules schema prints.
func schemaText(t *testing.T) []byte {
	t.Helper()
	registry, err := builtinActions(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	text, err := rules.Schema(catalog.New(registry), notifierCatalog())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func compileSchema(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("rules.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("rules.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestSchemaOfRungs: the schema knows the parameters of the actions, and rejects the bare
// name of an action that needs one.
func TestSchemaOfRungs(t *testing.T) {
	schema := compileSchema(t, schemaText(t))
	takes := func(then string) bool {
		var data any
		if err := yaml.Unmarshal([]byte("{version: 1, rules: [{name: r, when: owned, then: ["+then+"]}]}"), &data); err != nil {
			t.Fatal(err)
		}
		return schema.Validate(data) == nil
	}
	for then, want := range map[string]bool{
		"destroy": true, "{destroy: {udp: true}}": true, "{destroy: , udp: true}": true, "{destroy: {upd: true}}": false, "{signal: TERM}": true, "signal": false,
		"{signal: TERM, wait: soon}": false, "{signal: TERM, owners: all}": true, "webhook": false, "{log: warn}": true, "kill": false,
	} {
		if takes(then) != want {
			t.Errorf("%s: taken %v, want %v", then, !want, want)
		}
	}
}
