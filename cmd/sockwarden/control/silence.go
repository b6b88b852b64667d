package control

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
	"sockwarden/rules"
)

// SilenceRequest is the body of POST /v1/silences.
type SilenceRequest struct {
	For   string   `json:"for"` // such as 2h
	Rules []string `json:"rules,omitempty"`
	Expr  string   `json:"expr,omitempty"`  // without names of a rules file
	Owner string   `json:"owner,omitempty"` // must hold for one of the processes
	// Selectors are the flags that made the condition, for people.
	Selectors string `json:"selectors,omitempty"`
	Comment   string `json:"comment,omitempty"`
	By        string `json:"by,omitempty"` // who wants it, in their own words
}

// RemoveRequest is the body of DELETE /v1/silences/ID.
type RemoveRequest struct {
	By string `json:"by,omitempty"` // who wants it, in their own words
}

// silences are those in force.
func (s *Server) silences(r *http.Request) (answer, error) {
	all, err := s.counts.of(r.Context(), s.opts.Board.Status(), s.quiet.At(time.Now()))
	return answer{http.StatusOK, all}, err
}

// addSilence keeps a silence. Like a pause it does not need the loop: the watcher looks at
// the file before each effect.
func (s *Server) addSilence(r *http.Request) (answer, error) {
	var q SilenceRequest
	if err := body(r, &q); err != nil {
		return answer{}, err
	}
	if s.opts.SilenceFile == "" {
		return answer{}, problemf(http.StatusConflict, "there is no directory for silences: XDG_RUNTIME_DIR is not set")
	}
	d, err := rules.ParseDuration(q.For)
	if err != nil {
		return answer{}, problemf(http.StatusBadRequest, "for: %v", err)
	}
	now := time.Now()
	one := &silence.Silence{Rules: q.Rules, Expr: q.Expr, Owner: q.Owner, Selectors: q.Selectors, Comment: q.Comment, CreatedBy: by(r, q.By), StartsAt: now, EndsAt: now.Add(d)}
	if err := one.Check(); err != nil {
		return answer{}, badCondition(err)
	}
	if len(q.Rules) > 0 {
		if err := s.rulesKnown(q.Rules); err != nil {
			return answer{}, err
		}
	}
	// A client that goes away has asked for it all the same.
	if err := silence.Add(context.WithoutCancel(r.Context()), s.opts.SilenceFile, s.opts.Silences, one); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), countTime)
	defer cancel()
	return answer{http.StatusOK, s.opts.Board.Status().SilencedBy(ctx, silence.List{one})[0]}, nil
}

// badCondition is 422 with the problems of a condition, or 400.
func badCondition(err error) error {
	p := problemf(http.StatusBadRequest, "%v", err)
	if problems, ok := errors.AsType[rules.Problems](err); ok {
		p.code, p.text = http.StatusUnprocessableEntity, "the condition is wrong"
		for _, one := range problems {
			p.problems = append(p.problems, watch.Problem{ID: string(one.ID), File: one.File, Line: one.Line, Column: one.Column, Message: one.Message})
		}
	}
	return p
}

// rulesKnown refuses names of rules that are not in force: a silence with a mistyped one
// would spare nothing.
func (s *Server) rulesKnown(names []string) error {
	st, err := s.now()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(st.Rules.Names, name) {
			return problemf(http.StatusUnprocessableEntity, "no rule %q%s; there are %s", printable(name), rules.Suggest(name, st.Rules.Names), strings.Join(st.Rules.Names, ", "))
		}
	}
	return nil
}

// removeSilence ends a silence.
func (s *Server) removeSilence(r *http.Request) (answer, error) {
	text := strings.TrimPrefix(r.URL.Path, "/v1/silences/")
	id, err := strconv.Atoi(text)
	if err != nil || id < 1 {
		return answer{}, problemf(http.StatusBadRequest, "%s is no number of a silence", printable(text))
	}
	var q RemoveRequest
	if err := body(r, &q); err != nil {
		return answer{}, err
	}
	in := s.quiet.At(time.Now())
	one := in.Find(id)
	err = silence.Remove(context.WithoutCancel(r.Context()), s.opts.Silences, id, by(r, q.By), time.Now())
	if errors.Is(err, silence.ErrUnknown) {
		return answer{}, problemf(http.StatusNotFound, "there is no silence %d in force%s", id, thereAre(in))
	}
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, map[string]any{"removed": one}}, nil
}

// thereAre names the silences that there are.
func thereAre(in silence.List) string {
	if ids := in.IDs(); ids != "" {
		return "; there are " + ids
	}
	return ""
}
