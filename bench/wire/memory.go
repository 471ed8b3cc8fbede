// Package wire has what surrounds the entrants: connections within the process, a
// handshake, and the processes at the other end of a socket. It uses no WebSocket
// library.
package wire

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Memory is a net.Conn whose peer plays the handshake and then sends an endless stream,
// as fast as it is read. What is written after the handshake is counted and discarded.
type Memory struct {
	stream  []byte
	pos     int
	flowing atomic.Bool // the handshake is over
	closed  atomic.Bool

	mu       sync.Mutex
	wake     *sync.Cond
	pending  []byte // of the peer's part of the handshake
	heard    []byte // of the entrant's part
	server   bool   // the peer is the server
	deadline time.Time

	// Reads, Writes and Written count calls and bytes after the handshake.
	Reads, Writes, Written int
}

// NewMemory returns a connection to a peer that sends stream. The peer is the server of
// the handshake or its client.
func NewMemory(stream []byte, peerIsServer bool) *Memory {
	m := &Memory{stream: stream, server: peerIsServer}
	m.wake = sync.NewCond(&m.mu)
	if !peerIsServer {
		m.pending = AppendRequest(nil, "localhost", "/", "")
	}
	return m
}

// Read returns the next bytes of the stream.
func (m *Memory) Read(p []byte) (int, error) {
	if !m.flowing.Load() {
		if n, err := m.readHandshake(p); n > 0 || err != nil {
			return n, err
		}
	}
	if m.closed.Load() {
		return 0, io.EOF
	}
	m.Reads++
	n := copy(p, m.stream[m.pos:])
	if m.pos += n; m.pos == len(m.stream) {
		m.pos = 0
	}
	return n, nil
}

func (m *Memory) readHandshake(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		switch {
		case m.closed.Load():
			return 0, io.EOF
		case !m.deadline.IsZero() && m.deadline.Before(time.Now()):
			return 0, os.ErrDeadlineExceeded
		case len(m.pending) > 0:
			n := copy(p, m.pending)
			m.pending = m.pending[n:]
			if m.server && len(m.pending) == 0 {
				m.flowing.Store(true)
			}
			return n, nil
		case m.flowing.Load():
			return 0, nil
		}
		m.wake.Wait()
	}
}

// Write takes all of p.
func (m *Memory) Write(p []byte) (int, error) {
	if m.flowing.Load() {
		m.Writes++
		m.Written += len(p)
		return len(p), nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = append(m.heard, p...)
	if head, _, whole := bytes.Cut(m.heard, []byte("\r\n\r\n")); whole {
		if m.server {
			m.pending = AppendResponse(nil, RequestKey(head), "")
		} else {
			m.flowing.Store(true)
		}
		m.wake.Broadcast()
	}
	return len(p), nil
}

// Close ends the stream.
func (m *Memory) Close() error {
	m.closed.Store(true)
	m.mu.Lock()
	m.wake.Broadcast()
	m.mu.Unlock()
	return nil
}

// SetDeadline is SetReadDeadline: a write never waits.
func (m *Memory) SetDeadline(t time.Time) error { return m.SetReadDeadline(t) }

// SetReadDeadline ends a waiting read during the handshake, if t has passed. The stream
// never waits.
func (m *Memory) SetReadDeadline(t time.Time) error {
	if m.flowing.Load() {
		return nil
	}
	m.mu.Lock()
	m.deadline = t
	m.wake.Broadcast()
	m.mu.Unlock()
	return nil
}

// SetWriteDeadline does nothing: a write never waits.
func (m *Memory) SetWriteDeadline(time.Time) error { return nil }

// LocalAddr returns a loopback address.
func (m *Memory) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// RemoteAddr returns a loopback address.
func (m *Memory) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }

// Listener is a net.Listener that accepts the connections given to it.
type Listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewListener returns a Listener that accepts c and then waits.
func NewListener(c net.Conn) *Listener {
	l := &Listener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- c
	return l
}

// Accept returns the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns a loopback address.
func (l *Listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
