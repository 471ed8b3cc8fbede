package deflate

import (
	"bytes"
	"errors"
	"math/bits"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	// HuffmanOnly is a Level that codes bytes but looks for no repetitions.
	HuffmanOnly = flate.HuffmanOnly
	// DefaultLevel is the package's own compressor, which holds little: Config.History.
	// -1, which other packages call their default, is the same.
	DefaultLevel = 0
	// Stored is a Level that compresses nothing and holds nothing. Other packages call
	// it level 0. Messages are marked as compressed, and become a few bytes longer.
	Stored = -3
	// DefaultHistory is the Config.History that 0 means at DefaultLevel.
	DefaultHistory = 8 << 10
	// DefaultThreshold is the size in bytes of the smallest message that is compressed,
	// if Config.Threshold does not say. Under it the compressor of levels 1 to 6 looks
	// for no repetitions, and the message after it would find none before it.
	DefaultThreshold = 128
)

// DeflateOptions describe the connection to a Deflater.
type DeflateOptions struct {
	// WindowBits bounds how far back the compressor may refer, as agreed: 8 to 15; 0
	// means 15.
	WindowBits int
	// NoContextTakeover compresses every message independently. Then nothing is held
	// between messages.
	NoContextTakeover bool
	// Level is that of Config.
	Level int
	// History is that of Config.
	History int
}

// A Deflater compresses the messages of one connection, one after the other (RFC 7692
// §7.2.1). Make one with NewDeflater. It must not be used by two goroutines at once. It
// takes memory with the first message, and no more than the messages need: the package
// comment has the figures.
type Deflater struct {
	options DeflateOptions
	inside  bool // a message
	forget  bool // start the next message with no context
	own     compressor
	encoder *encoder // of levels 1 to 9
	history []byte   // the end of what was sent, if that is kept instead of the encoder
}

// NewDeflater returns a Deflater. It returns an error if the window or the level is out
// of range.
func NewDeflater(o DeflateOptions) (*Deflater, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	d := &Deflater{options: o}
	if o.own() {
		d.own = o.compressor()
	}
	return d, nil
}

func (o *DeflateOptions) check() error {
	c := Config{ServerMaxWindowBits: o.WindowBits, Level: o.Level, History: o.History}
	if err := c.Check(); err != nil {
		return err
	}
	o.WindowBits = orMax(o.WindowBits)
	if o.Level == -1 {
		o.Level = DefaultLevel
	}
	o.History = min(o.History, 1<<o.WindowBits)
	if o.NoContextTakeover {
		o.History = 0
	}
	return nil
}

// own reports whether the package's own compressor is to be used.
func (o *DeflateOptions) own() bool { return o.Level <= 0 || o.WindowBits < maxWindowBits }

// compressor returns the package's own one for options that were checked.
func (o *DeflateOptions) compressor() compressor {
	z := compressor{window: 1 << o.WindowBits, search: o.Level > HuffmanOnly, stored: o.Level == Stored}
	if z.search && !o.NoContextTakeover {
		history := o.History
		if history == 0 {
			// Between the half and all of the buffer is history: two windows are needed
			// to have one always.
			history = min(DefaultHistory, 2*z.window)
		}
		z.keep = max(keepLeast, 1<<bits.Len(uint(history-1)))
	}
	return z
}

// Append compresses p, the whole message or its next piece, and appends the result to
// dst. last says that the message ends with p. The tail 00 00 FF FF is removed. A piece
// before the last one may add nothing. Append allocates only if dst is too small; Bound
// returns how much there may be.
func (d *Deflater) Append(dst, p []byte, last bool) []byte {
	if !d.inside {
		d.start()
	}
	d.inside = !last
	if d.options.own() {
		return d.own.append(dst, p, last)
	}
	dst = d.encoder.append(dst, p, last)
	if d.options.History > 0 {
		d.remember(p)
	}
	if last && (d.options.NoContextTakeover || d.options.History > 0) {
		d.giveBack()
	}
	return dst
}

// start makes the compressor ready for a message.
func (d *Deflater) start() {
	forget := d.forget
	d.forget = false
	if forget {
		d.history = d.history[:0]
		d.own.forget()
	}
	switch {
	case d.options.own():
		return
	case d.encoder != nil && !forget:
		return
	case d.encoder == nil:
		d.encoder = getEncoder(d.options)
	}
	if len(d.history) > 0 {
		d.encoder.w.ResetDict(d.encoder, d.history[max(0, len(d.history)-d.options.History):])
	} else {
		d.encoder.w.ResetDict(d.encoder, nil) // Reset would go back to an older message's history
	}
}

// remember appends p to the history, of which at most twice what is needed is held: then
// the end of it moves to the front.
func (d *Deflater) remember(p []byte) {
	n := d.options.History
	if d.history == nil {
		d.history = make([]byte, 0, 2*n)
	}
	if len(p) >= n {
		d.history = append(d.history[:0], p[len(p)-n:]...)
		return
	}
	if len(d.history)+len(p) > 2*n {
		d.history = append(d.history[:0], d.history[len(d.history)-(n-len(p)):]...)
	}
	d.history = append(d.history, p...)
}

// Forget makes the next message independent of all earlier ones. Call it after the peer
// has inflated a message that this Deflater did not see, such as a prepared one.
func (d *Deflater) Forget() {
	d.forget = true
}

// Release returns all memory to the pool, unless a message is in progress. The next
// message is then independent of all earlier ones; the peer need not be told.
func (d *Deflater) Release() {
	if !d.inside {
		d.Close()
	}
}

// Close returns all memory to the pool. A later Append starts anew.
func (d *Deflater) Close() {
	d.inside, d.history = false, nil
	d.own.discard()
	d.giveBack()
}

func (d *Deflater) giveBack() {
	if d.encoder != nil {
		poolFor(d.options).Put(d.encoder)
		d.encoder = nil
	}
}

// AppendMessage compresses the whole message p, independent of any other, and appends it
// to dst. The result serves every connection with a window of at least windowBits, with
// or without context takeover. With takeover, call Forget on the connection's Deflater
// afterwards. It returns an error if the window or the level is out of range.
func AppendMessage(dst, p []byte, windowBits, level int) ([]byte, error) {
	o := DeflateOptions{WindowBits: windowBits, Level: level}
	if err := o.check(); err != nil {
		return dst, err
	}
	if o.own() {
		o.NoContextTakeover = true
		z := o.compressor()
		return z.append(dst, p, true), nil
	}
	e := getEncoder(o)
	e.w.ResetDict(e, nil)
	dst = e.append(dst, p, true)
	poolFor(o).Put(e)
	return dst, nil
}

// Bound returns the most bytes that Append adds for a message of n bytes.
func Bound(n int) int {
	// Stored blocks with five bytes of header each, the end, and room to write eight
	// bytes at once.
	return n + 5*(n/blockMost+1) + 24
}

// An encoder is a library's compressor and where it writes to.
type encoder struct {
	w   *flate.Writer
	out []byte
}

// encoders lends one pool for each level.
var encoders [9]sync.Pool

func poolFor(o DeflateOptions) *sync.Pool { return &encoders[o.Level-1] }

func getEncoder(o DeflateOptions) *encoder {
	if e, ok := poolFor(o).Get().(*encoder); ok {
		return e
	}
	e := new(encoder)
	var err error
	if e.w, err = flate.NewWriter(e, o.Level); err != nil {
		panic(err) // the options were checked
	}
	return e
}

// Write takes what the compressor yields.
func (e *encoder) Write(p []byte) (int, error) {
	e.out = append(e.out, p...)
	return len(p), nil
}

var (
	syncTail = []byte{0, 0, 0xFF, 0xFF}
	errTail  = errors.New("deflate: the compressor did not end its flush as RFC 7692 §7.2.1 needs it")
)

func (e *encoder) append(dst, p []byte, last bool) []byte {
	e.out = dst
	_, err := e.w.Write(p)
	if last && err == nil {
		err = e.w.Flush()
	}
	out := e.out
	e.out = nil
	if last && err == nil {
		if !bytes.HasSuffix(out[len(dst):], syncTail) {
			err = errTail
		}
		out = out[:len(out)-len(syncTail)]
	}
	if err != nil {
		panic(err) // neither the sink nor the library has a way to fail
	}
	return out
}
