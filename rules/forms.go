package rules

import "maps"

// schema is a JSON Schema, or a part of one. Those of forms are shared: with makes another.
type schema map[string]any

func (s schema) with(keyword string, value any) schema {
	out := maps.Clone(s)
	out[keyword] = value
	return out
}

// The forms of values, as the reader takes them. A form may let pass what the loader refuses:
// a schema knows no conditions, names or files. It refuses nothing that the loader takes and
// a person would write.
var (
	// textForm is the form of reader.text: any scalar but null, whatever YAML makes of
	// it.
	textForm      = schema{"type": []string{"string", "number", "boolean"}}
	filledForm    = textForm.with("minLength", 1)
	conditionForm = schema{"type": []string{"string", "boolean"}, "minLength": 1}
	boolForm      = schema{"type": "boolean"}
	countForm     = schema{"type": "integer", "minimum": 1}
	durationForm  = schema{
		"type": []string{"number", "string"}, "minimum": 0, "minLength": 1,
		"pattern": `^\s*(\d+(\.\d*)?|\.\d+|(\d+d)?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*)\s*$`,
	}
	shareForm = schema{
		"type": []string{"number", "string"}, "exclusiveMinimum": 0, "exclusiveMaximum": 1,
		"pattern": `^(0*(100(\.0*)?|\d{1,2}(\.\d*)?|\.\d+)%|0*\.\d+)$`,
	}
	windowsForm = filledList(schema{"type": "string", "pattern": `^\s*\d{1,2}:\d{2}\s*-\s*\d{1,2}:\d{2}\s*$`})
	// ruleNameForm is the form of validRuleName, nameForm the form of names.checkName.
	ruleNameForm = textForm.with("pattern", `^[A-Za-z0-9._-]{1,100}$`)
	nameForm     = schema{"pattern": `^[A-Za-z_][A-Za-z0-9_]*$`}
)

// oneOfForm is the form of reader.oneOf.
func oneOfForm(values ...string) schema { return schema{"enum": values} }

func listForm(of schema) schema { return schema{"type": "array", "items": of} }

func filledList(of schema) schema { return listForm(of).with("minItems", 1) }

// namedForm is a mapping of names that a person chooses.
func namedForm(name, of schema) schema {
	return schema{"type": "object", "propertyNames": name, "additionalProperties": of}
}

// closedForm is a mapping that has no other keys.
func closedForm(properties schema) schema {
	return schema{"type": "object", "properties": properties, "additionalProperties": false}
}

func anyOfForms(forms ...schema) schema { return schema{"anyOf": forms} }

// hasKeys is a mapping that has the keys, whatever else.
func hasKeys(keys ...string) schema { return schema{"required": keys} }

// refTo is a definition of the same schema.
func refTo(name string) schema { return schema{"$ref": "#/$defs/" + name} }
