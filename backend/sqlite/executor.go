package sqlite

import (
	"context"
	"database/sql"
	"errors"
)

// executor runs statements: on the connection of the writer, within a transaction of
// readers, or within one of the application.
type executor interface {
	exec(query string, args ...any) (changed int64, err error)
	query(query string, args ...any) (*sql.Rows, error)
}

// connection is one connection with its prepared statements. It is used by one
// goroutine at a time.
//
// Its calls have no ctx: a statement is short, and a ctx that can end costs a
// goroutine for each.
type connection struct {
	inner      *sql.Conn
	statements map[string]*sql.Stmt
}

func newConnection(inner *sql.Conn) *connection {
	return &connection{inner: inner, statements: make(map[string]*sql.Stmt)}
}

func (c *connection) prepared(query string) (*sql.Stmt, error) {
	s := c.statements[query]
	if s == nil {
		var err error
		if s, err = c.inner.PrepareContext(context.Background(), query); err != nil {
			return nil, err
		}
		c.statements[query] = s
	}
	return s, nil
}

func (c *connection) exec(query string, args ...any) (int64, error) {
	s, err := c.prepared(query)
	if err != nil {
		return 0, err
	}
	return changed(s.ExecContext(context.Background(), args...))
}

func (c *connection) query(query string, args ...any) (*sql.Rows, error) {
	s, err := c.prepared(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.Background(), args...)
}

// pragma runs a PRAGMA, whose answer is of no interest.
func (c *connection) pragma(text string) error {
	rows, err := c.inner.QueryContext(context.Background(), "PRAGMA "+text)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

// plain runs a statement that is not prepared.
func (c *connection) plain(text string) error {
	_, err := c.inner.ExecContext(context.Background(), text)
	return err
}

func (c *connection) close() {
	for _, s := range c.statements {
		_ = s.Close()
	}
	_ = c.inner.Close()
}

// transaction runs statements within a transaction of database/sql.
type transaction struct {
	ctx context.Context
	tx  *sql.Tx
}

func (t transaction) exec(query string, args ...any) (int64, error) {
	return changed(t.tx.ExecContext(t.ctx, query, args...))
}

func (t transaction) query(query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(t.ctx, query, args...)
}

func changed(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// each calls scan for each row of a query.
func each(x executor, query string, args []any, scan func(rows *sql.Rows) error) error {
	rows, err := x.query(query, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := scan(rows); err != nil {
			_ = rows.Close()
			return err
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// one scans the first row of a query and reports whether there was any.
func one(x executor, query string, args []any, into ...any) (found bool, err error) {
	err = each(x, query, args, func(rows *sql.Rows) error {
		if found {
			return nil
		}
		found = true
		return rows.Scan(into...)
	})
	return found, err
}

// namesOf returns the only column of a query.
func namesOf(x executor, query string, args ...any) (all []string, err error) {
	err = each(x, query, args, func(rows *sql.Rows) error {
		var s string
		err := rows.Scan(&s)
		all = append(all, s)
		return err
	})
	return all, err
}
