package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sockwarden/cmd/sockwarden/control"
	"sockwarden/cmd/sockwarden/view"
	"sockwarden/rules"
)

// explainFor bounds the time in which a watcher explains, in the view of who asks.
const explainFor = control.ExplainTime + 5*time.Second

// judgesHere are the flags that say how this program has to look and judge.
var judgesHere = []string{"from", "observe", "netns", "state-file", "collect", "owners", "events", "no-pushdown", "breaker", "allow-unknown-owner"}

// byWatcher has the watcher that runs here answer, by the rules p, nil for those that it has
// in force. It is false if this program has to judge: nobody is there, or the watcher cannot
// say, of which the log says why. A watcher that the user named has to answer.
func (x *explaining) byWatcher(ctx context.Context, args []string, p *rules.Program) (answered bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, explainFor, fmt.Errorf("no answer within %s", explainFor)) //nolint:err113 // for people
	defer cancel()
	c, err := control.Find(ctx, x.ask.places())
	if err != nil {
		err = x.ask.quiet(err)
	}
	_, runs := errors.AsType[*control.QuietError](err)
	if errors.Is(err, control.ErrNobody) && !runs && !x.ask.named() {
		return false, nil
	}
	var text []byte
	if err == nil {
		generation := ""
		if p != nil {
			generation = p.Generation
		}
		text, err = c.Explain(ctx, x.toQuery(args), generation)
	}
	if err != nil {
		return false, x.unanswered(err)
	}
	x.app.sameVersion(c)
	if x.app.out().Format == view.Lines { // which have no place for it
		x.app.log.Info("judged by the watcher", "socket", c.Path)
	}
	_, err = x.app.stdout.Write(plain(text, x.app.out().Color))
	return true, quietPipe(err)
}

// unanswered says why the watcher does not answer. It is nil if this program can judge, too.
func (x *explaining) unanswered(err error) error {
	no, refused := errors.AsType[*control.Refused](err)
	switch {
	case refused && no.Code == http.StatusBadRequest:
		return usagef("%s", no.Text)
	case refused && no.Code == http.StatusNotFound:
		err = errors.New("the watcher is too old to explain: restart it")
	}
	which := "those that this command finds, perhaps not the watcher's"
	if x.ownRules() {
		which = "as given"
	}
	switch {
	case x.ask.named() && (errors.Is(err, control.ErrNobody) || errors.Is(err, control.ErrNotAllowed)):
		return notThere(err)
	case x.ask.named():
		return &exitError{code: exitFailed, err: err, hint: "--control none judges here, without what the watcher has seen"}
	case refused && no.Code == http.StatusPreconditionFailed:
		x.app.log.Info("judged here, and not by the watcher", "why", err, "hint", "without --rules and --var the watcher says what its own rules do")
	case refused && no.Code == http.StatusMisdirectedRequest:
		x.app.log.Info("judged here, and not by the watcher", "why", err)
	case refused && no.Code == http.StatusRequestEntityTooLarge:
		x.app.log.Warn("judged here, without what the watcher has seen", "why", err, "rules", which, "hint", "select fewer sockets, such as by -p and -s")
	default:
		x.app.log.Warn("judged here, without what the watcher has seen", "why", err, "rules", which)
	}
	return nil
}

// plain is the text of a watcher without what could drive a terminal, but for colours.
func plain(text []byte, colors bool) []byte {
	return []byte(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' && (r != '\x1b' || !colors) || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, string(text)))
}
