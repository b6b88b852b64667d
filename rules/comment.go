package rules

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// cutByComment is the error of an unquoted condition that YAML ends where a comment
// begins.
const cutByComment = `" #" begins a comment in YAML, so the condition ends there: ` +
	`put all of it into quotes, '...', or into a block, when: |`

// commentAfter returns the comment after an unquoted scalar, and where it begins; "" for
// none.
func (s *source) commentAfter(n *yaml.Node) (comment string, line, column int) {
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return "", 0, 0
	}
	line, end := s.locate(n, len([]rune(n.Value)))
	rest := valueAt(s.line(line), end)
	comment = strings.TrimLeft(rest, " \t")
	if !strings.HasPrefix(comment, "#") {
		return "", 0, 0
	}
	return comment, line, end + len([]rune(rest)) - len([]rune(comment))
}

// joins are the words with which a comment continues a condition.
var joins = []string{"and", "&&", "or", "||"}

// checkComment reports that a comment has cut a condition off, if the errors of the
// condition or the comment prove that, and false if they do not. For a condition without
// errors it is a warning.
func (b *builder) checkComment(n *yaml.Node, errs []lang.Error) bool {
	comment, line, column := b.src.commentAfter(n)
	if comment == "" || b.problems.full() {
		return false
	}
	open := strings.Count(n.Value, `"`)%2 != 0 || strings.Count(n.Value, "'")%2 != 0
	last := strings.TrimRight(n.Value, " ")
	for _, word := range joins {
		open = open || strings.HasSuffix(last, " "+word)
	}
	switch {
	case len(errs) > 0 && open:
		b.problems.add(b.src.problem(idCutByComment, line, column, cutByComment))
		return true
	case len(errs) > 0:
		return false
	}
	first, _, _ := strings.Cut(strings.TrimLeft(comment, "# "), " ")
	for _, word := range joins {
		if first == word {
			b.notes.add(b.src.problem(idCutByComment, line, column, fmt.Sprintf("what comes after # is not part of the condition. %s", cutByComment)))
		}
	}
	return false
}
