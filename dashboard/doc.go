// Package dashboard shows what Caddis does in a browser, and lets the people who are on call
// steer it: queues, jobs and why they do not run, errors in groups, workers, schedules. It is
// an http.Handler for any path of any server:
//
//	board, err := dashboard.New(client, dashboard.Config{Authorize: whoAsks})
//	mux.Handle("/jobs/", http.StripPrefix("/jobs", board))
//
// It works on every store, by [jobs.Client] and package operate only, and compiles no actor
// library. Nothing that it shows is loaded from elsewhere; without scripts its pages work
// too, and are as they were when they were loaded.
//
// # Safety
//
// Who may do what is said by [Config.Authorize], or by [Config.Users] with passwords. Without
// either, only who asks from the same machine for a name of that machine is answered. Acts
// need a token of the page and an origin that is ours. Payloads, results and progress are
// shown to nobody unless [Config.Payloads] says to whom. Each act is logged: who, what, to how
// many.
package dashboard
