package webhook

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/template"
	"time"
	"unicode/utf8"

	"sockwarden/actions"
)

func message() actions.Message {
	return actions.Message{
		Time: time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC), Host: "web1", Mode: "live", Rule: "close-wait",
		Labels: map[string]string{"severity": "warning"}, Generation: "sha256:abc", Event: actions.EventFound, Total: 5,
		Counts: []actions.Count{{What: "gone", Count: 4}, {What: "fd_still_held", Count: 1}},
		Lines:  []string{"CLOSE_WAIT 10.0.0.1:80 203.0.113.9:4711 nginx[77] for 61s: gone", "CLOSE_WAIT [::1]:80 [::1]:4712 a&b[78]: fd_still_held"},
	}
}

func bodyOf(t *testing.T, format string, m actions.Message) string {
	t.Helper()
	b, err := (&webhook{format: format}).body(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// textOf returns the text that a chat program gets.
func textOf(t *testing.T, format string, m actions.Message) string {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(bodyOf(t, format, m)), &body); err != nil {
		t.Fatal(err)
	}
	text, ok := body[map[string]string{"slack": "text", "discord": "content"}[format]].(string)
	if !ok {
		t.Fatalf("no text: %v", body)
	}
	return text
}

// The three formats, byte by byte.
func TestBodies(t *testing.T) {
	for format, want := range map[string]string{
		"generic": `{"time":"2026-03-01T12:30:00Z","host":"web1","mode":"live","rule":"close-wait","labels":{"severity":"warning"},` +
			`"generation":"sha256:abc","event":"found","total":5,"counts":[{"what":"gone","count":4},{"what":"fd_still_held","count":1}],` +
			`"findings":["CLOSE_WAIT 10.0.0.1:80 203.0.113.9:4711 nginx[77] for 61s: gone","CLOSE_WAIT [::1]:80 [::1]:4712 a\u0026b[78]: fd_still_held"]}`,
		"slack": "{\"text\":\"sockwarden on `web1` (live): rule `close-wait` found 5: 4 gone, 1 fd_still_held\\n```\\n" +
			`CLOSE_WAIT 10.0.0.1:80 203.0.113.9:4711 nginx[77] for 61s: gone\n` +
			`CLOSE_WAIT [::1]:80 [::1]:4712 a\u0026amp;b[78]: fd_still_held\nand 3 more\n` + "```\"}",
		"discord": `{"allowed_mentions":{"parse":[]},"content":"sockwarden on ` + "`web1` (live): rule `close-wait` found 5: 4 gone, 1 fd_still_held\\n```\\n" +
			`CLOSE_WAIT 10.0.0.1:80 203.0.113.9:4711 nginx[77] for 61s: gone\n` +
			`CLOSE_WAIT [::1]:80 [::1]:4712 a\u0026b[78]: fd_still_held\nand 3 more\n` + "```\"}",
	} {
		if got := bodyOf(t, format, message()); got != want {
			t.Errorf("%s:\n%s\nnot\n%s", format, got, want)
		}
	}
}

// Empty values are empty, not null.
func TestEmptyBodies(t *testing.T) {
	m := actions.Message{Host: "h", Mode: "dry-run", Rule: "r"}
	if got, want := bodyOf(t, "generic", m), `{"time":"0001-01-01T00:00:00Z","host":"h","mode":"dry-run","rule":"r","labels":{},"generation":"","event":"","total":0,"counts":[],"findings":[]}`; got != want {
		t.Errorf("%s", got)
	}
	for _, format := range []string{"slack", "discord"} {
		if got, want := textOf(t, format, m), "sockwarden on `h` (dry-run): rule `r` found 0"; got != want {
			t.Errorf("%s: %q", format, got)
		}
	}
}

var hostile = []string{
	"@everyone", "@here", "<@123>", "<!channel>", "<!subteam^S1>", "<https://evil.example|click>", "[click](https://evil.example)",
	"```\n@everyone\n```", "`x`", "**bold** _it_ ~~no~~ ||spoiler||", "# head", "a\nb\r\nc\u2028d\u0085e\tf", "\x1b[2J\x07", "\u202egnp.exe", "\xff\xfe`\xff",
	"&lt;!channel&gt;", "@\u200beveryone", "\\`", "@@everyone``",
}

// Programs choose the names in messages; no name may mention anybody or be interpreted.
func TestHostileNames(t *testing.T) {
	for _, name := range hostile {
		m := message()
		m.Host, m.Rule, m.Lines = name, name, []string{"CLOSE_WAIT " + name + "[7]", name}
		for _, format := range []string{"slack", "discord"} {
			text := textOf(t, format, m)
			head, block, found := strings.Cut(text, "\n```\n")
			if !found || strings.Contains(head, "\n") || strings.Count(head, "`") != 4 {
				t.Errorf("%s: head %q of %q", format, head, text)
			}
			body, ended := strings.CutSuffix(block, "\n```")
			if !ended || strings.Contains(body, "`") || strings.Count(body, "\n") != 2 {
				t.Errorf("%s: block %q of %q", format, block, text)
			}
			for _, r := range text {
				if r != '\n' && r < ' ' || r == '\u202e' || r == '\u2028' || r == '\u0085' || r == utf8.RuneError {
					t.Errorf("%s: %q in %q", format, r, text)
				}
			}
			for i, rest := range strings.Split(text, "@") {
				if i > 0 && !strings.HasPrefix(rest, "\u200b") {
					t.Errorf("%s: calls %q in %q", format, rest, text)
				}
			}
			if format == "slack" && strings.ContainsAny(text, "<>") {
				t.Errorf("slack: %q", text)
			}
			if format == "slack" && strings.Count(text, "&") != strings.Count(text, "&amp;")+strings.Count(text, "&lt;")+strings.Count(text, "&gt;") {
				t.Errorf("slack: bare & in %q", text)
			}
		}
		var back actions.Message
		if err := json.Unmarshal([]byte(bodyOf(t, "generic", m)), &back); err != nil || back.Lines[1] != strings.ToValidUTF8(strings.ReplaceAll(name, "\xff\xfe", "\ufffd\ufffd"), "\ufffd") {
			t.Errorf("generic: %q, %v", back.Lines, err)
		}
	}
}

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"nginx[77]": "nginx[77]", "a\nb\r\n\tc": "a b   c", "\u2028\u00a0": "  ", "\x1b[2J": "?[2J", "\xff\xfea": "?a", "€uro": "€uro",
		"`@": "'@\u200b", "&<>": "&amp;&lt;...", "123456789": "123456789", "1234567890": "123456789...", "1234567€": "1234567...",
	} {
		if got := harmless(in, 9, forSlack()); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
}

// A message never exceeds the limits of the chat programs, keeps whole characters, and
// counts what it leaves out.
func TestLongMessages(t *testing.T) {
	for _, unit := range []string{"x", "<", "@", "&", "€", "\U0001f600", "`", "\xff", "\n"} {
		for _, length := range []int{1, 30, 399, 400, 401, 5000} {
			m := message()
			m.Lines = nil
			for i := range 100 {
				m.Lines = append(m.Lines, fmt.Sprintf("%d.", i)+strings.Repeat(unit, length))
			}
			m.Total = 12345
			m.Host, m.Rule = strings.Repeat(unit, length), strings.Repeat(unit, length)
			for _, format := range []string{"slack", "discord"} {
				text := textOf(t, format, m)
				if n := utf8.RuneCountInString(text); n > 2000 || len(text) > maxText || strings.ContainsRune(text, utf8.RuneError) {
					t.Errorf("%q times %d, %s: %d characters, %d bytes", unit, length, format, n, len(text))
				}
				_, block, _ := strings.Cut(text, "\n```\n")
				body, ended := strings.CutSuffix(block, " more\n```")
				shown := strings.Count(body, "\n")
				if !ended || shown < 2 || !strings.HasSuffix(body, fmt.Sprintf("\nand %d", m.Total-shown)) {
					t.Errorf("%q times %d, %s: %q", unit, length, format, text)
				}
			}
		}
	}
}

// The text says whether something is missing or over.
func TestEvents(t *testing.T) {
	for want, m := range map[string]actions.Message{
		"sockwarden on `h` (live): rule `r`: no socket matches":                            {Event: actions.EventMissing, Counts: []actions.Count{{What: "done", Count: 1}}, Lines: []string{"done: no socket matches"}},
		"sockwarden on `h` (live): rule `r` is over after 12m0s: nothing matches any more": {Event: actions.EventOver, Lasted: 720.4},
	} {
		m.Host, m.Mode, m.Rule = "h", "live", "r"
		for _, format := range []string{"slack", "discord"} {
			if got := textOf(t, format, m); got != want {
				t.Errorf("%s: %q, want %q", format, got, want)
			}
		}
	}
}

// A test message reports no finding, and says that it is a test.
func TestTestMessage(t *testing.T) {
	m := actions.Message{Host: "h", Mode: "test", Event: actions.EventTest, Rule: "test"}
	for _, format := range []string{"slack", "discord"} {
		if got, want := textOf(t, format, m), "sockwarden on `h`: a test message: others would arrive, too"; got != want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
}

// The README shows exactly the message that is sent, in each format.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(open, end string) string {
		_, rest, _ := strings.Cut(string(readme), open+"\n")
		text, _, found := strings.Cut(rest, "\n"+end+"\n")
		if !found {
			t.Fatalf("no block of %s", open)
		}
		return text
	}
	var m actions.Message
	shown := block("```json", "```")
	d := json.NewDecoder(strings.NewReader(shown))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	sent, err := (&webhook{format: "generic"}).body(m)
	if err != nil {
		t.Fatal(err)
	}
	if oneLine := strings.ReplaceAll(shown, "\n ", ""); string(sent) != oneLine {
		t.Errorf("sent is\n%s\nthe README has\n%s", sent, oneLine)
	}
	for name, escape := range map[string]*strings.Replacer{"slack": forSlack(), "discord": forDiscord()} {
		if got, want := text(m, escape), block("````text", "````"); got != want {
			t.Errorf("%s:\n%s\nthe README has\n%s", name, got, want)
		}
	}
}

// What stands and what was summed up is told in words, with names only in code.
func TestOtherEvents(t *testing.T) {
	m := message()
	m.Event, m.Lasted = actions.EventStands, 4*3600
	if got := textOf(t, "slack", m); !strings.HasPrefix(got, "sockwarden on `web1` (live): rule `close-wait` still finds, after 4h0m0s, 5: 4 gone, 1 fd_still_held\n```\n") {
		t.Errorf("%q", got)
	}
	m = actions.Message{Host: "web1", Mode: "live", Event: actions.EventSum, Total: 17, Counts: []actions.Count{{What: "@a`b found", Count: 9}, {What: "leak over", Count: 8}}}
	if got, want := textOf(t, "discord", m), "sockwarden on `web1` (live): 17 messages in one\n```\n9 x @\u200ba'b found\n8 x leak over\n```"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
}

// A template is the whole body; names cannot break out of it.
func TestTemplate(t *testing.T) {
	for text, want := range map[string]string{
		`{"title": {{json .rule}}, "n": {{json .total}}, "first": {{json (index .findings 0)}}}`: `{"title": "a\"b", "n": 5, "first": "CLOSE_WAIT 10.0.0.1:80 203.0.113.9:4711 nginx[77] for 61s: gone"}`,
		`{"severity": {{json .labels.severity}}, "in": {{json .full_in_seconds}}}`:               `{"severity": "warning", "in": 101}`,
		`{"counts": [{{range $i, $c := .counts}}{{if $i}},{{end}}{{json $c.what}}{{end}}]}`:      `{"counts": ["gone","fd_still_held"]}`,
	} {
		tmpl, err := template.New("t").Funcs(template.FuncMap{"json": asJSON}).Parse(text)
		must(t, text, err)
		m := message()
		m.Rule, m.FullIn = `a"b`, 101
		got, err := (&webhook{template: tmpl}).body(m)
		if must(t, text, err); string(got) != want {
			t.Errorf("%s: %s, not %s", text, got, want)
		}
	}
	tmpl, err := parsed(`{"text": {{json .text}}}`)
	must(t, "parse", err)
	got, err := (&webhook{template: tmpl}).body(message())
	if must(t, "body", err); !strings.HasPrefix(string(got), "{\"text\": \"sockwarden on `web1` (live): rule `close-wait` found 5") {
		t.Errorf("%s", got)
	}
}
