package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

func (t *tool) jobCopyCommand() *cobra.Command {
	var queue queueName
	c := &cobra.Command{
		Use:   "copy ID",
		Short: "Enqueue a job once more, as a new one that is due now",
		Long: `Enqueue a job once more, whatever its state, as a new one that is due now: with another id,
and with the args and options of the first. A unique key is not taken over.`,
		Args: oneID,
		RunE: t.withJob(&queue, func(ctx context.Context, s *session, job jobs.JobInfo) error {
			receipt, err := s.client.Copy(ctx, job.Queue, job.ID)
			if err != nil {
				return rejectedUse(err)
			}
			return t.printReceipt(receipt)
		}),
	}
	queueFlag(c, &queue)
	return c
}

func (t *tool) jobEditCommand() *cobra.Command {
	var queue queueName
	c := &cobra.Command{
		Use:   "edit ID JSON",
		Short: "Let a dead or cancelled job run again with other args",
		Long: `Let a dead or cancelled job run again with other args: as a new job of another id, with the
options of the first. That is deleted when the new one is accepted, and not before. JSON are
the args; - reads them from the standard input. A program that knows the kind checks them
against their type.`,
		Example: strings.ReplaceAll(`  {} job show ID --payload -o json
  {} job edit ID '{"user_id": 42}'`, "{}", t.name),
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return wrongUse("%s needs the id of a job and one JSON value in quotes, and got %d arguments", c.CommandPath(), len(args))
			}
			return nil
		},
		RunE: t.with(func(ctx context.Context, s *session, args []string) error {
			data, err := t.readArgs(args[1:])
			if err != nil {
				return err
			}
			job, err := s.find(ctx, string(queue), args[0])
			if err != nil {
				return err
			}
			receipt, err := operate.EditAndRetry(ctx, s.client, job.Queue, job.ID, data)
			if fault := operate.PayloadFault(err); fault != "" {
				return wrongUse("the args do not fit the kind %q: %s", job.Kind, fault)
			}
			switch {
			case err != nil && receipt.ID != "": // both are there
				return errors.Join(t.printReceipt(receipt), err)
			case err != nil:
				return rejectedUse(err)
			}
			t.say("the job %q was deleted", job.ID)
			return t.printReceipt(receipt)
		}),
	}
	queueFlag(c, &queue)
	return c
}

func (t *tool) printReceipt(receipt jobs.Receipt) error {
	l := &listing{key: "receipts", columns: []string{"queue", "id", "state"}}
	l.add(receipt, receipt.Queue, receipt.ID, string(receipt.State))
	return t.print(l)
}
