package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// draft is the JSON Schema that the schema is written in.
const draft = "https://json-schema.org/draft/2020-12/schema"

// Schema returns the JSON Schema (draft 2020-12) of rules files that can use these actions
// and notifiers, as indented text. Conditions are strings to it: only Load knows what is
// wrong with them.
func Schema(actions, notifiers Catalog) ([]byte, error) {
	root := fileKeys.schema()
	root["title"] = "Rules of sockwarden"
	root["required"] = []string{"version"}
	root["$defs"] = schemaDefinitions(actions, notifiers)
	return root.text()
}

// text writes a whole schema, as indented text.
func (s schema) text() ([]byte, error) {
	root := s.with("$schema", draft)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		return nil, fmt.Errorf("write the schema: %w", err)
	}
	return out.Bytes(), nil
}

// schemaDefinitions are what the forms of the tables refer to by name.
func schemaDefinitions(actions, notifiers Catalog) schema {
	scalars := schema{"type": "object", "additionalProperties": textForm}
	defs := schema{
		"defaults": defaultsKeys.schema(),
		"limits":   limitsKeys.schema(),
		"cooldown": cooldownKeys.schema(),
		"breaker":  breakerKeys.schema(),
		"set":      anyOfForms(listForm(textForm), setKeys.schema().with("required", []string{"file"})),
		"value":    anyOfForms(textForm, listForm(textForm), scalars),
		"variable": variableSchema(),
		"protect":  protectKeys.schema().with("required", []string{"name"}).with("anyOf", []schema{hasKeys("when"), hasKeys("during")}),
		"rule":     ruleSchema(),
		"override": overrideKeys.schema().with("minProperties", 1),
		"rung":     rungSchema(actions),
		"notifier": notifierSchema(notifiers),
	}
	for i := range actions {
		defs["action-"+actions[i].Name] = actions[i].schema()
	}
	return defs
}

// variableSchema is the schema of names.parseVar: a mapping declares a variable if it has
// a value and says what that may be; any other mapping is itself the value.
func variableSchema() schema {
	declared := varKeys.schema()
	valueIs := func(kind string) schema { return schema{"properties": schema{"value": schema{"type": kind}}} }
	declared["dependentSchemas"] = schema{"type": valueIs("array"), "one_of": valueIs("string")}
	return schema{
		"if":   schema{"type": "object", "required": []string{"value"}, "anyOf": []schema{hasKeys("type"), hasKeys("one_of")}},
		"then": declared,
		"else": refTo("value"),
	}
}

// ruleSchema also says what ruleSection.checkRule and checkKeep say of keys that need
// each other.
func ruleSchema() schema {
	s := ruleKeys.schema()
	s["required"] = []string{"name", "when"}
	s["dependentRequired"] = schema{"having": []string{"group"}, "keep": []string{"group"}, "order": []string{"keep"}}
	s["allOf"] = []schema{
		{"if": hasKeys("group"), "then": anyOfForms(hasKeys("having"), hasKeys("keep"))},
		{
			"if":   hasKeys("mode").with("properties", schema{"mode": oneOfForm(string(ModeDisabled), string(ModeObserve))}),
			"else": hasKeys("then").with("properties", schema{"then": schema{"minItems": 1}}),
		},
	}
	return s
}

// rungSchema is an action alone, if it needs no parameters, or one with them.
func rungSchema(actions Catalog) schema {
	alone := []string{} // an enum, even if empty
	var forms []schema
	for i := range actions {
		if actions[i].standsAlone() {
			alone = append(alone, actions[i].Name)
		}
		forms = append(forms, refTo("action-"+actions[i].Name))
	}
	return anyOfForms(append([]schema{oneOfForm(alone...)}, forms...)...)
}

// standsAlone reports whether the action needs no parameters.
func (a *ActionSpec) standsAlone() bool {
	_, err := a.Bind(map[string]any{})
	return err == nil
}

// schema is the schema of a rung: the parameters of the action stand beside its name or
// in a mapping after it; the main parameter can also follow the name directly.
func (a *ActionSpec) schema() schema {
	behind := []schema{closedForm(a.parameters())}
	if p, ok := a.param(a.Main); ok {
		behind = append(behind, p.schema())
	}
	behind = append(behind, schema{"type": "null"})
	properties := a.parameters()
	for i := range rungKeys {
		properties[rungKeys[i].name] = rungKeys[i].form.with("description", rungKeys[i].doc)
	}
	properties[a.Name] = anyOfForms(behind...).with("description", a.Doc)
	return closedForm(properties).with("required", []string{a.Name})
}

func (a *ActionSpec) parameters() schema {
	properties := schema{}
	for _, p := range a.Params {
		properties[p.Name] = p.schema()
	}
	return properties
}

// schema is the form of its values, as reader.param takes them.
func (p *Param) schema() schema {
	form := textForm
	switch p.Type {
	case ParamBool:
		form = schema{"enum": []any{true, false, "true", "false"}}
	case ParamNumber:
		form = countForm
	case ParamDuration:
		form = durationForm
	case ParamString:
	}
	return form.with("description", p.Doc)
}

// notifierSchema is an entry of actions: a plugin with its parameters.
func notifierSchema(notifiers Catalog) schema {
	plugin := oneOfForm(notifiers.names()...).with("description", "what sends the messages")
	var each []schema
	for i := range notifiers {
		properties := notifiers[i].parameters()
		properties[pluginKey] = plugin
		is := hasKeys(pluginKey).with("properties", schema{pluginKey: schema{"const": notifiers[i].Name}})
		each = append(each, schema{"if": is, "then": closedForm(properties)})
	}
	s := schema{"type": "object", "required": []string{pluginKey}, "properties": schema{pluginKey: plugin}}
	if len(each) > 0 {
		s["allOf"] = each
	}
	return s
}
