// Package encrypt keeps payloads, results and progress secret from whoever can read the
// store. It is a codec around another one:
//
//	current, err := encrypt.NewKey("2026-03", secret) // 32 random bytes
//	codec, err := encrypt.New(jobs.JSON, current)
//	registry := jobs.NewRegistry(jobs.WithCodec(codec))
//
// Producers and workers both need it, the workers first: a worker that does not know the
// codec of a job lets it die. Where one program is both, introduce it in two deployments,
// of which the first reads and does not write, as the last codec given is the one that
// writes:
//
//	jobs.NewRegistry(jobs.WithCodec(codec), jobs.WithCodec(jobs.JSON)) // 1.
//	jobs.NewRegistry(jobs.WithCodec(codec))                            // 2.
//
// Jobs that wait since before are read as what they are, as each job names its codec.
//
// # Changing the key
//
// New data is encrypted with the current key, whose name goes with it; the older ones
// only read. So a key is changed in three deployments, none of which stops anything:
//
//	encrypt.New(jobs.JSON, old, next) // 1. all can read the next one
//	encrypt.New(jobs.JSON, next, old) // 2. all write it
//	encrypt.New(jobs.JSON, next)      // 3. when no job of the old one is left
//
// A job whose key a worker lacks ends dead, with an error that names the key. Once the
// worker has it, [jobs.Client.Retry] brings the job back.
//
// # What it does
//
// XAES-256-GCM, which is AES-256-GCM with a key of its own for each message, derived from
// the secret and 192 random bits: however many jobs there are, no secret wears out. The
// name of the codec and of the key, the kind of the job and the part (payload, result or
// progress) are authenticated, so that data which was changed or put into a job of another
// kind is noticed.
//
// Where people look, jobs print and log without any of this data, encrypted or not; the
// JSON of a job has it as it is stored. Who may read it decodes it by a client whose
// registry has the codec: jobs.ArgsOf, jobs.ResultOf and jobs.ProgressOf.
//
// It hides the args and what the handler leaves, not their size, and not kind, queue, id,
// tags, headers and the text of a handler's error. It does not prove who enqueued a job:
// whoever can write to the store can add a job in plain JSON, or repeat one that he saw.
//
// To compress as well, compress inside: what is encrypted does not become smaller.
//
//	codec, err := compress.New(jobs.JSON, compress.Config{})
//	codec, err = encrypt.New(codec, current)
//
// The size of what is compressed tells something of its content. Where an attacker can
// choose a part of the args and see how long the payload is, do not compress.
package encrypt
