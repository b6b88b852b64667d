package control

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"sockwarden/engine/watch"
)

const (
	// ExplainTime is how long a watcher has to explain, from the moment it was asked.
	ExplainTime = 20 * time.Second
	// inNamespace and ofGeneration are the parameters of a question that say who asks: the
	// network namespace as /proc shows it, and the rules that the answer must be by.
	inNamespace  = "in"
	ofGeneration = "generation"
)

// Explainer says why rules take sockets or not. The query is that of a URL; the error is a
// *QuestionError if it is wrong.
type Explainer func(ctx context.Context, query url.Values, generation string) (*Text, error)

// Text is an answer that is text as it is.
type Text struct {
	Type string // of the content
	Body []byte
}

// QuestionError says why a question cannot be answered, with the status of HTTP.
type QuestionError struct {
	Code int
	Text string
}

func (e *QuestionError) Error() string { return e.Text }

// asking lets one question be answered at a time, and leaves the processors to the cycles for
// as long as each has taken.
type asking struct {
	turn  chan struct{} // has a place for the one that is being answered
	until time.Time     // when the next may begin; of whoever has the turn
}

// next waits for its turn. The returned function ends it.
func (a *asking) next(ctx context.Context) (end func(), err error) {
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	rest := time.NewTimer(time.Until(a.until))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
		<-a.turn
		return nil, context.Cause(ctx)
	}
	began := time.Now()
	return func() {
		now := time.Now()
		a.until = now.Add(now.Sub(began))
		<-a.turn
	}, nil
}

var errSlow = errors.New("not within 20 seconds")

// explain answers why rules take sockets or not. The answer is written when the question is
// over: a client that does not read keeps nobody from asking.
func (s *Server) explain(r *http.Request) (answer, error) {
	if s.opts.Explain == nil {
		return answer{}, problemf(http.StatusNotFound, "this watcher explains nothing")
	}
	query := r.URL.Query()
	if in := query.Get(inNamespace); in != "" && in != ownNamespace() {
		return answer{}, problemf(http.StatusMisdirectedRequest, "the watcher is in another network namespace")
	}
	generation := query.Get(ofGeneration)
	query.Del(inNamespace)
	query.Del(ofGeneration)
	ctx, cancel := context.WithTimeoutCause(r.Context(), ExplainTime, errSlow)
	defer cancel()
	end, err := s.asking.next(ctx)
	if err != nil {
		return answer{}, problemf(http.StatusConflict, "the watcher has other questions to answer: %v", err)
	}
	defer end()
	text, err := s.opts.Explain(ctx, query, generation)
	wrong, isWrong := errors.AsType[*QuestionError](err)
	switch {
	case isWrong:
		return answer{}, problemf(wrong.Code, "%s", wrong.Text)
	case errors.Is(err, watch.ErrBusy):
		return answer{}, problemf(http.StatusConflict, "%s", s.busy())
	case ctx.Err() != nil:
		return answer{}, problemf(http.StatusServiceUnavailable, "the watcher could not answer: %v", context.Cause(ctx))
	case err != nil:
		return answer{}, err
	}
	return answer{http.StatusOK, text}, nil
}

// busy says why the loop did not take a question.
func (s *Server) busy() string {
	if st := s.opts.Board.Status(); st != nil && !st.Running.IsZero() {
		return "the watcher is busy: a cycle has been running since " + st.Running.Format(time.TimeOnly)
	}
	return "the watcher is busy: a cycle is under way"
}
