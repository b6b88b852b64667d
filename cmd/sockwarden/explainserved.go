package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"

	"sockwarden/cmd/sockwarden/control"
	"sockwarden/cmd/sockwarden/view"
	"sockwarden/engine"
	"sockwarden/engine/look"
	"sockwarden/engine/watch"
	"sockwarden/rules"
)

const (
	// mostExplanations bounds the sockets by rules that a watcher writes down for one
	// question, and mostText the text, in bytes.
	mostExplanations = 5000
	mostText         = 16 << 20
)

// explainer answers questions of rules explain for a watcher.
type explainer struct {
	app   *app
	board *watch.Board
	asker atomic.Pointer[engine.Asker] // nil until the engine is there
}

// asked is a question as it came.
type asked struct {
	explaining
	args []string
	out  view.Out
}

// lists are the parameters of a question that may come more than once: the selectors, and
// rule.
func (x *explaining) lists() map[string]*[]string {
	return map[string]*[]string{
		"rule": &x.only, "port": &x.sel.ports, "remote_port": &x.sel.remotePorts, "state": &x.sel.states, "process": &x.sel.processes, "pid": &x.sel.pids,
		"container": &x.sel.containers, "unit": &x.sel.units, "peer": &x.sel.peers, "proto": &x.sel.protos,
	}
}

// toQuery writes a question down.
func (x *explaining) toQuery(args []string) url.Values {
	q := url.Values{}
	for name, values := range x.lists() {
		if len(*values) > 0 {
			q[name] = *values
		}
	}
	if len(args) > 0 {
		q.Set("expr", args[0])
	}
	o := x.app.out()
	q.Set("output", string(o.Format))
	q.Set("width", strconv.Itoa(o.Width))
	q.Set("wrap", strconv.FormatBool(o.Wrap))
	q.Set("color", strconv.FormatBool(o.Color))
	return q
}

// readAsked reads a question.
func readAsked(app *app, query url.Values) (*asked, error) {
	q := &asked{explaining: explaining{app: app}, out: view.Out{Format: view.JSON}}
	lists := q.lists()
	for name, values := range query {
		if list := lists[name]; list != nil {
			*list = values
			continue
		}
		var err error
		switch value := values[0]; name {
		case "expr":
			q.args = values[:1]
		case "output":
			q.out.Format = view.Format(value)
			err = oneOf("output", value, []string{string(view.Text), string(view.JSON), string(view.Lines)})
		case "width":
			q.out.Width, err = strconv.Atoi(value)
		case "wrap":
			q.out.Wrap, err = strconv.ParseBool(value)
		case "color":
			q.out.Color, err = strconv.ParseBool(value)
		default:
			err = fmt.Errorf("there is no parameter %q", name) //nolint:err113 // for people
		}
		if err != nil {
			return nil, &control.QuestionError{Code: http.StatusBadRequest, Text: err.Error()}
		}
	}
	return q, nil
}

// explain is a control.Explainer.
func (e *explainer) explain(ctx context.Context, query url.Values, generation string) (*control.Text, error) {
	q, err := readAsked(e.app, query)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	q.out.W = &limited{&b, mostText}
	about := func(p *rules.Program) (engine.Question, error) {
		if generation != "" && generation != p.Generation {
			return engine.Question{}, &control.QuestionError{Code: http.StatusPreconditionFailed, Text: "the watcher has other rules in force, generation " + p.Short()}
		}
		question, err := q.question(p, q.args)
		if err != nil {
			return question, &control.QuestionError{Code: http.StatusBadRequest, Text: errorText(err)}
		}
		return question, nil
	}
	asker := e.asker.Load()
	if asker == nil {
		return nil, notYet
	}
	err = asker.Explain(ctx, e.board.Between, about, func(a *engine.Answer) error {
		for _, s := range a.Sockets {
			q.sel.namedFirst(s.Candidate)
		}
		return view.Explain(q.out, a.Explanation, &view.Setting{Program: a.Program, Pause: a.Pause, Watcher: e.watcher(), Most: mostExplanations})
	})
	switch {
	case errors.Is(err, look.ErrTooMany), errors.Is(err, errTooLong):
		return nil, &control.QuestionError{Code: http.StatusRequestEntityTooLarge, Text: "too many sockets to ask the watcher about"}
	case errors.Is(err, engine.ErrNotYet):
		return nil, notYet
	case err != nil:
		return nil, err
	}
	return &control.Text{Type: contentTypes[q.out.Format], Body: b.Bytes()}, nil
}

var notYet = &control.QuestionError{Code: http.StatusConflict, Text: "the watcher has not looked yet"}

var contentTypes = map[view.Format]string{view.Text: "text/plain; charset=utf-8", view.JSON: "application/json", view.Lines: "application/jsonl"}

// watcher says who answers.
func (e *explainer) watcher() *view.Watcher {
	s := e.board.Status()
	if s == nil {
		return nil
	}
	return &view.Watcher{PID: os.Getpid(), Version: versionText(), Mode: s.Mode, Started: s.Started, Loaded: s.Rules.Loaded}
}

var errTooLong = errors.New("the answer is too long")

// limited is a buffer that takes no more than so many bytes.
type limited struct {
	*bytes.Buffer
	most int
}

// Write writes all or nothing.
func (b *limited) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.most {
		return 0, errTooLong
	}
	return b.Buffer.Write(p) //nolint:wrapcheck // a buffer returns none
}
