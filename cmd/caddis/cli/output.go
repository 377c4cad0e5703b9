package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// format is how what was found is printed.
type format string

const (
	asTable format = "table"
	asJSON  format = "json"
	asLines format = "jsonl"
)

var formats = []string{string(asTable), string(asJSON), string(asLines)}

func (f *format) String() string {
	if *f == "" {
		return string(asTable)
	}
	return string(*f)
}

func (f *format) Type() string { return "format" }

func (f *format) Set(name string) error {
	for _, known := range formats {
		if name == known {
			*f = format(name)
			return nil
		}
	}
	return fmt.Errorf("there is no such format; %s", instead(name, formats))
}

// listing is a list that a command found: cells for people, values for programs.
type listing struct {
	// key names the list in JSON, and what it is a list of when it is empty.
	key string
	// columns are the heads of the cells; those of numbers begin with a #.
	columns []string
	rows    [][]string
	values  []any
	// next is where a list that was cut goes on.
	next string
}

func (l *listing) add(value any, cells ...string) {
	l.rows = append(l.rows, cells)
	l.values = append(l.values, value)
}

// partly writes what was done before an error, if anything was.
func (t *tool) partly(l *listing, err error) error {
	if len(l.rows) == 0 {
		return err
	}
	return errors.Join(t.print(l), err)
}

// print writes a list.
func (t *tool) print(l *listing) error {
	switch t.output {
	case asLines:
		return t.printLines(l.values)
	case asJSON:
		values := l.values
		if values == nil {
			values = []any{}
		}
		whole := map[string]any{l.key: values}
		if l.next != "" {
			whole["next"] = l.next
		}
		return t.printJSON(whole, "  ")
	}
	if len(l.rows) == 0 {
		t.say("no %s", l.key)
		return nil
	}
	_, err := io.WriteString(t.stdout, t.paint().table(l))
	return err
}

// printLines writes one value per line.
func (t *tool) printLines(values []any) error {
	for _, value := range values {
		if err := t.printJSON(value, ""); err != nil {
			return err
		}
	}
	return nil
}

// printJSON writes a value, and a line break.
func (t *tool) printJSON(value any, indent string) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	_, err := t.stdout.Write(harmless(b.Bytes()))
	return err
}

// field is a line about one thing.
type field struct{ name, text string }

// printFields writes what is known of one thing: fields that have a text for people,
// value for programs.
func (t *tool) printFields(fields []field, value any) error {
	switch t.output {
	case asLines:
		return t.printJSON(value, "")
	case asJSON:
		return t.printJSON(value, "  ")
	}
	width := 0
	for _, f := range fields {
		if f.text != "" {
			width = max(width, len(f.name))
		}
	}
	paint := t.paint()
	for _, f := range fields {
		if f.text == "" {
			continue
		}
		lines := strings.ReplaceAll(cleanLines(f.text), "\n", "\n"+strings.Repeat(" ", width+2))
		if f.name == "state" {
			lines = paint.state(lines)
		}
		if _, err := fmt.Fprintf(t.stdout, "%s%s\n", paint.faint(fmt.Sprintf("%-*s  ", width, f.name)), lines); err != nil {
			return err
		}
	}
	return nil
}

// table draws a list without lines, its columns two spaces apart.
func (p paint) table(l *listing) string {
	w := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	w.SetStyle(style)
	w.SuppressTrailingSpaces()
	header, numbers := table.Row{}, []table.ColumnConfig{}
	for i, name := range l.columns {
		name, number := strings.CutPrefix(name, "#")
		header = append(header, name)
		if number {
			numbers = append(numbers, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	w.SetColumnConfigs(numbers)
	w.AppendHeader(header)
	for _, cells := range l.rows {
		row := table.Row{}
		for i, cell := range cells {
			cell = clean(cell)
			if l.columns[i] == "state" || l.columns[i] == "level" || l.columns[i] == "event" {
				cell = p.state(cell)
			}
			row = append(row, cell)
		}
		w.AppendRow(row)
	}
	return w.Render() + "\n"
}
