package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/caddis-go/caddis/internal/foreign"
)

// sideServer answers HTTP beside what the program does.
type sideServer struct {
	server  *http.Server
	address net.Addr
	failed  chan error
}

// serveBeside begins to answer at an address. what names it in an error.
func serveBeside(ctx context.Context, what, address string, handler http.Handler, log *slog.Logger) (*sideServer, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be served at %s: %w", what, address, err)
	}
	s := &sideServer{
		address: listener.Addr(),
		server: &http.Server{
			Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
		failed: make(chan error, 1),
	}
	go func() { s.failed <- s.server.Serve(listener) }()
	return s, nil
}

// end ends it within some time, and answers why it had ended before.
func (s *sideServer) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience/2)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close()
	}
	if err := <-s.failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// profiles are those of this process, as go tool pprof reads them, for those who ask for a name
// of this machine.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !foreign.LocalHost(r.Host) {
			http.Error(w, "only localhost is served", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
