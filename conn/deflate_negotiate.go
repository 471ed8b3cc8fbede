package conn

import (
	"fmt"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// compression is what permessage-deflate adds to a Conn (RFC 7692).
type compression struct {
	params    deflate.Params
	in        *deflate.Inflater // by the holder of readBusy
	out       *deflate.Deflater // under lock
	threshold int
	bits      int // of the window that out may use
	level     int
	limit     int64 // of SetReadLimit, for the next message that in begins, if limited
	limited   bool

	// What follows is the tick's alone.
	written   uint64 // messages
	writtenAt monotime
	released  bool // by releaseCompressor since then
}

// Compression returns the agreed parameters of permessage-deflate. ok is false if the
// connection does not compress.
func (c *Conn) Compression() (p deflate.Params, ok bool) {
	if c.compression == nil {
		return deflate.Params{}, false
	}
	return c.compression.params, true
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

// accepted returns the Config of a client's connection to a server with that answer.
// package handshake has seen to it that only offered extensions are in it.
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

// chosen returns the Config of a server's connection to the client of a request, and the
// extensions to answer.
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
		MaxMessage: cfg.Frame.MaxMessage, MaxRatio: cfg.Deflate.MaxRatio, KeptTail: cfg.Deflate.KeptTail}
	if n := cfg.Deflate.MaxInflated; n != 0 {
		in.MaxMessage = n
	}
	out := deflate.DeflateOptions{WindowBits: p.ClientMaxWindowBits, NoContextTakeover: p.ClientNoContextTakeover,
		Level: cfg.Deflate.Level, History: cfg.Deflate.History}
	if role == frame.Server {
		in.WindowBits, out.WindowBits = out.WindowBits, in.WindowBits
		in.NoContextTakeover, out.NoContextTakeover = out.NoContextTakeover, in.NoContextTakeover
	}
	z := &compression{params: p, threshold: cfg.Deflate.Threshold, bits: out.WindowBits, level: out.Level}
	if z.level == -1 {
		z.level = deflate.DefaultLevel
	}
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
