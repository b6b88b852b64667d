package rules

import (
	"regexp"
	"strings"

	"sockwarden/collectors"
)

// startForm is the form of testParser.start. Some readers of YAML take it for a time.
var startForm = schema{"type": "string", "pattern": `^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?$`}

// TestSchema returns the JSON Schema (draft 2020-12) of test files that can use these words,
// as indented text. Conditions and the names of rules and sockets are strings to it.
func TestSchema(words TestWords) ([]byte, error) {
	root := testFileKeys.schema()
	root["title"] = "Tests of rules of sockwarden"
	root["required"] = []string{"rules", "tests"}
	root["$defs"] = testDefinitions(words)
	return root.text()
}

// testDefinitions are what the forms of the tables refer to by name.
func testDefinitions(words TestWords) schema {
	effects := make([]string, len(words.Actions))
	for i, name := range words.Actions {
		effects[i] = regexp.QuoteMeta(name)
	}
	effect := schema{"type": "string", "pattern": "^(" + strings.Join(effects, "|") + ")( .*)?$"}
	result := oneOfForm(words.Results...)
	entry := someOf(expectKeys.schema())
	return schema{
		"value":    anyOfForms(textForm, listForm(textForm), schema{"type": "object", "additionalProperties": textForm}),
		"test":     testSchema(),
		"step":     stepKeys.schema(),
		"sockets":  namedForm(schema{"not": schema{"const": Nobody}}, refTo("socket")),
		"socket":   socketSchema(),
		"process":  fieldSchema(collectors.OwnerFields().Has),
		"outcomes": namedForm(effect, anyOfForms(result, filledList(result))),
		"effect":   effect.with("description", "an action, or one with its main parameter: destroy, signal TERM"),
		"decision": oneOfForm(append([]string{ExpectNone}, words.Decisions...)...),
		"entry":    entry,
		"expect": anyOfForms(
			schema{"type": "object", "additionalProperties": anyOfForms(refTo("decision"), refTo("entry"), listForm(refTo("entry")))},
			listForm(someOf(whereKeys.schema())),
		),
	}
}

// testSchema also says what testParser.sections says of keys that exclude each other.
func testSchema() schema {
	s := testKeys.schema()
	s["required"] = []string{"name"}
	s["oneOf"] = []schema{hasKeys("expect"), hasKeys("steps")}
	s["dependentSchemas"] = schema{"from": schema{"not": hasKeys("sockets")}}
	return s
}

// someOf is an entry of expect, which says something to expect.
func someOf(s schema) schema {
	return s.with("anyOf", []schema{hasKeys("decision"), hasKeys("rule"), hasKeys("reason"), hasKeys("action"), hasKeys("actions")})
}

// socketSchema is the schema of testParser.socket: fields, and keys beside them.
func socketSchema() schema {
	s := fieldSchema(func(f collectors.Field) bool { return f != collectors.FieldCookie && f != collectors.FieldInode })
	properties, _ := s["properties"].(schema)
	for i := range socketKeys {
		properties[socketKeys[i].name] = socketKeys[i].form.with("description", socketKeys[i].doc)
	}
	return s
}

// fieldSchema is a mapping of fields, by all their names.
func fieldSchema(has func(collectors.Field) bool) schema {
	properties := schema{}
	all := collectors.AllFields()
	for i := range all {
		d := &all[i]
		if !has(d.Field) {
			continue
		}
		form := fieldForm(d).with("description", d.Meaning)
		properties[d.Name] = form
		for _, other := range d.Aliases {
			properties[other] = form
		}
	}
	return closedForm(properties)
}

// fieldForm is the form of testParser.value.
func fieldForm(d *collectors.FieldDoc) schema {
	// Readers of YAML 1.2 take 1_000 for a text.
	number := schema{"type": []string{"number", "string"}, "minimum": 0, "maximum": 1 << 53, "pattern": `^\d[\d_]*$`}
	switch d.Type {
	case collectors.TypeBool:
		return boolForm
	case collectors.TypeNumber:
		return number
	case collectors.TypePort:
		return number.with("maximum", 65535)
	case collectors.TypeSeconds:
		return durationForm
	case collectors.TypeAddr:
		return schema{"type": "string", "pattern": `^[0-9A-Fa-f:.]+$`}
	case collectors.TypeString:
	}
	switch {
	case d.Field == collectors.FieldState:
		return anyOfForms(oneOfForm(collectors.StateNames()...), schema{"type": "string", "pattern": statePattern()})
	case len(d.Values) > 0:
		return oneOfForm(d.Values...)
	}
	return textForm
}

// statePattern matches every name that collectors.ParseState takes: letters of both cases,
// and what may stand between words.
func statePattern() string {
	var all []string
	for _, name := range collectors.StateSpellings() {
		var b strings.Builder
		for _, c := range name {
			switch {
			case c == '_':
				b.WriteString("[-_ ]")
			case c >= 'A' && c <= 'Z':
				b.WriteString("[" + string(c) + strings.ToLower(string(c)) + "]")
			default:
				b.WriteRune(c)
			}
		}
		all = append(all, b.String())
	}
	return `^\s*(` + strings.Join(all, "|") + `)\s*$`
}
