package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"sockwarden/engine/pause"
	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
)

const (
	// A request and its answer are small: what takes longer is a client that does not
	// write, or does not read.
	headerTime = 5 * time.Second
	readTime   = 10 * time.Second
	writeTime  = 30 * time.Second
	idleTime   = 30 * time.Second
	// maxHeader and maxBody bound a request, in bytes.
	maxHeader = 16 << 10
	maxBody   = 64 << 10
	// maxWait is how long a request waits for the loop at most.
	maxWait = 25 * time.Second
	// atOnce is how many lists of findings are written at a time.
	atOnce = 2
)

// VersionHeader is the header of an answer that has the version of the watcher.
const VersionHeader = "Sockwarden-Version"

// Options are what a server serves.
type Options struct {
	Path  string // of the socket
	Group string // whose members may read, too; "" for nobody
	// Version is that of this program.
	Version string
	Board   *watch.Board
	Log     *slog.Logger
	// PauseFiles are the pause switches that the watcher obeys, and PauseFile the one that
	// it sets, "" if it cannot.
	PauseFiles []string
	PauseFile  string
	// Silences are the files of silences that the watcher obeys, and SilenceFile the one in
	// which it keeps new ones, "" if there is no place.
	Silences    []string
	SilenceFile string
	// Explain answers GET /v1/explain; nil if nobody does.
	Explain Explainer
}

// Server answers on a control socket.
type Server struct {
	opts   Options
	socket *socket
	quiet  *silence.Store
	http   *http.Server
	rows   chan struct{} // a place for each list that is being written
	asking asking
	counts counts
}

// Serve makes the control socket and answers on it, on goroutines of its own, until Close.
// The error is ErrHeld if another watcher has the socket.
func Serve(o Options) (*Server, error) {
	l, err := listen(o.Path, o.Group)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: o, socket: l, quiet: silence.NewStore(o.Silences...), rows: make(chan struct{}, atOnce), asking: asking{turn: make(chan struct{}, 1)}, counts: counts{turn: make(chan struct{}, 1)}}
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c)
		},
	}
	go func() {
		if err := s.http.Serve(&clients{Listener: l}); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			o.Log.Error("the control socket answers no more", "error", err)
		}
	}()
	return s, nil
}

// Close removes the socket and ends what is under way.
func (s *Server) Close() {
	s.socket.close()
	_ = s.http.Close()
}

type peerKey struct{}

// peer is who has sent a request.
func peer(r *http.Request) (uid uint32, known bool) {
	c, ok := r.Context().Value(peerKey{}).(*client)
	if !ok {
		return 0, false
	}
	return c.peer.Uid, true
}

// problem is an error with its status; the text is for people.
type problem struct {
	code     int
	text     string
	problems []watch.Problem // of rules
}

func (p *problem) Error() string { return p.text }

func problemf(code int, format string, args ...any) *problem {
	return &problem{code: code, text: fmt.Sprintf(format, args...)}
}

// errorDoc is what a client gets instead of what it asked for.
type errorDoc struct {
	Error    string          `json:"error"`
	Problems []watch.Problem `json:"problems"`
}

// answer is the value to send, with its status.
type answer struct {
	code  int
	value any
}

// route is what can be asked at a path: by method.
type route map[string]func(*Server, *http.Request) (answer, error)

var routes = map[string]route{
	"/v1/status":   {http.MethodGet: (*Server).status},
	"/v1/findings": {http.MethodGet: (*Server).findings},
	"/v1/explain":  {http.MethodGet: (*Server).explain},
	"/v1/reload":   {http.MethodPost: (*Server).reload},
	"/v1/pause":    {http.MethodPost: (*Server).pause},
	"/v1/resume":   {http.MethodPost: (*Server).resume},
	"/v1/silences": {http.MethodGet: (*Server).silences, http.MethodPost: (*Server).addSilence},
	"/healthz":     {http.MethodGet: (*Server).healthy},
	"/readyz":      {http.MethodGet: (*Server).ready},
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(VersionHeader, s.opts.Version)
	w.Header().Set("Content-Type", "application/json")
	a, err := s.answer(r)
	if err != nil {
		p := problemf(http.StatusInternalServerError, "%v", err)
		_ = errors.As(err, &p)
		a = answer{p.code, errorDoc{p.text, append([]watch.Problem{}, p.problems...)}}
	}
	if rows, ok := a.value.(rows); ok {
		s.write(w, r, rows)
		return
	}
	if text, ok := a.value.(*Text); ok {
		w.Header().Set("Content-Type", text.Type)
		_, _ = w.Write(text.Body)
		return
	}
	w.WriteHeader(a.code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(a.value) // a client that went away
}

func (s *Server) answer(r *http.Request) (answer, error) {
	at, known := routes[r.URL.Path]
	if id, isOne := strings.CutPrefix(r.URL.Path, "/v1/silences/"); isOne && id != "" {
		at, known = route{http.MethodDelete: (*Server).removeSilence}, true
	}
	if !known {
		return answer{}, problemf(http.StatusNotFound, "there is no %s", printable(r.URL.Path))
	}
	f := at[r.Method]
	if f == nil {
		return answer{}, problemf(http.StatusMethodNotAllowed, "%s cannot be %s", r.URL.Path, printable(r.Method))
	}
	if uid, known := peer(r); r.Method != http.MethodGet && (!known || !mayChange(uid)) {
		return answer{}, problemf(http.StatusForbidden, "uid %d may look, and not change anything: that takes root, or uid %d", uid, os.Geteuid())
	}
	return f(s, r)
}

// now is the state of the watcher, as it is shown.
func (s *Server) now() (*watch.Status, error) {
	if st := s.opts.Board.Status(); st != nil {
		return st, nil
	}
	return nil, problemf(http.StatusServiceUnavailable, "a watcher (pid %d) is starting: it has not looked yet", os.Getpid())
}

func (s *Server) status(r *http.Request) (answer, error) {
	st, err := s.now()
	if err != nil {
		return answer{}, err
	}
	now := time.Now()
	st = st.At(now)
	st.Version, st.PID = s.opts.Version, os.Getpid()
	st.Paused = pause.Read(now, s.opts.PauseFiles...)
	in := s.quiet.At(now)
	if st.Silences, err = s.counts.of(r.Context(), st, in); err != nil {
		return answer{}, err
	}
	for _, one := range in {
		if one.Broken() != "" {
			st.Well, st.Wrong = false, append(st.Wrong, "nothing is done: "+one.Broken())
		}
	}
	return answer{http.StatusOK, st}, nil
}

func (s *Server) healthy(*http.Request) (answer, error) {
	st, err := s.now()
	if err != nil {
		return answer{}, err
	}
	return health(st.Late(time.Now()))
}

func (s *Server) ready(*http.Request) (answer, error) {
	st, err := s.now()
	if err != nil {
		return answer{}, err
	}
	return health(st.Unready(time.Now()))
}

func health(why string) (answer, error) {
	if why != "" {
		return answer{}, problemf(http.StatusServiceUnavailable, "%s", why)
	}
	return answer{http.StatusOK, map[string]bool{"ok": true}}, nil
}

// reload has the rules read again. It answers with how they stand then: in force, or on
// their way to it (202); rejected rules are 422.
func (s *Server) reload(r *http.Request) (answer, error) {
	ctx, cancel := context.WithTimeout(r.Context(), maxWait)
	defer cancel()
	stands, err := s.opts.Board.Reload(ctx)
	switch {
	case errors.Is(err, watch.ErrBusy):
		return answer{}, problemf(http.StatusConflict, "the watcher has not read the rules yet: a cycle is under way")
	case err != nil:
		return answer{}, err
	case !stands.LastReload.OK:
		p := problemf(http.StatusUnprocessableEntity, "the rules are rejected, those of %s go on", stands.Loaded.Format(time.TimeOnly))
		p.problems = stands.LastReload.Problems
		return answer{}, p
	case stands.Settling != nil:
		return answer{http.StatusAccepted, stands}, nil
	}
	return answer{http.StatusOK, stands}, nil
}

// body reads a JSON body strictly; an empty one leaves v as it is.
func body(r *http.Request, v any) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return problemf(http.StatusBadRequest, "the request ends too early: %v", err)
	case len(b) > maxBody:
		return problemf(http.StatusBadRequest, "the request is larger than %d bytes", maxBody)
	case len(b) == 0:
		return nil
	}
	if err := strictly(b, v); err != nil {
		return problemf(http.StatusBadRequest, "%v", err)
	}
	return nil
}
