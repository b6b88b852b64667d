package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/metrics"
	"sockwarden/engine"
	"sockwarden/engine/news"
	"sockwarden/engine/pause"
	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// defaultTop is how many listeners and programs have metrics of their own.
const defaultTop = 20

// scraping holds the flags of a watcher that answers scrapes, and what they lead to.
type scraping struct {
	app       *app
	cmd       *cobra.Command
	addr      string
	webConfig string
	top       int

	server   *metrics.Server // nil without --listen
	recorder *metrics.Recorder
}

func (s *scraping) register(app *app, cmd *cobra.Command) {
	s.app, s.cmd = app, cmd
	f := cmd.Flags()
	f.StringVar(&s.addr, "listen", "", "serve metrics for Prometheus, and health, by HTTP at this `ADDRESS:PORT` (default: nowhere)")
	f.StringVar(&s.webConfig, "web-config", "", "`FILE` with TLS and passwords for --listen, as all exporters of Prometheus take it")
	metricsTop(cmd, &s.top)
}

func metricsTop(cmd *cobra.Command, top *int) {
	cmd.Flags().IntVar(top, "metrics-top", defaultTop, "metrics of their own for the first `N` listeners and programs, the others as \"other\"")
}

func checkTop(cmd *cobra.Command, top int, needs, value string) error {
	switch {
	case top < 1:
		return usagef("--metrics-top: %d is less than 1", top)
	case value == "" && cmd.Flags().Changed("metrics-top"):
		return usagef("--metrics-top needs %s", needs)
	}
	return nil
}

// check refuses flags that cannot be meant.
func (s *scraping) check() error {
	if err := checkTop(s.cmd, s.top, "--listen", s.addr); err != nil {
		return err
	}
	if s.addr == "" {
		if s.webConfig != "" {
			return usagef("--web-config needs --listen")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return usagef("--listen: %q is no address with a port: write 127.0.0.1:9842, [::1]:9842, or :9842 for all addresses", s.addr)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return usagef("--listen: %q is no port: a number up to 65535", port)
	}
	if _, err := netip.ParseAddr(host); host != "" && host != "localhost" && err != nil {
		return usagef("--listen: %q is no address of this host: write one as a number, localhost, or none for all", host)
	}
	return nil
}

// open opens the port, if one was asked for, so that a mistake is known at the start.
func (s *scraping) open(ctx context.Context, p *rules.Program) error {
	if s.addr == "" {
		return nil
	}
	server, err := metrics.Listen(ctx, s.addr, s.webConfig, s.app.log)
	if err != nil {
		hint := ""
		if errors.Is(err, syscall.EADDRINUSE) {
			hint = "another program has this port: ss -ltnp shows which; name another one"
		}
		return &exitError{code: exitFailed, err: err, hint: hint}
	}
	s.server, s.recorder = server, metrics.NewRecorder(p)
	return nil
}

// observers are those that an engine tells what it does.
func (s *scraping) observers() []news.Observer {
	if s.recorder == nil {
		return nil
	}
	return []news.Observer{s.recorder}
}

// serve answers scrapes until the returned function is called.
func (s *scraping) serve(ctx context.Context, live bool, interval time.Duration, board *watch.Board) (end func(), err error) {
	if s.server == nil {
		return func() {}, nil
	}
	counter, err := s.app.counter(true)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	shared := metrics.NewShared(interval, s.app.log, func(ctx context.Context) (*engine.Census, error) {
		return counter.Count(ctx, s.recorder.NetNS(), s.recorder.Inodes())
	})
	collector := &metrics.Collector{
		Version: versionText(), Live: live, Recorder: s.recorder, Status: board.Status, Census: shared.Newest, PauseFiles: pause.Files(), Silences: silence.NewStore(s.app.silences()...), Top: s.top,
	}
	s.app.log.Info("serving metrics", "listen", s.server.Addr(), "web_config", s.webConfig)
	var running sync.WaitGroup
	running.Go(func() { shared.Run(ctx) })
	running.Go(func() {
		if err := s.server.Serve(collector); err != nil {
			s.app.log.Error("no more metrics", "error", err)
		}
	})
	return func() {
		s.server.Close()
		cancel()
		running.Wait()
		counter.Close()
	}, nil
}

// counter makes what counts all sockets, according to the flags.
func (a *app) counter(repeats bool) (*engine.Counter, error) {
	return engine.NewCounter(engine.Options{Sources: a.sources.All(), Logger: a.log, Owners: world.OwnerSource(a.flags.look.owners)}, repeats)
}
