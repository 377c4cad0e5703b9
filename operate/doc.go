// Package operate is what people on call do with jobs, as plain Go: it finds what is
// wrong, searches, sums up errors, and acts on all jobs that match, in the background. The
// command line and the dashboard are made with it. It knows a store by [jobs.Client] only,
// on which it adds nothing that a store would have to do.
//
//	look, err := operate.Glance(ctx, client)
//	findings, err := operate.Work(ctx, client, look)
//
// A store finds jobs by queue and state, page by page. Whatever looks for more than that
// goes in bounded steps, says how far it came, and can be stopped.
package operate
