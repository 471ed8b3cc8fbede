package conn

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// compression is what permessage-deflate adds to a Conn (RFC 7692).
type compression struct {
	params    deflate.Params
	in        *deflate.Inflater // by whoever holds readBusy
	out       *deflate.Deflater // under lock
	threshold int
	bits      int // of the window that out may use
	level     int

	// What follows is the tick's alone.
	written   uint64 // messages
	writtenAt moment
	released  bool // by restCompressor since then
}

// Compression returns what was agreed about permessage-deflate. ok is false if the connection does not compress.
func (c *Conn) Compression() (p deflate.Params, ok bool) {
	if c.packed == nil {
		return deflate.Params{}, false
	}
	return c.packed.params, true
}

// offer returns the extensions that a client offers.
func (cfg *Config) offer() ([]handshake.Extension, error) {
	if cfg.Deflate == nil {
		return nil, nil
	}
	if err := cfg.Deflate.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", handshake.ErrValue, err)
	}
	return []handshake.Extension{cfg.Deflate.Offer()}, nil
}

// accepted returns the Config of a client's connection to a server with that answer. package handshake has seen to it that only
// offered extensions are in it.
func (cfg *Config) accepted(answer *handshake.Response) (*Config, error) {
	if cfg.Deflate == nil {
		return cfg, nil
	}
	p, agreed, err := cfg.Deflate.Accept(answer.Extensions)
	if err != nil {
		refused := &handshake.Error{Status: answer.Status, Rule: "the answer about " + deflate.Name + " cannot be agreed to", Section: "RFC 7692 §5.1",
			Name: "Sec-WebSocket-Extensions", Header: answer.Header}
		return nil, fmt.Errorf("%w: %w", refused, err)
	}
	if !agreed {
		return cfg, nil
	}
	return cfg.with(p), nil
}

func (cfg *Config) with(p deflate.Params) *Config {
	c := *cfg
	c.agreed = &p
	return &c
}

// chosen returns the Config of a server's connection to the client of a request, and the extensions to answer.
func (cfg *Config) chosen(r *handshake.RequestView) (*Config, []handshake.Extension, error) {
	if cfg.Deflate == nil {
		return cfg, nil, nil
	}
	if err := cfg.Deflate.Check(); err != nil {
		return nil, nil, err
	}
	p, answer, ok := cfg.Deflate.Choose(r.Extensions(nil))
	if !ok {
		return cfg, nil, nil
	}
	return cfg.with(p), []handshake.Extension{answer}, nil
}

// newCompression returns nil if nothing was agreed.
func newCompression(role frame.Role, cfg *Config) *compression {
	if cfg.agreed == nil {
		return nil
	}
	p := *cfg.agreed
	in := deflate.InflateOptions{WindowBits: p.ServerMaxWindowBits, NoContextTakeover: p.ServerNoContextTakeover,
		MaxMessage: cfg.Frame.MaxMessage, MaxRatio: cfg.Deflate.MaxRatio}
	out := deflate.DeflateOptions{WindowBits: p.ClientMaxWindowBits, NoContextTakeover: p.ClientNoContextTakeover,
		Level: cfg.Deflate.Level, History: cfg.Deflate.History}
	if role == frame.Server {
		in.WindowBits, out.WindowBits = out.WindowBits, in.WindowBits
		in.NoContextTakeover, out.NoContextTakeover = out.NoContextTakeover, in.NoContextTakeover
	}
	z := &compression{params: p, threshold: cfg.Deflate.Threshold, bits: out.WindowBits, level: out.Level}
	if z.threshold == 0 {
		z.threshold = deflate.DefaultThreshold
	}
	var err error
	if z.in, err = deflate.NewInflater(in); err == nil {
		z.out, err = deflate.NewDeflater(out)
	}
	if err != nil {
		panic(err) // Check has passed, and Accept and Choose agree to nothing else
	}
	return z
}

// releaseIdle returns deflate.Config.ReleaseIdle.
func (cfg *Config) releaseIdle() time.Duration {
	if cfg.Deflate == nil {
		return 0
	}
	return cfg.Deflate.ReleaseIdle
}

// restCompressor is called at each look of the clocks. Where nothing was written since the one before, a client that compresses
// gives its queue back, too; and the compressor's memory goes where that has been so for deflate.Config.ReleaseIdle.
func (c *Conn) restCompressor(now moment) {
	z, limit := c.packed, c.cfg.releaseIdle()
	if z == nil {
		return
	}
	if written := c.messagesWritten(); written != z.written {
		z.written, z.writtenAt, z.released = written, now, false
		return
	}
	release := limit > 0 && !z.released && now.since(z.writtenAt) >= limit
	if (release || c.role == frame.Client) && c.lock.tryLock() {
		if c.role == frame.Client {
			c.w.Release()
		}
		if release {
			z.released = true
			z.out.Release()
		}
		c.releaseWrite(true)
	}
}

// takes reports whether a message is to be compressed.
func (z *compression) takes(op Opcode, data []byte) bool {
	return len(data) >= z.threshold && (op == Text || op == Binary)
}

// inflated takes what is buffered of a compressed message and inflates it: nothing compressed is gathered, and what is wrong is met
// with the bytes that show it. It returns the message when it is whole, in the inflater's memory, or a control frame between.
func (c *Conn) inflated() (m Message, ok bool, err error) {
	r, in := &c.reading, c.packed.in
	for {
		p, ok, err := c.r.BufferedPiece()
		switch {
		case !ok || err != nil:
			return Message{}, false, err
		case p.Opcode.IsControl():
			return Message{Opcode: p.Opcode, Data: p.Data}, true, nil
		case !r.joining:
			r.joining = true
			err = in.Begin(c.checks(p.Opcode))
		}
		if err == nil {
			err = in.Push(p.Data, p.Last)
		}
		if err != nil {
			return Message{}, false, c.inflateError(err)
		}
		if p.Last {
			r.joining = false
			return Message{Opcode: p.Opcode, Data: in.Bytes()}, true, nil
		}
		r.op = p.Opcode
	}
}

// checks reports whether messages of this type are to be checked as UTF-8.
func (c *Conn) checks(op Opcode) bool { return op == Text && !c.cfg.Frame.SkipUTF8 }

// noSpace has fill read through the read buffer, and not into memory where a message is gathered.
var noSpace = make([]byte, 0)

// nextSpace returns where the next fill for whole messages may read to, past the read buffer. What inflating the message before has
// needed goes back: it may be long until the next.
func (c *Conn) nextSpace() []byte {
	if c.packed == nil {
		return nil
	}
	return c.packedSpace()
}

func (c *Conn) packedSpace() []byte {
	c.packed.in.Release()
	if c.r.Compressed() {
		return noSpace
	}
	return nil
}

// await is fill for who waits for a frame or the rest of a message, and gives back what inflating has needed, too.
func (c *Conn) await(dst []byte) error {
	if c.packed != nil {
		c.packed.in.Release()
	}
	return c.fill(dst)
}

// inflatedBatch is nextBatch where the next message is compressed.
func (c *Conn) inflatedBatch() (*Batch, error) {
	m, ok, err := c.inflated()
	switch {
	case err != nil:
		return nil, c.readFailed(err)
	case !ok:
		return nil, c.fill(c.nextSpace())
	case m.Opcode.IsControl():
		return nil, c.takeControl(m.Opcode, m.Data)
	}
	own := c.packed.in.Detach()
	if own == nil {
		own = buffer.Get(len(m.Data))
		m.Data = own.B[:copy(own.B, m.Data):len(m.Data)]
	}
	b := frame.NewBatch(m)
	b.Own(own)
	return b, nil
}

// inflateError says where the message stands that cannot be inflated: the frame in which that showed. It is the same however the
// bytes came.
func (c *Conn) inflateError(err error) error {
	var rule *frame.ProtocolError
	if errors.As(err, &rule) {
		h, at := c.r.FrameAt()
		broken := *rule
		broken.Offset, broken.Opcode, broken.Length = at, h.Opcode, h.Length
		switch { // the field of Config that the Inflater's was made from
		case errors.Is(rule, deflate.ErrTooLarge):
			broken.Field = "frame.Options.MaxMessage"
		case errors.Is(rule, deflate.ErrRatio):
			broken.Field = "deflate.Config.MaxRatio"
		}
		return &broken
	}
	return err
}

// inflateFailed ends the connection: the peer's context is lost with the message.
func (c *Conn) inflateFailed(err error) error { return c.readFailed(c.inflateError(err)) }

// passOver passes over the rest of a message that was begun in parts. If it is compressed it is inflated: later messages may refer to it.
// A passed deadline stops it; the next read call goes on.
func (c *Conn) passOver() error {
	r := &c.reading
	r.framed, r.passing = false, true
	for {
		if _, err := c.inflatePiece(); err != nil {
			return err
		}
		r.rest = nil
		if !r.open {
			r.begun, r.passing = false, false
			return nil
		}
		piece, err := r.next(nil)
		if err != nil {
			return err
		}
		if r.packed {
			if err := c.packed.in.Feed(piece.Data, piece.Last); err != nil {
				return c.inflateFailed(err)
			}
		}
	}
}

// inflatePiece drops what is inflated of what was fed. done says that the message ended.
func (c *Conn) inflatePiece() (done bool, err error) {
	r := &c.reading
	for r.packed {
		switch more, err := r.inflated(); {
		case err != nil:
			return false, err
		case !more:
			return false, nil
		}
	}
	return true, nil
}

// inflated takes the next inflated bytes of the message into r.rest. It reports false if more has to be fed; the end of the
// message is the end of r.packed.
func (r *messageReader) inflated() (more bool, err error) {
	piece, err := r.c.packed.in.Next()
	switch {
	case err == io.EOF:
		r.packed, r.rest = false, nil
		return true, nil
	case err != nil:
		return false, r.c.inflateFailed(err)
	}
	r.rest = left(piece)
	return len(piece) > 0, nil
}

// readPacked is Read of a compressed message.
func (r *messageReader) readPacked(p []byte) (int, error) {
	for len(r.rest) == 0 {
		more, err := r.inflated()
		switch {
		case err != nil:
			return 0, err
		case !r.packed:
			return 0, io.EOF
		case more:
			continue
		case len(p) == 0:
			return 0, nil
		}
		piece, err := r.next(nil)
		if err != nil {
			return 0, err
		}
		if err := r.c.packed.in.Feed(piece.Data, piece.Last); err != nil {
			return 0, r.c.inflateFailed(err)
		}
	}
	n := copy(p, r.rest)
	r.rest = left(r.rest[n:])
	return n, nil
}

// beginPacked starts a compressed message that is read in parts.
func (r *messageReader) beginPacked(text bool, data []byte, last bool) error {
	in := r.c.packed.in
	err := in.Begin(text)
	if err == nil {
		err = in.Feed(data, last)
	}
	if err != nil {
		return r.c.inflateFailed(err)
	}
	r.packed = true
	return nil
}

// resume has NextReader go on with the message that ReadMessage or TakeBatch has begun to inflate.
func (r *messageReader) resume() Opcode {
	r.joining, r.packed, r.open, r.begun, r.rest = false, true, true, true, nil
	return r.op
}

// frameSeen keeps the context of what is compressed whole while NextFrame hands out frames as they are.
func (c *Conn) frameSeen(f Frame) error {
	if f.Header.Opcode.IsControl() {
		return nil
	}
	r := &c.reading
	switch {
	case f.Header.RSV1:
		if err := r.beginPacked(false, f.Payload, f.Header.Fin); err != nil {
			return err
		}
	case r.packed:
		if _, err := c.inflatePiece(); err != nil {
			return err
		}
		if err := c.packed.in.Feed(f.Payload, f.Header.Fin); err != nil {
			return c.inflateFailed(err)
		}
	default:
		return nil
	}
	_, err := c.inflatePiece()
	r.rest = nil
	return err
}
