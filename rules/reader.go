package rules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// reader walks the YAML of one file and collects all its errors.
type reader struct {
	src      *source
	problems *problemList
	// refused are the nodes that were reported for their form.
	refused map[*yaml.Node]bool
}

// parseYAML returns the root of the one document in the file.
func (r *reader) parseYAML() (*yaml.Node, bool) {
	var doc yaml.Node
	if err := yaml.Load([]byte(r.src.text), &doc); err != nil {
		r.yamlError(err)
		return nil, false
	}
	if len(doc.Content) != 1 {
		r.fileProblem(idNoVersion, "the file is empty: it needs at least \"version: 1\"")
		return nil, false
	}
	r.refused = map[*yaml.Node]bool{}
	r.checkTags(doc.Content[0])
	return doc.Content[0], true
}

func (r *reader) yamlError(err error) {
	var le *yaml.LoadError
	text := err.Error()
	switch {
	case strings.Contains(text, "no documents in stream"):
		r.fileProblem(idNoVersion, "the file is empty: it needs at least \"version: 1\"")
	case strings.Contains(text, "expected single document"):
		r.problems.add(r.src.problem(idYAML, r.secondDocument(), 1, "a rules file is one document: put the second one into a file of its own"))
	case errors.As(err, &le) && le.Mark.Line > 0:
		r.problems.add(r.src.yamlMistake(le.Mark, le.Message))
	case le != nil:
		r.fileProblem(idYAML, "YAML: "+le.Message)
	default:
		r.fileProblem(idYAML, "YAML: "+strings.TrimPrefix(text, "yaml: "))
	}
}

// secondDocument returns the line on which another document begins.
func (r *reader) secondDocument() int {
	content := false
	for i, l := range r.src.lines {
		switch {
		case strings.HasPrefix(l, "---") && content:
			return i + 1
		case strings.HasPrefix(l, "---"), strings.HasPrefix(l, "..."):
			content = true
		case strings.TrimSpace(l) != "" && !strings.HasPrefix(l, "#") && !strings.HasPrefix(l, "%"):
			content = true
		}
	}
	return 0
}

func (r *reader) fileProblem(id lang.ID, message string) {
	r.problems.add(Problem{ID: id, File: r.src.name, Message: message})
}

func (r *reader) errorf(id lang.ID, n *yaml.Node, format string, args ...any) {
	if r.problems.full() {
		r.problems.add(Problem{})
		return
	}
	r.problems.add(r.src.problem(id, n.Line, n.Column, fmt.Sprintf(format, args...)))
}

// suggest is Suggest, as long as somebody will read the result.
func (r *reader) suggest(written string, candidates []string) string {
	if r.problems.full() {
		return ""
	}
	return Suggest(written, candidates)
}

// checkTags refuses what YAML would silently make of a condition or copy about.
func (r *reader) checkTags(n *yaml.Node) {
	before := r.problems.seen
	defer func() { r.refused[n] = r.problems.seen > before }()
	switch {
	case n.Kind == yaml.AliasNode:
		r.errorf(idYAMLFeature, n, "aliases are not supported: use vars, sets or macros")
		return
	case n.Anchor != "":
		r.errorf(idYAMLFeature, n, "anchors are not supported: use vars, sets or macros")
	case n.Tag != "" && !strings.HasPrefix(n.Tag, "!!"), n.Style&yaml.TaggedStyle != 0:
		hint := ""
		if n.Kind == yaml.ScalarNode && !strings.HasPrefix(n.Tag, "!!") {
			hint = ": put a condition that begins with ! into quotes, or write not (...)"
		}
		r.errorf(idYAMLFeature, n, "YAML reads %s as a tag%s", n.Tag, hint)
	}
	for _, k := range n.Content {
		r.checkTags(k)
	}
}

// entry is one key of a mapping.
type entry struct{ key, value *yaml.Node }

// entries returns the entries of a mapping in their order, without duplicates.
func (r *reader) entries(n *yaml.Node, what string) ([]entry, bool) {
	if n.Kind != yaml.MappingNode {
		r.errorf(idWrongForm, n, "%s is a mapping of names to values, not %s%s", what, nodeKind(n), exampleOf(what))
		return nil, false
	}
	var out []entry
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			r.errorf(idWrongForm, k, "a key of %s is a name", what)
			continue
		}
		if line, dup := seen[k.Value]; dup {
			r.errorf(idDuplicateKey, k, "duplicate key %q, first on line %d", k.Value, line)
			continue
		}
		seen[k.Value] = k.Line
		out = append(out, entry{k, v})
	}
	return out, true
}

// examples are mappings as they are written.
var examples = map[string]string{
	"the file":            `version: 1`,
	"a rule":              `- {name: leak, when: state == "CLOSE_WAIT", then: [destroy]}`,
	"an entry of protect": "- {name: ssh, when: port == 22}",
	"vars":                "vars: {timeout: 60}",
	"sets":                "sets: {web: [80, 443]}",
	"overrides":           "overrides: {close-wait: {mode: observe}}",
	"an override":         "close-wait: {mode: observe}",
	"macros":              `macros: {hung: state == "CLOSE_WAIT"}`,
	"defaults":            "defaults: {limits: {per_cycle: 100}}",
	"limits":              "limits: {per_cycle: 100}",
	"breaker":             "breaker: {count: 500, share: 30%}",
	"labels":              "labels: {severity: warning}",
	"actions":             "actions: {ops: {plugin: webhook, url_file: /etc/sockwarden/url}}",
	"an entry of actions": "ops: {plugin: webhook, url_file: /etc/sockwarden/url}",
	"an action":           "destroy, or {signal: TERM}",
}

// exampleOf says what to write in place of something that is not a mapping, "" if nobody
// knows.
func exampleOf(what string) string {
	if example := examples[what]; example != "" {
		return ": write " + example
	}
	return ""
}

// maxQuoted bounds how much of a text an error repeats, in runes.
const maxQuoted = 60

func nodeKind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case n.Tag == "!!null":
		return "nothing"
	case len(n.Value) > maxQuoted:
		return strconv.Quote(firstRunes(n.Value, maxQuoted)) + "..."
	}
	return strconv.Quote(n.Value)
}

func (r *reader) text(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		r.errorf(idWrongForm, n, "%s is a string, not %s", what, nodeKind(n))
		return "", false
	}
	return n.Value, true
}

func (r *reader) duration(n *yaml.Node, what string) time.Duration {
	text, ok := r.text(n, what)
	if !ok {
		return 0
	}
	d, err := lang.ParseDuration(text)
	if err != nil {
		r.errorf(lang.IDWrongValue, n, "%s: %v", what, err)
	}
	return d
}

func (r *reader) count(n *yaml.Node, what string) int {
	v, err := strconv.Atoi(n.Value)
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str" && err == nil && v > 0:
		r.errorf(lang.IDWrongValue, n, "%s is a whole number: write %d without quotes", what, v)
		return 0
	case n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || v < 1:
		r.errorf(lang.IDWrongValue, n, "%s is a whole number of at least 1, not %s", what, nodeKind(n))
		return 0
	}
	return v
}

func (r *reader) oneOf(n *yaml.Node, what string, values ...string) string {
	text, ok := r.text(n, what)
	if ok && !slices.Contains(values, text) {
		r.errorf(lang.IDWrongValue, n, "%s is %s, not %q%s", what, lang.Choices(values), text, r.suggest(text, values))
	}
	return text
}

// items returns the elements of a list; example shows how to write one, "" for nothing.
func (r *reader) items(n *yaml.Node, what, example string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		if example != "" {
			example = ": write " + example
		}
		r.errorf(idWrongForm, n, "%s is a list, not %s%s", what, nodeKind(n), example)
		return nil
	}
	return n.Content
}

// exprProblems reports errors of an expression at their places in the scalar.
func (r *reader) exprProblems(n *yaml.Node, errs []lang.Error) {
	for _, e := range errs {
		if r.problems.full() {
			r.problems.add(Problem{})
			continue
		}
		line, column := r.src.locate(n, e.From)
		r.problems.add(r.src.exprProblem(line, column, e))
	}
}
