package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"

	"sockwarden/actions"
)

// maxBody is how long the result of a template may be, in bytes.
const maxBody = 64 << 10

// parsed reads a template, and tries it on messages whose names would break JSON.
func parsed(text string) (*template.Template, error) {
	t, err := template.New("template").Option("missingkey=error").Funcs(template.FuncMap{"json": asJSON}).Parse(text)
	if err != nil {
		return nil, placed(fmt.Errorf("template: %w", err))
	}
	hostile := `"'\` + "\n"
	for _, event := range []actions.Event{actions.EventFound, actions.EventMissing, actions.EventStands, actions.EventOver, actions.EventSum, actions.EventTest} {
		m := actions.Message{
			Time: time.Unix(0, 0).UTC(), Host: hostile, Mode: "live", Rule: hostile, Labels: map[string]string{hostile: hostile}, Generation: "sha256:0", Event: event,
			Total: 1, Counts: []actions.Count{{What: hostile, Count: 1}}, Lines: []string{hostile},
		}
		if _, err := filled(t, m); err != nil {
			return nil, placed(err)
		}
	}
	return t, nil
}

// place is where package template begins to say what is wrong, and in which line.
var place = regexp.MustCompile(`^(?:template: )*template:([0-9]+):(?:[0-9]+: executing "template")?`)

// placed says what is wrong with a template, and where.
func placed(err error) error {
	found := place.FindStringSubmatch(err.Error())
	if found == nil {
		return &actions.ParamError{Param: "template", Err: err}
	}
	line, _ := strconv.Atoi(found[1])
	return &actions.ParamError{
		Param: "template", Line: line,
		Err: fmt.Errorf("template, line %d: %s", line, strings.TrimSpace(strings.TrimPrefix(err.Error(), found[0]))), //nolint:err113 // for people
	}
}

func asJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// filled is what a template makes of a message: its JSON, and the text for people under
// the name text.
func filled(t *template.Template, m actions.Message) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	fields := map[string]any{"lasted_seconds": 0, "full_in_seconds": 0, "container_labels": map[string]any{}}
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	fields["text"] = text(m, strings.NewReplacer())
	out := &limited{}
	if err := t.Execute(out, fields); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	if !json.Valid(out.Bytes()) {
		return nil, errors.New("template: it does not make JSON of every message: write values as {{json .rule}}, without quotes around them")
	}
	return out.Bytes(), nil
}

// limited is a body that does not grow too long.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxBody {
		return 0, fmt.Errorf("the body is longer than %d bytes", maxBody) //nolint:err113 // for people
	}
	return l.Buffer.Write(b) //nolint:wrapcheck // it never fails
}
