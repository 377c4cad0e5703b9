package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
)

// monitor counts the commands that clients send to a server, by its command
// MONITOR, which tells them from those that scripts call. It slows a busy server
// down and is for an idle one.
type monitor struct {
	conn     net.Conn
	commands atomic.Int64
	ended    chan struct{}
}

func startMonitor(addr string) (*monitor, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewReader(conn)
	_, err = fmt.Fprint(conn, "MONITOR\r\n")
	if err == nil {
		var answer string
		answer, err = lines.ReadString('\n')
		if err == nil && !strings.HasPrefix(answer, "+OK") {
			err = errors.New(answer)
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("MONITOR: %w", err)
	}
	m := &monitor{conn: conn, ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if _, from, ok := strings.Cut(line, "["); ok && !strings.HasPrefix(from, "0 lua]") {
				m.commands.Add(1)
			}
		}
	}()
	return m, nil
}

// stop answers how many there were.
func (m *monitor) stop() int64 {
	_ = m.conn.Close()
	<-m.ended
	return m.commands.Load()
}
