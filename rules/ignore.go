package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// ignored is a comment that silences one kind of warning: on its line, on the line
// below, or, above a rule, in the whole rule.
type ignored struct {
	id       lang.ID
	at       Problem // where the comment is
	from, to int     // the lines that it covers
	used     bool
}

var ignoreComment = regexp.MustCompile(`#\s*sockwarden:ignore\b[ \t]*(\S*)[ \t]*(.*)$`)

// readIgnored returns the comments of a file. Rules has the first and last line of each
// rule.
func readIgnored(src *source, rules [][2]int) (found []*ignored) {
	for i, text := range src.lines {
		m := ignoreComment.FindStringSubmatchIndex(text)
		if m == nil {
			continue
		}
		line, column := i+1, len([]rune(text[:m[0]]))+1
		in := &ignored{id: lang.ID(text[m[2]:m[3]]), from: line, to: line}
		switch {
		case !isKind(in.id):
			in.at = src.problem(idIgnoreUnknown, line, column, fmt.Sprintf("there is no kind of warning %q%s: sockwarden rules check --explain all lists them",
				in.id, Suggest(string(in.id), kindNames())))
		case text[m[4]:m[5]] == "":
			in.at = src.problem(idIgnoreReason, line, column, fmt.Sprintf("say why %s does not matter here: # sockwarden:ignore %[1]s because ...", in.id))
		default:
			in.at = src.problem(idIgnoreUnused, line, column, fmt.Sprintf("there is no warning %s here: remove the comment", in.id))
		}
		if strings.TrimSpace(text[:m[0]]) == "" { // it is alone on its line
			in.to = below(src, line)
			for _, r := range rules {
				if r[0] == in.to {
					in.to = r[1]
				}
			}
		}
		found = append(found, in)
	}
	return found
}

// below returns the next line that is not a comment.
func below(src *source, line int) int {
	for ; line < len(src.lines); line++ {
		if !strings.HasPrefix(strings.TrimSpace(src.lines[line]), "#") {
			return line + 1
		}
	}
	return line
}

// spare reports whether a comment silences the warning.
func spare(comments []*ignored, p *Problem) bool {
	spared := false
	for _, in := range comments {
		if in.id == p.ID && in.at.File == p.File && in.from <= p.Line && p.Line <= in.to && in.at.ID != idIgnoreUnknown {
			in.used, spared = true, true
		}
	}
	return spared
}

// excuse takes the comments on some lines for used: what they are about does not count as
// it stands there.
func excuse(comments []*ignored, file string, lines [2]int) {
	for _, in := range comments {
		if in.at.File == file && in.from <= lines[1] && lines[0] <= in.to {
			in.used = true
		}
	}
}

// leftOver returns what is wrong with the comments themselves. A comment can count as
// unused only if the files are read as they stand, without variables of the command line,
// and never if only the host can cause the warning.
func leftOver(comments []*ignored, asTheyStand bool) (problems Problems) {
	for _, in := range comments {
		if in.at.ID != idIgnoreUnused || asTheyStand && !in.used && in.id != IDProgramMissing {
			problems = append(problems, in.at)
		}
	}
	return problems
}

// span returns the first and the last line of a node.
func span(n *yaml.Node) [2]int {
	lines := [2]int{n.Line, n.Line}
	if n.Kind == yaml.ScalarNode {
		lines[1] += strings.Count(strings.TrimRight(n.Value, "\n"), "\n")
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			lines[1]++
		}
	}
	for _, k := range n.Content {
		lines[1] = max(lines[1], span(k)[1])
	}
	return lines
}

// Warn adds a warning that only this host can cause, unless a comment silences it.
func (p *Program) Warn(w Problem) {
	if !spare(p.ignored, &w) {
		p.Warnings = append(slices.Clone(p.Warnings), w)
	}
}
