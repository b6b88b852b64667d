package lang

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/expr-lang/expr/ast"

	"sockwarden/collectors"
)

// syntaxError says what is wrong where the parser gave up, and what to write instead:
// first for what people write who know another language, then by what the parser says.
func syntaxError(text, message string, from int) (at int, hint string) {
	runes := []rune(text)
	if start, word := wordAt(runes, from, isWordRune); word != "" {
		if hint := inSmallLetters(word); hint != "" {
			return start, hint
		}
	}
	if word, start := wordBefore(runes, from); inSmallLetters(word) != "" {
		return start, inSmallLetters(word)
	}
	for _, mistake := range []func([]rune, int) (int, string){otherOperator, otherCall, spacedDuration} {
		if start, hint := mistake(runes, from); hint != "" {
			return start, hint
		}
	}
	if start, word := wordAt(runes, from, isAddressRune); isAddress(word) {
		if !strings.Contains(word, "/") || inBrackets(runes, start) {
			return start, fmt.Sprintf("an address is written in quotes: %q", word)
		}
		return start, fmt.Sprintf("a network is written in quotes and brackets: in [%q]", word)
	}
	if literal, bad := strings.CutPrefix(message, "bad number syntax: "); bad {
		literal = strings.Trim(literal, `"`)
		start := max(0, from+1-len([]rune(literal)))
		if _, whole := wordAt(runes, start, isWordRune); strings.HasPrefix(whole, literal) {
			literal = whole
		}
		if _, err := ParseDuration(literal); err == nil {
			return start, fmt.Sprintf("a duration is written in quotes: %q", literal)
		}
		return start, fmt.Sprintf("%q is not a number", literal)
	}
	switch {
	case strings.HasPrefix(message, `unexpected token Operator(",")`):
		return from, `unexpected ",": a list is written in brackets, as in [80, 443]`
	case strings.HasPrefix(message, "unexpected token Number") || strings.HasPrefix(message, "unexpected token String"):
		if inBrackets(runes, from) {
			return from, syntaxHint(message) + ": the elements of a list have commas between them"
		}
	case strings.HasPrefix(message, "literal not terminated"):
		return from, `a text has no end: a closing " is missing`
	case strings.HasPrefix(message, "unexpected token EOF"):
		return from, unfinished(runes)
	}
	return from, syntaxHint(message)
}

// otherWords and otherSigns are operators of other languages, with what to write instead.
var (
	otherWords = map[string]string{
		"is": "==", "eq": "==", "ne": "!=", "gt": ">", "lt": "<", "ge": ">=", "le": "<=",
		"like": `contains, startsWith or endsWith`, "regex": "matches", "regexp": "matches",
		"between": "in, as in port in 80..90",
	}
	otherSigns = []struct{ sign, instead string }{
		{"=~", "matches"},
		{"!~", "not (... matches ...)"},
		{"~", "matches"},
		{"<>", "!="},
		{"=<", "<="},
		{"=>", ">="},
		{"===", "=="},
		{"&", "and"},
		{"|", "or"},
		{"#", "a comment within a condition as /* ... */"},
	}
)

// otherOperator is advice for an operator of another language around a place, and where
// it begins.
func otherOperator(text []rune, at int) (start int, hint string) {
	start, word := wordAt(text, at, isWordRune)
	if word == "then" {
		return start, `unexpected "then": a condition only says what must be true, without if and then`
	}
	if instead := otherWords[strings.ToLower(word)]; instead != "" {
		return start, fmt.Sprintf("unexpected %q: write %s", word, instead)
	}
	start, sign := wordAt(text, at, func(r rune) bool { return strings.ContainsRune("=~!<>&|#", r) })
	for _, other := range otherSigns {
		if sign == other.sign {
			return start, fmt.Sprintf("unexpected %q: write %s", sign, other.instead)
		}
	}
	return 0, ""
}

// otherCall is advice for an operator written as a function, and for a path without
// quotes.
func otherCall(text []rune, at int) (start int, hint string) {
	start, word := wordAt(text, at, isWordRune)
	switch {
	case slices.Contains([]string{"contains", "startsWith", "endsWith", "matches"}, word):
		return start, fmt.Sprintf(`unexpected %q: it goes between two parts, as in process %s "ng"`, word, word)
	case at < len(text) && text[at] == '/' && strings.HasSuffix(strings.TrimSpace(string(text[:at])), "="):
		return at, `unexpected "/": a path is written in quotes`
	}
	return 0, ""
}

// units are the words for units of time, with their short forms in a duration.
var units = map[string]string{
	"s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "m": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
	"h": "h", "hour": "h", "hours": "h", "d": "d", "day": "d", "days": "d",
}

// spacedDuration is advice for a number followed by the word for a unit.
func spacedDuration(text []rune, at int) (start int, hint string) {
	start, word := wordAt(text, at, isWordRune)
	number, from := wordBefore(text, start)
	if unit := units[strings.ToLower(word)]; unit != "" && number != "" && strings.Trim(number, "0123456789") == "" {
		return from, fmt.Sprintf("a duration is written in quotes: %q", number+unit)
	}
	return 0, ""
}

// unfinished says what is missing at the end of a condition.
func unfinished(text []rune) string {
	open := strings.Count(string(text), "(") - strings.Count(string(text), ")")
	end := len([]rune(strings.TrimRightFunc(string(text), unicode.IsSpace)))
	_, word := wordAt(text[:end], end, func(r rune) bool { return !unicode.IsSpace(r) })
	switch {
	case slices.Contains(reserved, word) || strings.Trim(word, "=<>!&|+-*") == "" && word != "":
		return fmt.Sprintf("the condition ends too early: something is missing behind %s", word)
	case open > 0:
		return `the condition ends too early: a ")" is missing`
	}
	return "the condition ends too early"
}

// inSmallLetters is advice for an operator or constant written in capitals, "" for any
// other word.
func inSmallLetters(word string) string {
	small := slices.IndexFunc(reserved, func(r string) bool { return r != word && strings.EqualFold(r, word) })
	if small < 0 {
		return ""
	}
	return fmt.Sprintf("%q is written in small letters: %s", word, reserved[small])
}

func isWordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func isAddressRune(r rune) bool { return strings.ContainsRune("0123456789abcdefABCDEF.:/", r) }

// wordAt returns the run of such runes around a place, and where it begins.
func wordAt(text []rune, at int, is func(rune) bool) (start int, word string) {
	start, end := min(at, len(text)), min(at, len(text))
	for start > 0 && is(text[start-1]) {
		start--
	}
	for end < len(text) && is(text[end]) {
		end++
	}
	return start, string(text[start:end])
}

// wordBefore returns the word before a place, with blanks between.
func wordBefore(text []rune, at int) (word string, start int) {
	for at = min(at, len(text)); at > 0 && unicode.IsSpace(text[at-1]); at-- {
	}
	start, word = wordAt(text[:at], at, isWordRune)
	return word, start
}

// inBrackets reports whether a place is within a list.
func inBrackets(text []rune, at int) bool {
	before := string(text[:min(at, len(text))])
	return strings.LastIndex(before, "[") > strings.LastIndex(before, "]")
}

func isAddress(word string) bool {
	_, err := netip.ParseAddr(word)
	_, err2 := netip.ParsePrefix(word)
	return err == nil || err2 == nil
}

// elsewhere are the names that other tools have for fields.
var elsewhere = map[string]string{
	"dport": "remote_port", "dst_port": "remote_port", "peer_port": "remote_port", "foreign_port": "remote_port",
	"sport": "port", "src_port": "port", "lport": "port",
	"dst": "remote_addr", "peer": "remote_addr", "ip": "remote_addr", "remote_ip": "remote_addr", "foreign_addr": "remote_addr",
	"src": "local_addr", "local_ip": "local_addr",
	"proto": "protocol", "status": "state", "comm": "process", "program": "process", "proc": "process",
	"recv_q": "recv_queue", "recvq": "recv_queue", "rx_queue": "recv_queue",
	"send_q": "send_queue", "sendq": "send_queue", "tx_queue": "send_queue",
}

// unknown says what may be meant by a name that stands for nothing.
func (v *vocabulary) unknown(name string) string {
	if hint := inSmallLetters(name); hint != "" {
		return hint
	}
	hint := ""
	field, isElsewhere := elsewhere[strings.ToLower(name)]
	_, isState := collectors.ParseState(name)
	switch {
	case isState:
		hint = fmt.Sprintf(": a state is written in quotes, %q", strings.ToUpper(name))
	case slices.Contains(nothings, strings.ToLower(name)):
		hint = ": use known(field) to ask whether something is known, and compare with \"\" or 0 for none"
	case name == "result":
		hint = ": it is the result of the rung before, and belongs in the if of the next one"
	case !v.sc.Group && slices.Contains(groupNames, name):
		hint = fmt.Sprintf(": it is a value of a group, write it into having: group: pid, having: %s > 100", name)
	case isElsewhere && !v.sc.Group:
		hint = fmt.Sprintf(" (did you mean %q?)", field)
	default:
		hint = v.suggest(name)
	}
	if hint == "" && !v.sc.Group {
		if state := Suggest(name, collectors.StateNames()); state != "" && name == strings.ToUpper(name) {
			hint = ": a state is written in quotes" + state
		}
	}
	if hint == "" && len(v.errs) < maxSuggestions {
		hint = ": it is neither a field (sockwarden rules fields lists them) nor a variable, set or macro"
		if v.sc.Group {
			hint = ": a group has " + Choices(groupNames)
		}
	}
	return fmt.Sprintf("unknown name %q%s", name, hint)
}

// bareText reports a name that stands for nothing, next to a text field.
func (c *compiler) bareText(l operand, n *ast.IdentifierNode) bool {
	if l.kind != kString || l.field == nil || l.field.Field == collectors.FieldState {
		return false
	}
	if c.standsFor(n.Value) || slices.Contains(nothings, strings.ToLower(n.Value)) {
		return false
	}
	from, _ := c.span(n)
	c.errorf(IDUnknownName, from, "unknown name %q: a text is written in quotes, %q", n.Value, n.Value)
	return true
}

// nothings are what other languages write for an unknown value.
var nothings = []string{"null", "none", "undefined"}

// standsFor reports whether a name stands for something.
func (v *vocabulary) standsFor(name string) bool {
	_, isField := collectors.FieldByName(name)
	return isField || v.sc.defines(name) || v.sc.Broken[name] || IsWord(name)
}

func isStateName(name string) bool {
	_, is := collectors.ParseState(name)
	return is
}

// written is the text of a part of the expression.
func (p *places) written(n ast.Node) string {
	from, to := p.span(n)
	runes := []rune(p.source.text)
	return string(runes[min(from, len(runes)):min(to, len(runes))])
}

// asRange is a range as conditions write it, for one as --port takes it; "" for any other
// text.
func asRange(text string) string {
	ends := rangeText.FindStringSubmatch(text)
	if ends == nil {
		return ""
	}
	return ends[1] + ".." + ends[2]
}

var rangeText = regexp.MustCompile(`^\s*(\d+)\s*(?:-|\.\.)\s*(\d+)\s*$`)
