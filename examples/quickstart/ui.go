package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

// ui serves the dashboard with the jobs of the folder in it.
type ui struct {
	server *http.Server
	screen *screen
	url    string
}

// serveUI begins; of an empty address it is nil, which does nothing.
func serveUI(address string, client *jobs.Client, screen *screen) (*ui, error) {
	if address == "" {
		return nil, nil
	}
	board, err := dashboard.New(client, dashboard.Config{Title: "quickstart", Logger: screen.logger()})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	u := &ui{&http.Server{Handler: board, ReadHeaderTimeout: 5 * time.Second}, screen, "http://" + listener.Addr().String()}
	u.server.RegisterOnShutdown(board.Close)
	go func() {
		if err := u.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			screen.logger().Warn("the dashboard is not served any more", "error", err)
		}
	}()
	screen.say("the dashboard is at " + u.url)
	return u, nil
}

// await keeps worker and jobs, so that they can be looked at, until ctx ends.
func (u *ui) await(ctx context.Context) {
	if u == nil || ctx.Err() != nil {
		return
	}
	u.screen.say("all files are processed; the dashboard is at " + u.url + " until Ctrl-C, which removes the jobs")
	<-ctx.Done()
}

func (u *ui) close() {
	if u == nil {
		return
	}
	ending, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = u.server.Shutdown(ending) // who looks on is hung up on by the end of the process
}
