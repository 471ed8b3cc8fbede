package conn

import (
	"fmt"
	"net"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// Agreed holds the result of an opening handshake that was done elsewhere.
type Agreed struct {
	// Subprotocol is what Conn.Subprotocol returns.
	Subprotocol string
	// Deflate is what was agreed about permessage-deflate, nil if nothing was; a window
	// of 0 bits is one of 15. Config.Deflate says how this side compresses; nil there
	// means its defaults.
	Deflate *deflate.Params
	// Early are the bytes that came after the handshake, the first frames. They are
	// copied.
	Early []byte
	// Value is what Conn.Value returns.
	Value any
}

// NewAgreed is New with the result of the handshake. It returns an error if
// Config.Deflate or Agreed.Deflate is out of range; the caller then still owns nc.
func NewAgreed(nc net.Conn, role frame.Role, cfg *Config, a Agreed) (*Conn, error) {
	s := settled{early: a.Early, subprotocol: a.Subprotocol, value: a.Value}
	if a.Deflate == nil {
		return newConn(nc, role, cfg, s), nil
	}
	var full Config
	if cfg != nil {
		full = *cfg
	}
	if full.Deflate == nil {
		full.Deflate = &plainDeflate
	}
	if err := full.Deflate.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", handshake.ErrValue, err)
	}
	p := *a.Deflate
	for _, bits := range []*int{&p.ServerMaxWindowBits, &p.ClientMaxWindowBits} {
		if *bits == 0 {
			*bits = 15
		}
		if *bits < 8 || *bits > 15 {
			return nil, fmt.Errorf("%w: a window of %d bits was agreed (RFC 7692 §7.1.2)", handshake.ErrValue, *bits)
		}
	}
	return newConn(nc, role, full.with(p), s), nil
}

// plainDeflate is one for all connections: see Config.shared. Nobody changes it.
var plainDeflate deflate.Config
