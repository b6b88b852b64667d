package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"

	"sockwarden/engine/watch"
)

const (
	// maxConnections bounds the clients: each takes a descriptor of the watcher. One more
	// ends another.
	maxConnections = 64
	// maxScrapes bounds the scrapes at a time; others get 503.
	maxScrapes = 8
	// silent is how long a client may take to say what it wants.
	silent = 5 * time.Second
	// slowest is how long a client may take to ask, or to read the answer.
	slowest = 30 * time.Second
	// farewell is how long requests may go on at the end.
	farewell = time.Second
)

// Server answers scrapes over HTTP.
type Server struct {
	listener net.Listener
	server   *http.Server
	config   string
	log      *slog.Logger
}

// Listen opens the port, so that one that is taken is known at the start. The web
// configuration, of the Prometheus exporters, has TLS and passwords; "" for neither.
func Listen(ctx context.Context, addr, config string, log *slog.Logger) (*Server, error) {
	if err := web.Validate(config); err != nil {
		return nil, fmt.Errorf("--web-config %s: %w", config, err)
	}
	how := net.ListenConfig{}
	how.SetMultipathTCP(false)
	l, err := how.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	all := &guests{Listener: l, most: maxConnections}
	server := &http.Server{
		ReadHeaderTimeout: silent, ReadTimeout: slowest, WriteTimeout: slowest, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 1 << 14,
		ConnState: all.noteState, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return &Server{listener: all, server: server, config: config, log: log}, nil
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers until Close. Metrics come from the collector, and from Go about this
// process.
func (s *Server) Serve(c *Collector) error {
	s.server.Handler = handler(c, s.log)
	addresses, systemd := []string{s.Addr()}, false
	flags := &web.FlagConfig{WebListenAddresses: &addresses, WebSystemdSocket: &systemd, WebConfigFile: &s.config}
	if err := web.Serve(s.listener, s.server, flags, slog.New(slog.DiscardHandler)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("--listen: %w", err)
	}
	return nil
}

// Close ends Serve, and frees the port.
func (s *Server) Close() {
	defer func() { _ = s.listener.Close() }() // where Serve has not begun
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close()
	}
}

// index says what there is.
const index = "sockwarden: /metrics, /healthz, /readyz\n"

func handler(c *Collector, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxRequestsInFlight: maxScrapes,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, c, (*watch.Status).Late) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { say(w, c, (*watch.Status).Unready) })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(index))
	})
	return mux
}

// say answers 503 with what is wrong, or 200.
func say(w http.ResponseWriter, c *Collector, wrong func(*watch.Status, time.Time) string) {
	why := "the watcher has not begun yet"
	if s := c.Status(); s != nil {
		why = wrong(s, time.Now())
	}
	if why != "" {
		http.Error(w, strings.TrimSpace(why), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}
