package conn

import (
	"io"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// Uncompressed is a level for WriteLevel and NextWriterLevel: the message is not
// compressed.
const Uncompressed = -4

// WriteLevel is WriteMessage with its own level of compression, one of
// deflate.Config.Level or Uncompressed. Config.Threshold does not apply. On a connection
// that does not compress, the level is only checked.
//
// At a level other than the connection's the message is compressed independently. With
// context takeover the next message is then independent of earlier ones.
func (c *Conn) WriteLevel(op Opcode, data []byte, level int) error {
	level, err := c.writeLevel(op, level)
	switch {
	case err != nil:
		return err
	case op == Text && !c.cfg.UncheckedText && !utf8.Valid(data):
		return ErrNotUTF8
	case level == Uncompressed:
		return c.writePlain(op, data)
	case level == c.compression.level:
		return c.writeCompressed(op, data, true, c.cfg.FailFast)
	}
	b := buffer.Get(deflate.Bound(len(data)))
	defer buffer.Put(b)
	p, err := deflate.AppendMessage(b.B[:0], data, c.compression.bits, level)
	if err != nil {
		return err
	}
	if err := c.lockWriteFor(op, len(data), c.cfg.FailFast); err != nil {
		return err
	}
	before := c.w.Queued()
	err = c.w.AppendFrame(frame.Header{Fin: true, RSV1: true, Opcode: op}, p)
	if err == nil {
		c.queueControls()
		err = c.w.Flush()
	}
	c.compression.out.Forget() // the peer's context now ends with what out has not seen
	return c.wrote(err, before+int(c.control.queued))
}

// WritePreparedLevel is WritePrepared with its own level of compression, as in
// WriteLevel. The message is compressed once for each level and window.
func (c *Conn) WritePreparedLevel(p *Prepared, level int) error {
	level, err := c.writeLevel(p.op, level)
	if err != nil {
		return err
	}
	return c.writePrepared(p, level)
}

// NextWriterLevel is NextWriter with its own level of compression, as in WriteLevel.
func (c *Conn) NextWriterLevel(op Opcode, level int) (io.WriteCloser, error) {
	level, err := c.writeLevel(op, level)
	if err != nil {
		return nil, err
	}
	var out *deflate.Deflater
	if level != Uncompressed && level != c.compression.level {
		out, err = deflate.NewDeflater(deflate.DeflateOptions{WindowBits: c.compression.bits, NoContextTakeover: true, Level: level})
		if err != nil {
			return nil, err
		}
	}
	if err := c.lockWriteFor(op, -1, c.cfg.FailFast); err != nil {
		return nil, err
	}
	if out != nil {
		c.compression.out.Forget()
	}
	return c.openWriter(op, level != Uncompressed, out), nil
}

// writeLevel checks what WriteLevel is given, and returns the level that counts.
func (c *Conn) writeLevel(op Opcode, level int) (int, error) {
	if op != Text && op != Binary {
		return 0, frame.ErrOpcode
	}
	if level != Uncompressed {
		check := deflate.Config{Level: level}
		if err := check.Check(); err != nil {
			return 0, err
		}
	}
	switch {
	case c.compression == nil:
		return Uncompressed, nil
	case level == -1:
		return deflate.DefaultLevel, nil
	}
	return level, nil
}

// freeOut gives back what a level of the message's own holds. The caller has the write
// lock.
func (m *messageWriter) freeOut() {
	if m.out != nil {
		m.out.Close()
	}
}
