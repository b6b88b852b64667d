// Package webhook posts what a rule found to a URL, as JSON.
//
// Comes in: one message for each rule and cycle. Goes out: one POST, in the
// shape that Slack, Discord or a program of one's own expects. The URL is a
// secret: it comes from a file or the environment and is never logged.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"sockwarden/actions"
)

const (
	defaultTimeout = 10 * time.Second
	// attempts is how often a message is sent before it is given up, and
	// firstPause the wait after the first failure; it doubles each time.
	attempts   = 4
	firstPause = time.Second
	maxPause   = time.Minute
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 4 << 10
	// maxText is how long a message for people may be: Discord takes 2000.
	maxText = 1900
)

// Plugin returns the registration of the notifier.
func Plugin() actions.NotifierPlugin {
	return actions.NotifierPlugin{
		Name:    "webhook",
		Summary: "posts one message for each rule and cycle to a URL",
		Doc: "Formats: generic (the message as JSON), slack and discord (text). The URL comes from url_file or url_env, never from the rules file: " +
			"it usually is a secret. A message is tried four times with growing pauses; redirects are not followed.",
		Needs: "a way out to the URL",
		Params: []actions.Param{
			{Name: "format", Type: "string", Doc: "generic (default), slack or discord"},
			{Name: "url_file", Type: "string", Doc: "absolute path of a file that holds the URL"},
			{Name: "url_env", Type: "string", Doc: "name of an environment variable that holds it"},
			{Name: "timeout", Type: "duration", Doc: "of one attempt (default 10s)"},
		},
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
	w.urlFile, w.urlEnv = text("url_file"), text("url_env")
	if (w.urlFile == "") == (w.urlEnv == "") {
		return nil, errors.New("the URL comes either from url_file or from url_env")
	}
	if d, ok := params["timeout"].(time.Duration); ok {
		if w.timeout = d; d < 100*time.Millisecond || d > time.Minute {
			return nil, fmt.Errorf("timeout is between 0.1s and 1m, not %s", d)
		}
	}
	w.client = &http.Client{
		Timeout: w.timeout,
		// A redirect could carry the message, and the secret, to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return w, nil
}

type webhook struct {
	format          string
	urlFile, urlEnv string
	timeout, pause  time.Duration
	client          *http.Client
}

// target reads the URL anew for each message, so that a secret can be changed.
func (w *webhook) target() (string, error) {
	raw := os.Getenv(w.urlEnv)
	from := "environment variable " + w.urlEnv
	if w.urlFile != "" {
		b, err := os.ReadFile(w.urlFile)
		if err != nil {
			return "", fmt.Errorf("url_file: %w", err)
		}
		raw, from = string(b), w.urlFile
	}
	raw = strings.TrimSpace(raw)
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("%s holds no http or https URL", from) // which is not shown: it may be a secret
	}
	return raw, nil
}

// Send posts the message, and tries again if the other side is slow or busy.
func (w *webhook) Send(ctx context.Context, m actions.Message) error {
	target, err := w.target()
	if err != nil {
		return err
	}
	body, err := w.body(m)
	if err != nil {
		return err
	}
	pause := w.pause
	for attempt := 1; ; attempt++ {
		after, err := w.post(ctx, target, body)
		if err == nil {
			return nil
		}
		if after < 0 || attempt == attempts {
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

// post makes one attempt. A negative time says that trying again is of no use.
func (w *webhook) post(ctx context.Context, target string, body []byte) (after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return -1, errors.New("the URL is not valid")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sockwarden")
	resp, err := w.client.Do(req)
	if err != nil {
		var ue *url.Error // its text has the URL
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return 0, fmt.Errorf("post: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return 0, nil
	case code == http.StatusTooManyRequests || code >= 500:
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
			after = min(time.Duration(s)*time.Second, maxPause)
		}
		return after, fmt.Errorf("answered %s", resp.Status)
	default:
		return -1, fmt.Errorf("answered %s", resp.Status)
	}
}

func (w *webhook) body(m actions.Message) ([]byte, error) {
	var v any = m
	switch w.format {
	case "slack":
		v = map[string]any{"text": text(m)}
	case "discord":
		// Names come from programs: they must not call anybody.
		v = map[string]any{"content": text(m), "allowed_mentions": map[string]any{"parse": []string{}}}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	return b, nil
}

// text is the message for people.
func text(m actions.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "sockwarden on %s (%s): rule %s found %d", m.Host, m.Mode, m.Rule, m.Total)
	for _, c := range m.Counts {
		fmt.Fprintf(&b, ", %d %s", c.Count, c.What)
	}
	b.WriteByte('\n')
	for _, l := range m.Lines {
		b.WriteString("  " + harmless(l) + "\n")
	}
	if more := m.Total - len(m.Lines); more > 0 && len(m.Lines) > 0 {
		fmt.Fprintf(&b, "  and %d more\n", more)
	}
	s := strings.ToValidUTF8(b.String(), "?")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}

// harmless takes the meaning from characters that chat programs interpret.
func harmless(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@\u200b", "`", "'", "\n", " ").Replace(s)
}
