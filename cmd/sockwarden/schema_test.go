package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
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

// testSchemaLine is how the tests of the examples name theirs.
const testSchemaLine = "# yaml-language-server: $schema=../docs/tests.schema.json\n"

// TestSchemaOfTests: docs/tests.schema.json is what rules schema --tests prints; it accepts
// the tests of the examples, which name it, and those in the documents.
func TestSchemaOfTests(t *testing.T) {
	exit, text, errs := run(t, "rules", "schema", "--tests")
	if exit != exitOK {
		t.Fatal(errs)
	}
	path := filepath.Join(root, "docs/tests.schema.json")
	if update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if shipped, err := os.ReadFile(path); err != nil || string(shipped) != text {
		t.Errorf("docs/tests.schema.json is not what rules schema --tests prints (%v); UPDATE_GOLDEN=1 rewrites it", err)
	}
	if strings.Contains(text, `"description": ""`) {
		t.Error("the schema has a key or a field that says nothing of itself")
	}
	schema := compileSchema(t, []byte(text))
	all := map[string]string{}
	files, err := filepath.Glob(filepath.Join(root, "examples/*_test.yaml"))
	if err != nil || len(files) < 10 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		if all[file] = readText(t, file); !strings.HasPrefix(all[file], testSchemaLine) {
			t.Errorf("%s does not begin with %s", file, testSchemaLine)
		}
	}
	for _, doc := range documents(t) {
		for i, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readText(t, doc), -1) {
			if isTestBlock([]byte(m[1])) {
				all[fmt.Sprintf("%s, block %d", doc, i+1)] = m[1]
			}
		}
	}
	for name, text := range all {
		var data any
		if err := yaml.Unmarshal([]byte(text), &data); err != nil {
			t.Fatal(err)
		}
		doc, err := json.Marshal(data) // as editors read it: a time is a text
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(doc, &data); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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
