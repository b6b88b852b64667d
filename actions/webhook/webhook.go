// Package webhook posts what a rule found to a URL, as JSON.
//
// Comes in: one message per rule and cycle. Goes out: one POST, in the form that Slack,
// Discord or your own program expects. The URL is a secret: it comes from a file or the
// environment and never appears in a log.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors/trust"
)

const (
	defaultTimeout = 10 * time.Second
	// attempts is how often to send a message before saying that it failed, and firstPause the wait
	// after the first failure; it doubles each time.
	attempts   = 4
	firstPause = time.Second
	maxPause   = time.Minute
	// maxAnswer is how much of an answer we read, in bytes.
	maxAnswer = 4 << 10
	// maxURL is how long the file with the URL may be, in bytes.
	maxURL = 8 << 10
)

// Plugin returns the registration of the notifier.
func Plugin() actions.NotifierPlugin {
	return actions.NotifierPlugin{
		Name:    "webhook",
		Summary: "posts one message per rule and cycle to a URL",
		Doc: "Formats: generic (the message as JSON), slack and discord (text). The URL comes from url_file or url_env, never from the rules file: " +
			"it is usually a secret. It tries to send a message until it is accepted or refused for good, with growing pauses, and follows no redirects.",
		Needs: "a way out to the URL",
		Params: append([]actions.Param{
			{Name: "format", Type: "string", Doc: "generic (default), slack or discord"},
			{Name: "url_file", Type: "string", Doc: "absolute path of a file that holds the URL; a live run refuses one that others can write", SecretFile: true},
			{Name: "url_env", Type: "string", Doc: "name of an environment variable that holds it"},
			{Name: "template", Type: "string", Doc: "the body instead, as a Go template that makes JSON: '{\"text\": {{json .text}}}'"},
			{Name: "timeout", Type: "duration", Doc: "for one attempt (default 10s)"},
		}, actions.DeliveryParams()...),
		New: newNotifier,
	}
}

func newNotifier(params map[string]any) (actions.Notifier, error) {
	w := &webhook{format: "generic", timeout: defaultTimeout, pause: firstPause}
	text := func(name string) string { s, _ := params[name].(string); return s }
	if f := text("format"); f != "" {
		w.format = f
	}
	if w.format != "generic" && w.format != "slack" && w.format != "discord" {
		return nil, fmt.Errorf("format is generic, slack or discord, not %q", w.format)
	}
	if _, err := actions.DeliveryOf(params); err != nil {
		return nil, err
	}
	if t := text("template"); t != "" {
		if w.format != "generic" {
			return nil, fmt.Errorf("template is the whole body, so it takes no format %s", w.format)
		}
		var err error
		if w.template, err = parsed(t); err != nil {
			return nil, err
		}
	}
	w.urlFile, w.urlEnv = text("url_file"), text("url_env")
	if (w.urlFile == "") == (w.urlEnv == "") {
		return nil, errors.New("the URL comes from either url_file or url_env: write url_file: /etc/sockwarden/url, and put the URL into that file")
	}
	if param, err := w.checkSource(); err != nil {
		return nil, &actions.ParamError{Param: param, Err: err}
	}
	if d, ok := params["timeout"].(time.Duration); ok {
		if w.timeout = d; d < 100*time.Millisecond || d > time.Minute {
			return nil, fmt.Errorf("timeout is between 0.1s and 1m, not %s", d)
		}
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		DisableKeepAlives: true, // the next message may be days away
	}
	w.client = &http.Client{
		Timeout:   w.timeout,
		Transport: transport,
		// A redirect could carry the message, and the secret, to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return w, nil
}

// checkSource says what is wrong with where the URL comes from. It repeats nothing that could
// be a URL: that is a secret.
func (w *webhook) checkSource() (param string, err error) {
	const misplaced = "the URL is a secret and has no place in a rules file: url_file is the path of a file that holds it, url_env the name of an environment variable"
	switch {
	case strings.Contains(w.urlFile, "://"):
		return "url_file", errors.New(misplaced)
	case strings.Contains(w.urlEnv, "://"):
		return "url_env", errors.New(misplaced)
	case w.urlEnv != "" && !variable.MatchString(w.urlEnv):
		return "url_env", errors.New("url_env is the name of an environment variable such as SLACK_URL: letters, digits and _")
	case w.urlFile != "" && !filepath.IsAbs(w.urlFile):
		return "url_file", fmt.Errorf("url_file must be an absolute path such as /etc/sockwarden/url, not %q", w.urlFile)
	}
	return "", nil
}

// variable is the name of an environment variable.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

type webhook struct {
	format          string
	template        *template.Template // nil for the format's own body
	urlFile, urlEnv string
	timeout, pause  time.Duration
	client          *http.Client
}

// targetInTime is target if the file system answers, otherwise an error.
func (w *webhook) targetInTime(ctx context.Context, live bool) (target string, err error) {
	done := make(chan func(), 1)
	go func() {
		t, e := w.target(live)
		done <- func() { target, err = t, e }
	}()
	select {
	case set := <-done:
		set()
		return target, err
	case <-time.After(w.timeout):
		return "", fmt.Errorf("url_file: %s could not be read within %s: its file system does not answer", w.urlFile, w.timeout)
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// target reads the URL anew for each message, so users can change the secret. Nobody else
// may choose where a live run's messages go.
func (w *webhook) target(live bool) (string, error) {
	raw := os.Getenv(w.urlEnv)
	from := "environment variable " + w.urlEnv
	if w.urlFile != "" {
		b, err := readURL(w.urlFile, live)
		if err != nil {
			return "", fmt.Errorf("url_file: %w", err)
		}
		raw, from = string(b), w.urlFile
	}
	raw = strings.TrimSpace(raw)
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("%s holds no http or https URL", from) // which we do not show: it may be a secret
	}
	return raw, nil
}

func readURL(path string, trusted bool) ([]byte, error) {
	f, err := new(trust.Checker).Open(path)
	switch {
	case errors.Is(err, trust.ErrNotRegular):
		return nil, fmt.Errorf("%s %w", path, err)
	case err != nil:
		return nil, err
	}
	defer f.Close()
	if err := f.Trusted(); trusted && err != nil {
		return nil, fmt.Errorf("a live run does not trust it: %w", err)
	}
	b, err := f.ReadAll(maxURL)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

// Send posts the message, and retries if the other side is slow or busy.
func (w *webhook) Send(ctx context.Context, m actions.Message) error {
	target, err := w.targetInTime(ctx, m.Mode == "live")
	if err != nil {
		return err
	}
	body, err := w.body(m)
	if err != nil {
		return &actions.FinalError{Err: err}
	}
	pause := w.pause
	for attempt := 1; ; attempt++ {
		after, err := w.post(actions.Attempt(ctx), target, body)
		if err == nil {
			return nil
		}
		if after < 0 {
			return &actions.FinalError{Err: fmt.Errorf("attempt %d of %d: %w", attempt, attempts, err)}
		}
		if attempt == attempts {
			return fmt.Errorf("attempt %d of %d: %w", attempt, attempts, err)
		}
		select {
		case <-time.After(max(pause, after)):
		case <-ctx.Done():
			return fmt.Errorf("%w, given up: %w", err, context.Cause(ctx))
		}
		pause = min(2*pause, maxPause)
	}
}

// post makes one attempt. A negative time says that retrying is pointless.
func (w *webhook) post(ctx context.Context, target string, body []byte) (after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return -1, errors.New("the URL is not valid")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sockwarden")
	resp, err := w.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("post: %w", w.reason(err))
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return 0, nil
	case code == http.StatusTooManyRequests || code >= 500:
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
			after = time.Duration(min(s, int(maxPause/time.Second))) * time.Second
		}
		return after, answered(code)
	default:
		return -1, answered(code)
	}
}

// answered reports only the status code: the rest of the answer may repeat the URL.
func answered(code int) error {
	return fmt.Errorf("answered %s", strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))) //nolint:err113 // for people
}

// reason says why there was no answer. It passes on only errors that cannot repeat the
// URL; others quote it, or what the other side sent.
func (w *webhook) reason(err error) error {
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	var late net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.As(err, &late) && late.Timeout():
		return fmt.Errorf("no answer within %s", w.timeout) //nolint:err113 // for people
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &op):
		return op
	case errors.Is(err, http.ErrSchemeMismatch):
		return http.ErrSchemeMismatch
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("closed without an answer")
	}
	return errors.New("no valid answer")
}
