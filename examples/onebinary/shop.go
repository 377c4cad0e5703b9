package main

import (
	"context"
	"database/sql"
	"embed"
	"html/template"
	"log/slog"
	"net/http"

	"github.com/caddis-go/caddis/jobs"
)

// Confirm is a job: an order is to be confirmed.
type Confirm struct {
	Order int64 `json:"order"`
}

// Kind makes Confirm the args of jobs.
func (Confirm) Kind() string { return "confirm" }

// order stores an order and the job that confirms it: both, or neither.
func (s *shop) order(ctx context.Context, customer string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	stored, err := tx.ExecContext(ctx, `INSERT INTO orders (customer) VALUES (?)`, customer)
	if err != nil {
		return err
	}
	id, err := stored.LastInsertId()
	if err != nil {
		return err
	}
	if _, err := s.client.EnqueueTx(ctx, tx, Confirm{Order: id}); err != nil {
		return err
	}
	return tx.Commit()
}

// confirm notes the confirmation and completes the job: both, or neither.
func (s *shop) confirm(ctx context.Context, job *jobs.Job[Confirm]) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(ctx, `UPDATE orders SET confirmed_at = datetime('now') WHERE id = ?`, job.Args.Order)
	if err != nil {
		return err
	}
	if err := job.CompleteTx(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// entry is an order as the page shows it.
type entry struct {
	ID        int64
	Customer  string
	Confirmed sql.NullString
}

func (s *shop) orders(ctx context.Context) (all []entry, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, customer, confirmed_at FROM orders ORDER BY id DESC LIMIT 50`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.ID, &e.Customer, &e.Confirmed); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

//go:embed page.html
var files embed.FS

var page = template.Must(template.ParseFS(files, "page.html"))

func (s *shop) routes() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		orders, err := s.orders(r.Context())
		if err == nil {
			err = page.Execute(w, orders)
		}
		if err != nil {
			refuse(w, "the orders cannot be shown", err)
		}
	})
	routes.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 10_000)
		if err := s.order(r.Context(), r.FormValue("customer")); err != nil {
			refuse(w, "the order was not taken", err)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	return routes
}

func refuse(w http.ResponseWriter, what string, err error) {
	slog.Error(what, "error", err)
	http.Error(w, what, http.StatusInternalServerError)
}
