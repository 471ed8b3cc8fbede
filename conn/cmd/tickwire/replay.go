package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// runReplay is a WebSocket server that sends a recording. Each client gets the next
// connection of it.
func runReplay(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("replay")
	addr := flags.String("addr", "127.0.0.1:8080", "host:port to listen on; port 0 means any")
	secure := flags.Bool("tls", false, "over TLS, with a self-made certificate; its root is printed after the URL")
	speed := flags.Float64("speed", 1, "this many times as fast as recorded; 0 means as fast as it can be read")
	loop := flags.Bool("loop", false, "begin again with the first connection when all have been sent")
	arguments, err := parse(flags, std, args, 1)
	if err != nil {
		return err
	}
	if *speed < 0 {
		return cli.BadUsage("-speed %v: want 0 or more", *speed)
	}
	r := &replay{path: arguments[0], speed: *speed, loop: *loop, std: std}
	if err := r.scan(); err != nil {
		return &cli.UsageError{Err: err}
	}
	l, err := listen(std, *addr, *secure, "/", false)
	if err != nil {
		return err
	}
	return r.serve(ctx, l)
}

// A replay serves a recording.
type replay struct {
	path  string
	speed float64
	loop  bool
	std   *streams

	about []string // for each connection, the lines of its begin record
	mu    sync.Mutex
	next  int

	begun, playing, sent atomic.Int64 // connections begun, connections in progress, bytes sent
}

// scan reads the recording once, so that damage is found before a client is served. A
// truncated recording is served up to its end.
func (r *replay) scan() error {
	err := r.each(func(rec conn.Record) error {
		if rec.Kind == conn.RecordBegin {
			if !strings.HasPrefix(string(rec.Data), "Role: client\n") {
				return fmt.Errorf("%s: connection %d was recorded by a server; only what clients received can be sent", r.path, rec.Connection)
			}
			r.about = append(r.about, string(rec.Data))
		}
		return nil
	})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		fmt.Fprintf(r.std.err, "%s; what is before is sent\n", cli.OneLine(err))
		return nil
	}
	return err
}

// each calls f for each record until f returns an error.
func (r *replay) each(f func(conn.Record) error) error {
	file, err := os.Open(r.path)
	if err != nil {
		return err
	}
	defer file.Close()
	recording, err := conn.ReadRecording(file)
	if err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	for {
		rec, err := recording.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
		if err := f(rec); err != nil {
			return err
		}
	}
}

// serve accepts clients until the context ends, or until all connections of the recording
// have been sent.
func (r *replay) serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var clients sync.WaitGroup
	defer clients.Wait()
	start := time.Now()
	shown := startProgress(cli.NewDisplay(r.std.err), func() string {
		return fmt.Sprintf("connection %d of %d, %d clients, %d bytes sent in %v", r.begun.Load(), len(r.about), r.playing.Load(), r.sent.Load(),
			time.Since(start).Round(time.Second))
	})
	defer shown.end()
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		r.mu.Lock()
		number := r.next
		r.next++
		r.mu.Unlock()
		if r.loop && len(r.about) > 0 {
			number %= len(r.about)
		}
		clients.Go(func() {
			defer nc.Close()
			stop := context.AfterFunc(ctx, func() { nc.Close() })
			defer stop()
			r.begun.Add(1)
			r.playing.Add(1)
			defer r.playing.Add(-1)
			if err := r.play(ctx, nc, number); err != nil && ctx.Err() == nil {
				fmt.Fprintf(shown, "%s: %s\n", nc.RemoteAddr(), cli.OneLine(err))
			}
		})
	}
}

// play sends connection number of the recording to one client.
func (r *replay) play(ctx context.Context, nc net.Conn, number int) error {
	p := &player{nc: nc, reader: frame.NewReader(nc, frame.Server, frame.Options{Compression: true})}
	nc.SetDeadline(time.Now().Add(conn.DefaultHandshakeTimeout))
	if err := r.upgrade(p, number); err != nil {
		return err
	}
	nc.SetDeadline(time.Time{})
	ctx, cancel := context.WithCancel(ctx)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		defer cancel() // there is no client to play to
		p.answer()
	}()
	err := p.play(ctx, r, uint32(number+1))
	if err != nil {
		nc.Close()
	} else {
		nc.SetReadDeadline(time.Now().Add(conn.DefaultCloseTimeout))
	}
	<-answered
	if p.left {
		return nil
	}
	return err
}

// upgrade does the opening handshake with the parameters of the recorded connection.
func (r *replay) upgrade(p *player, number int) error {
	var req handshake.RequestView
	var in []byte
	for {
		b := make([]byte, 4096)
		n, err := p.nc.Read(b)
		if err != nil {
			return err
		}
		in = append(in, b[:n]...)
		head, err := handshake.ParseRequest(&req, in)
		if err == nil && head == 0 {
			continue
		}
		var refusal *handshake.Error
		if err == nil {
			if refusal = r.refuse(&req, number); refusal == nil {
				p.take(in[head:])
				return p.agree(&req, r.about[number])
			}
		} else if !errors.As(err, &refusal) {
			return err
		}
		p.nc.Write(handshake.AppendError(nil, refusal))
		return refusal
	}
}

// refuse returns why a client cannot get connection number, or nil if it can.
func (r *replay) refuse(req *handshake.RequestView, number int) *handshake.Error {
	if number >= len(r.about) {
		return &handshake.Error{Status: 503, Rule: "the recording has no more connections"}
	}
	if protocol := line(r.about[number], "Sec-WebSocket-Protocol"); protocol != "" && !req.Offered(protocol) {
		return &handshake.Error{Status: 400, Rule: "the recording was made with the subprotocol " + protocol}
	}
	if line(r.about[number], "Sec-WebSocket-Extensions") == "" {
		return nil
	}
	for _, x := range req.Extensions(nil) {
		if x.Name == "permessage-deflate" {
			return nil
		}
	}
	return &handshake.Error{Status: 400, Rule: "the recording is compressed: offer permessage-deflate"}
}

// line returns the value of a header line in a begin record.
func line(about, name string) string {
	for l := range strings.Lines(about) {
		if value, ok := strings.CutPrefix(l, name+": "); ok {
			return strings.TrimSuffix(value, "\n")
		}
	}
	return ""
}

// A player is one client of a replay.
type player struct {
	nc     net.Conn
	reader *frame.Reader
	left   bool // the client closed; set before answer returns

	mu      sync.Mutex // held while whole frames are written
	pending []byte     // a partial frame
}

// take gives the reader the bytes that arrived with the handshake.
func (p *player) take(early []byte) {
	for len(early) > 0 {
		n := copy(p.reader.Space(), early)
		p.reader.Filled(n)
		early = early[n:]
	}
}

func (p *player) agree(req *handshake.RequestView, about string) error {
	answer := handshake.Response{Subprotocol: line(about, "Sec-WebSocket-Protocol")}
	if list := line(about, "Sec-WebSocket-Extensions"); list != "" {
		var err error
		if answer.Extensions, err = handshake.ParseExtensions(nil, list); err != nil {
			return err
		}
	}
	b, err := handshake.AppendResponse(nil, req.Key(), &answer)
	if err != nil {
		return err
	}
	_, err = p.nc.Write(b)
	return err
}

// answer reads what the client sends until it closes. It drops messages and answers
// pings.
func (p *player) answer() {
	for {
		m, err := p.reader.Next()
		if err != nil {
			return
		}
		switch m.Opcode {
		case frame.Ping:
			p.write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Pong}, m.Data))
		case frame.Close:
			p.left = true
			p.write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Close}, m.Data))
			p.nc.Close()
			return
		}
	}
}

func (p *player) write(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.nc.Write(b)
	return err
}

// play sends the bytes of one recorded connection, each at its time.
func (p *player) play(ctx context.Context, r *replay, number uint32) error {
	var first time.Time
	start := time.Now()
	var cut, ended, closed bool
	err := r.each(func(rec conn.Record) error {
		if rec.Connection != number {
			return nil
		}
		switch rec.Kind {
		case conn.RecordBegin:
			first = rec.Time
		case conn.RecordGap:
			cut = true
		case conn.RecordEnd:
			ended = true
		case conn.RecordData:
			if r.speed > 0 {
				at := start.Add(time.Duration(float64(rec.Time.Sub(first)) / r.speed))
				select {
				case <-time.After(time.Until(at)):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			var err error
			closed, err = p.send(rec.Data)
			r.sent.Add(int64(len(rec.Data)))
			return err
		}
		return nil
	})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		if !ended && !cut {
			return errors.New("the recording is cut here: the connection is dropped")
		}
		err = nil
	}
	switch {
	case err != nil:
		return err
	case cut:
		return errors.New("the recording has a gap here: the connection is dropped")
	case len(p.pending) > 0:
		return errors.New("the recorded connection ended within a frame: so does this one")
	case !closed:
		body, _ := frame.AppendClose(nil, frame.Server, frame.CodeNormal, "end of the recording")
		return p.write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Close}, body))
	}
	return nil
}

// send writes the whole frames of pending and b, and keeps the rest. closed reports that
// the last one was a Close frame.
func (p *player) send(b []byte) (closed bool, err error) {
	p.pending = append(p.pending, b...)
	whole := 0
	for {
		h, n := frame.ParseHeader(p.pending[whole:])
		if n == 0 || h.Length > uint64(len(p.pending)-whole-n) {
			break
		}
		whole += n + int(h.Length)
		closed = h.Opcode == frame.Close
	}
	err = p.write(p.pending[:whole])
	p.pending = append(p.pending[:0], p.pending[whole:]...)
	return closed, err
}
