package websocket

import (
	"bytes"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// PreparedMessage is a message that is encoded once for each compression level, and
// written to many connections.
type PreparedMessage struct {
	messageType int
	control     []byte // the payload of a control message
	prepared    *conn.Prepared
}

// NewPreparedMessage returns a message of any of the five types. It copies data.
func NewPreparedMessage(messageType int, data []byte) (*PreparedMessage, error) {
	switch {
	case isControl(messageType) && len(data) > frame.MaxControlPayload:
		return nil, errInvalidControlFrame
	case isControl(messageType):
		return &PreparedMessage{messageType: messageType, control: bytes.Clone(data)}, nil
	case !isData(messageType):
		return nil, errBadWriteOpCode
	}
	p, err := conn.PrepareUnchecked(conn.Opcode(messageType), data)
	if err != nil {
		return nil, err
	}
	return &PreparedMessage{messageType: messageType, prepared: p}, nil
}

// WritePreparedMessage writes a prepared message.
func (c *Conn) WritePreparedMessage(pm *PreparedMessage) error {
	if c.writer != nil && c.writer.out != nil {
		_ = c.writer.Close() // some of its frames were sent, and no other message may come between
	}
	if err := c.stuck(); err != nil {
		return err
	}
	if pm.prepared == nil {
		return c.wholeControl(pm.messageType, pm.control)
	}
	c.beginWrite()
	var err error
	if c.compressionAgreed {
		err = c.ws.WritePreparedLevel(pm.prepared, c.engineLevel())
	} else {
		err = c.ws.WritePrepared(pm.prepared)
	}
	c.endWrite()
	if err != nil {
		return c.writeFailed(err)
	}
	return nil
}
