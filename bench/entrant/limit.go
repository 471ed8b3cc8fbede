package entrant

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"unicode/utf8"
	"unsafe"

	tickutf8 "github.com/seed-7f57ff33/tickwire/utf8"

	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// reading is what a limit does with the bytes.
type reading int

const (
	discarding reading = iota // read 64 KiB and discard it
	copying                   // io.Copy to io.Discard
	parsing                   // parse the lengths, take each payload
)

// limit is a program without a protocol, as short as possible.
type limit struct {
	name, calls string
	reading     reading
	raw         bool // reads by RawSyscall
	own         bool // checks UTF-8 with tickwire's kernel instead of unicode/utf8
	buffered    bool // TLS reads the socket through a 64 KiB buffer
}

// The names of the limits, for scenarios that choose some of them.
const (
	LimitDiscard     = "limit: read 64 KiB, discard"
	LimitCopy        = "limit: io.Copy to io.Discard"
	LimitBuffered    = "limit: crypto/tls over a 64 KiB reader"
	LimitRecords     = "limit: bare TCP read of the records"
	LimitReadOpen    = "limit: bare TCP read of the records and AEAD.Open"
	LimitOpen        = "limit: AEAD.Open alone"
	LimitParse       = "limit: parse lengths, unicode/utf8"
	LimitParseRaw    = "limit: parse lengths, unicode/utf8, raw reads"
	LimitParseKernel = "limit: parse lengths, own UTF-8 kernel"
	LimitAccept      = "limit: accept, one goroutine"
	LimitHijack      = "limit: net/http and Hijack"
)

// Limits returns the limits.
func Limits() []Entrant {
	limits := []Entrant{
		limit{name: LimitDiscard, calls: "Read into 64 KiB, nothing else", reading: discarding},
		limit{name: LimitCopy, calls: "io.Copy(io.Discard, conn)", reading: copying},
		limit{name: LimitBuffered, calls: "Read of a tls.Conn whose socket is read through a 64 KiB bufio.Reader, nothing else", reading: discarding, buffered: true},
		limit{name: LimitParse, calls: "Read into 64 KiB; no rule but the length; unmasking 32 bytes at a time; header and copy in one write", reading: parsing},
		limit{name: LimitParseRaw, calls: "the same with RawSyscall within RawConn.Read", reading: parsing, raw: true},
		limit{name: LimitParseKernel, calls: "the same with tickwire/utf8 for unicode/utf8", reading: parsing, own: true},
		acceptor{},
		hijacker{},
	}
	return append(limits, recordLimits()...)
}

// acceptor is a server that does nothing with a connection. It shows the cost of a
// server's handshake outside the library.
type acceptor struct{}

func (acceptor) Info() Info {
	return Info{Name: LimitAccept, Calls: "Accept, a goroutine and an adapter, nothing else", Limit: true, Raw: true, In: []string{"handshake"}}
}

func (acceptor) Dial(Options) (Conn, error) { return nil, errUnsupported }

func (acceptor) Serve(l net.Listener, _ Options, serve func(Conn)) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			serve(&limitedConn{nc: nc})
			nc.Close()
		}()
	}
}

// hijacker takes connections over from net/http and does nothing with them. It shows the
// cost outside a library that uses net/http.
type hijacker struct{}

func (hijacker) Info() Info {
	return Info{Name: LimitHijack, Calls: "Hijack, a goroutine and an adapter, nothing else", Limit: true, In: []string{"handshake"}}
}

func (hijacker) Dial(Options) (Conn, error) { return nil, errUnsupported }

func (hijacker) Serve(l net.Listener, _ Options, serve func(Conn)) error {
	return serveHTTP(l, func(w http.ResponseWriter, _ *http.Request) {
		nc, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		go func() {
			defer nc.Close()
			serve(&limitedConn{nc: nc})
		}()
	})
}

// limitedConn is the object that every adapter makes for a connection.
type limitedConn struct {
	Conn
	nc net.Conn
}

func (l limit) Info() Info {
	check := ""
	if l.reading == parsing {
		check = "unicode/utf8"
	}
	if l.own {
		check = "tickwire/utf8"
	}
	return Info{Name: l.name, Calls: l.calls, Check: check, Limit: true, Raw: true}
}

func (l limit) Dial(o Options) (Conn, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	nc, err := o.netDial(u.Host)
	if err != nil {
		return nil, err
	}
	if o.TLS != nil {
		if l.buffered {
			nc = &bufferedConn{Conn: nc, br: bufio.NewReaderSize(nc, ReadBuffer)}
		}
		nc = tls.Client(nc, o.TLS)
	}
	if err := wire.Open(nc); err != nil {
		return nil, err
	}
	return l.conn(nc, o, false)
}

func (l limit) Serve(ln net.Listener, o Options, serve func(Conn)) error {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			if wire.Answer(nc, false) != nil {
				return
			}
			if c, err := l.conn(nc, o, true); err == nil {
				serve(c)
			}
		}()
	}
}

func (l limit) conn(nc net.Conn, o Options, server bool) (Conn, error) {
	c := &limitConn{limit: l, nc: nc, server: server, check: o.CheckUTF8, wireLen: o.WireLen, buf: make([]byte, ReadBuffer)}
	if l.raw {
		sc, ok := nc.(syscall.Conn)
		if !ok {
			return nil, errUnsupported
		}
		var err error
		if c.rawConn, err = sc.SyscallConn(); err != nil {
			return nil, err
		}
		c.rawRead = func(fd uintptr) bool {
			c.rawN, c.rawErr = rawRead(fd, c.buf[c.end:])
			return c.rawErr != syscall.EAGAIN
		}
	}
	return c, nil
}

// bufferedConn reads its socket through a buffer.
type bufferedConn struct {
	net.Conn
	br *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.br.Read(p) }

type limitConn struct {
	limit
	nc       net.Conn
	server   bool
	check    bool
	wireLen  func(n int) int
	buf      []byte
	pos, end int
	received int
	taken    int // bytes of the stream, if messages are not parsed
	out      []byte
	next     int
	key      uint32

	rawConn syscall.RawConn
	rawRead func(fd uintptr) bool
	rawN    int
	rawErr  error
}

func (c *limitConn) Receive(n int, t *Tally) error {
	switch c.reading {
	case parsing:
		return c.parse(n, t)
	case copying:
		return c.copy(n, t)
	}
	return c.discard(n, t)
}

// goal returns how many bytes n more messages have.
func (c *limitConn) goal(n int) int {
	c.received += n
	return c.wireLen(c.received) - c.taken
}

func (c *limitConn) discard(n int, t *Tally) error {
	goal := c.goal(n)
	for goal > 0 {
		m, err := c.nc.Read(c.buf[:min(len(c.buf), goal)])
		if err != nil {
			return err
		}
		goal -= m
		c.taken += m
	}
	t.Messages += n
	return nil
}

func (c *limitConn) copy(n int, t *Tally) error {
	m, err := io.CopyN(io.Discard, c.nc, int64(c.goal(n)))
	c.taken += int(m)
	t.Messages += n
	return err
}

// parse reads the frames in the buffer. It does not support a frame longer than the
// buffer, a control frame or a fragment.
func (c *limitConn) parse(n int, t *Tally) error {
	for n > 0 {
		b := c.buf[:c.end]
		for n > 0 && len(b)-c.pos >= 8 {
			size, head := int(b[c.pos+1]&0x7F), 2
			if size == 126 {
				size, head = int(binary.BigEndian.Uint16(b[c.pos+2:])), 4
			}
			if c.server {
				head += 4
			}
			end := c.pos + head + size
			if end > len(b) {
				break
			}
			p := b[c.pos+head : end]
			if c.server {
				xor(p, p, binary.LittleEndian.Uint32(b[c.pos+head-4:]))
			}
			if c.check && !c.valid(p) {
				return ErrUTF8
			}
			t.Take(p)
			c.pos = end
			n--
		}
		if n == 0 {
			return nil
		}
		c.end = copy(c.buf, b[c.pos:])
		c.pos = 0
		m, err := c.read()
		if err != nil {
			return err
		}
		c.end += m
	}
	return nil
}

func (c *limitConn) valid(p []byte) bool {
	if c.own {
		return tickutf8.Valid(p)
	}
	return utf8.Valid(p)
}

func (c *limitConn) read() (int, error) {
	if !c.raw {
		return c.nc.Read(c.buf[c.end:])
	}
	if err := c.rawConn.Read(c.rawRead); err != nil {
		return 0, err
	}
	switch {
	case c.rawErr != nil:
		return 0, c.rawErr
	case c.rawN == 0:
		return 0, io.EOF
	}
	return c.rawN, nil
}

func rawRead(fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Send encodes each message into one buffer and writes that.
func (c *limitConn) Send(n int, messages [][]byte) error {
	for range n {
		m := messages[c.next]
		if c.next++; c.next == len(messages) {
			c.next = 0
		}
		if err := c.write(m); err != nil {
			return err
		}
	}
	return nil
}

func (c *limitConn) write(m []byte) error {
	if need := len(m) + 8; cap(c.out) < need {
		c.out = make([]byte, 0, 2*need)
	}
	mask := byte(0x80)
	if c.server {
		mask = 0
	}
	out := append(c.out[:0], 0x81, mask|byte(len(m)))
	if len(m) > 125 {
		out = append(c.out[:0], 0x81, mask|126, byte(len(m)>>8), byte(len(m)))
	}
	if c.server {
		out = append(out, m...)
	} else {
		c.key = c.key*1664525 + 1013904223
		out = binary.LittleEndian.AppendUint32(out, c.key)
		n := len(out)
		out = out[:n+len(m)]
		xor(out[n:], m, c.key)
	}
	_, err := c.nc.Write(out)
	return err
}

func (c *limitConn) Echo() error {
	var t Tally
	for {
		if err := c.parse(1, &t); err != nil {
			return err
		}
		// The message just parsed ends at pos. The tally has counted its length.
		m := c.buf[c.pos-t.Bytes : c.pos]
		t = Tally{}
		if err := c.write(m); err != nil {
			return err
		}
	}
}

func (c *limitConn) Close() error { return c.nc.Close() }

// xor masks src into dst, 32 bytes at a time, then 8, then 1.
func xor(dst, src []byte, key uint32) {
	wide := uint64(key)<<32 | uint64(key)
	for len(src) >= 32 && len(dst) >= 32 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src)^wide)
		binary.LittleEndian.PutUint64(dst[8:], binary.LittleEndian.Uint64(src[8:])^wide)
		binary.LittleEndian.PutUint64(dst[16:], binary.LittleEndian.Uint64(src[16:])^wide)
		binary.LittleEndian.PutUint64(dst[24:], binary.LittleEndian.Uint64(src[24:])^wide)
		dst, src = dst[32:], src[32:]
	}
	for len(src) >= 8 && len(dst) >= 8 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src)^wide)
		dst, src = dst[8:], src[8:]
	}
	for i := range min(len(src), len(dst)) {
		dst[i] = src[i] ^ byte(wide)
		wide >>= 8
	}
}
