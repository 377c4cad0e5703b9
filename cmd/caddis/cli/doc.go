// Package cli is a command line around a registry: the worker of its handlers, and all
// that looks after the jobs in the store.
//
//	func main() {
//		registry := jobs.NewRegistry()
//		orders.Handle(registry, mailer)
//		cli.Main(registry, cli.Config{})
//	}
//
// With it the program works jobs, enqueues them with args that are checked against their
// type, and shows and steers what is stored:
//
//	shop work --concurrency 50
//	shop enqueue orders.confirm '{"order_id": "A-1"}'
//	shop jobs --state dead
//
// Which stores a program knows is decided by what it imports, such as
//
//	import _ "github.com/caddis-go/caddis/backend/redis"
//
// What a command found goes to the standard output, as a table, as JSON or as one JSON
// value per line; everything that is said about it goes to the standard error.
//
// # Exit codes
//
//	0    it was done
//	1    it failed: the store is away, or the state of a job does not allow the act, or
//	     doctor found something
//	2    wrong use: a command, flag or value that cannot be
//	3    there is no such job, queue or schedule
//	130  interrupted, by Ctrl-C (INT); 143 by TERM, 129 by HUP. A worker ends by 0 after them
package cli
