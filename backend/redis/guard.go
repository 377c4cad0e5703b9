package redis

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
)

// Code of the user's runs in goroutines of ours and of the client library: what
// dials, what knows the credentials, what sets up a connection. A panic there would end
// the process; here it becomes the error of the call that needed it. See also logs.

// caught is deferred around code that may panic.
func caught(what string, err *error) {
	if value := recover(); value != nil {
		*err = fmt.Errorf("%s panicked: %v (at %s)", what, value, panickedAt())
	}
}

// panickedAt is where the panic that is being recovered from began.
func panickedAt() string {
	var counters [64]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(1, counters[:])])
	for panicking := false; ; {
		frame, more := frames.Next()
		inRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if panicking && !inRuntime {
			return fmt.Sprintf("%s, %s:%d", frame.Function, frame.File, frame.Line)
		}
		panicking = panicking || frame.Function == "runtime.gopanic"
		if !more {
			return "an unknown place"
		}
	}
}

// guardOptions has what of a client's options is code of the user's guarded, and
// leaves out what would stand between us and the server.
func guardOptions(o *goredis.Options) {
	o.OnConnect = guardOnConnect(o.OnConnect)
	o.CredentialsProviderContext = guardCredentials(o.CredentialsProvider, o.CredentialsProviderContext)
	o.CredentialsProvider = nil
	if o.StreamingCredentialsProvider != nil {
		o.StreamingCredentialsProvider = guardedProvider{o.StreamingCredentialsProvider}
	}
	o.Limiter = nil
}

func guardClusterOptions(o *goredis.ClusterOptions) {
	o.OnConnect = guardOnConnect(o.OnConnect)
	o.CredentialsProviderContext = guardCredentials(o.CredentialsProvider, o.CredentialsProviderContext)
	o.CredentialsProvider = nil
	if o.StreamingCredentialsProvider != nil {
		o.StreamingCredentialsProvider = guardedProvider{o.StreamingCredentialsProvider}
	}
	if slots := o.ClusterSlots; slots != nil {
		o.ClusterSlots = func(ctx context.Context) (all []goredis.ClusterSlot, err error) {
			defer caught("ClusterSlots", &err)
			return slots(ctx)
		}
	}
	if newClient := o.NewClient; newClient != nil {
		o.NewClient = func(o *goredis.Options) *goredis.Client { return guardNewClient(newClient, o) }
	}
}

func guardOnConnect(f func(context.Context, *goredis.Conn) error) func(context.Context, *goredis.Conn) error {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, conn *goredis.Conn) (err error) {
		defer caught("OnConnect", &err)
		return f(ctx, conn)
	}
}

type credentials = func(ctx context.Context) (user, password string, err error)

func guardCredentials(plain func() (string, string), f credentials) credentials {
	if f == nil && plain == nil {
		return nil
	}
	return func(ctx context.Context) (user, password string, err error) {
		defer caught("the provider of credentials", &err)
		if f != nil {
			return f(ctx)
		}
		user, password = plain()
		return user, password, nil
	}
}

type guardedProvider struct {
	auth.StreamingCredentialsProvider
}

func (p guardedProvider) Subscribe(listener auth.CredentialsListener) (c auth.Credentials, unsubscribe auth.UnsubscribeFunc, err error) {
	defer caught("the provider of credentials", &err)
	c, unsubscribe, err = p.StreamingCredentialsProvider.Subscribe(listener)
	if err != nil {
		return nil, nil, err
	}
	c = auth.NewBasicCredentials(c.BasicAuth())
	return c, func() (err error) {
		defer caught("the provider of credentials", &err)
		return unsubscribe()
	}, nil
}

// guardNewClient makes the client of a server of a Cluster. If the user's function
// panics, no connection of it opens, and each call says why.
func guardNewClient(newClient func(*goredis.Options) *goredis.Client, o *goredis.Options) (client *goredis.Client) {
	var err error
	defer func() {
		if client == nil {
			if err == nil {
				err = fmt.Errorf("NewClient returned no client")
			}
			broken := *o
			broken.Dialer = func(_ context.Context, _, addr string) (net.Conn, error) { return newUnborn(addr, err), nil }
			client = goredis.NewClient(&broken)
		}
	}()
	defer caught("NewClient", &err)
	return newClient(o)
}

// hook stands between a client and the library. A panic in there becomes an error,
// and what was lost with its connection is asked once more, at once: the server had
// closed it while it was idle, or has just been restarted.
type hook struct {
	// repeats is false where the caller itself repeats.
	repeats bool
}

func (hook) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (h hook) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	guarded := func(ctx context.Context, cmd goredis.Cmder) (err error) {
		defer caught("the client library", &err)
		return next(ctx, cmd)
	}
	return func(ctx context.Context, cmd goredis.Cmder) error {
		err := guarded(ctx, cmd)
		if h.repeats && wasLost(err) && repeatable(cmd) {
			cmd.SetErr(nil)
			err = guarded(ctx, cmd)
		}
		return err
	}
}

func (h hook) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	// Where no command has an answer, each has the error: the library says it beside
	// them only when a server refuses a connection that was just opened.
	guarded := func(ctx context.Context, cmds []goredis.Cmder) (err error) {
		defer func() {
			if err == nil || firstError(cmds) != nil {
				return
			}
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		}()
		defer caught("the client library", &err)
		return next(ctx, cmds)
	}
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		err := guarded(ctx, cmds)
		if !h.repeats || err == nil {
			return err
		}
		var lost []goredis.Cmder
		for _, cmd := range cmds {
			if wasLost(cmd.Err()) && repeatable(cmd) {
				cmd.SetErr(nil)
				lost = append(lost, cmd)
			}
		}
		if len(lost) > 0 {
			_ = guarded(ctx, lost)
			return firstError(cmds)
		}
		return err
	}
}

func firstError(cmds []goredis.Cmder) error {
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			return err
		}
	}
	return nil
}

// repeatable reports whether a command that may have been carried out may be sent
// again: all but the verbs whose answer would be another one then.
func repeatable(cmd goredis.Cmder) bool {
	args := cmd.Args()
	if len(args) < 2 {
		return true
	}
	for _, s := range []*script{retryScript, deleteScript, runNowScript, deleteScheduleScript} {
		if args[1] == s.sha || args[1] == s.source {
			return false
		}
	}
	return true
}
