package deflate

import (
	"errors"
	"io"
	"math"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// InflateOptions describe the connection to an Inflater.
type InflateOptions struct {
	// WindowBits bounds the distances that the peer may use, as agreed: 8 to 15, 0 means
	// 15.
	WindowBits int
	// NoContextTakeover says that the peer compresses every message alone. Then nothing
	// is kept between messages.
	NoContextTakeover bool
	// MaxMessage bounds the inflated bytes of a message: ErrTooLarge. 0 means
	// frame.DefaultMaxMessage, negative frame.HardMaxMessage.
	MaxMessage int64
	// MaxRatio limits a message's inflated bytes to this multiple of its compressed
	// bytes: ErrRatio. It is checked every 32 KiB after the first 64 KiB, and at the end.
	// 0 means no such limit.
	MaxRatio int
	// KeptTail accepts a message at whose end the sender has left the tail, with
	// NoContextTakeover: see Config.KeptTail.
	KeptTail bool
}

const (
	ratioFree = 64 << 10 // what a message may inflate to before its ratio counts
	ratioStep = 32 << 10 // how often it is judged
	ratioMost = 1 << 16  // no more can be: a bit is worth less than 258 bytes
)

const (
	// tailMax is how much of a message is decoded from padded memory, so that the fast
	// loop runs to its end. Most feed messages fit in whole.
	tailMax = 512 - tailPad
	// tailPad has the loop continue until no bit of the input is left.
	tailPad = inputPad + 8
)

// An Inflater decompresses the messages of one connection, one after the other (RFC 7692
// §7.2.2). Use Message for a whole message, Push for one that comes in pieces, and Feed
// with Next to also take a long one in pieces. Make one with NewInflater. It must not be
// used by two goroutines at once.
//
// The tail 00 00 FF FF that the sender removed is not fed. A message is whole if its last
// block is a stored one that stops before its length, or a final one that ends with the
// message.
//
// An error is final: the context is lost, and every later call returns it.
type Inflater struct {
	decoder

	limit             int
	ratio             int
	nextRatioCheck    int  // the length of the message at which the ratio is judged next
	noContextTakeover bool // no context takeover
	kept              bool // the tail may be there, where alone is set
	empty             bool // the last block was a stored one without bytes, and no other has begun
	text              bool
	opened            bool // inside a message
	ended             bool // the whole message was pushed
	final             bool // the last block had BFINAL
	full              bool // Next found no room for more
	last              bool // more ends the message
	closing           bool // all of the message is in
	phase             phase

	start     int   // first byte of the message that was neither moved out nor handed out
	emittedTo int   // first byte that Next has not returned; start if it has returned none
	checked   int   // text up to here is valid
	spilled   int   // bytes in parts
	emitted   int   // bytes handed out by Next
	inLen     int64 // compressed bytes of the message so far
	rest      int   // of a stored block

	dyn   *dynamic
	buf   *buffer.Buffer
	parts []*buffer.Buffer
	free  int  // room in the last part
	given int  // parts that Next has returned
	whole bool // there is one part, which has room for the limit

	joined *buffer.Buffer
	view   []byte
	utf8   utf8.Validator
	err    error
	more   []byte // what was fed and not loaded

	tail [tailMax + tailPad]byte
}

// NewInflater returns an Inflater. It takes memory with the first message. It returns an
// error if WindowBits is out of range.
func NewInflater(o InflateOptions) (*Inflater, error) {
	if o.WindowBits == 0 {
		o.WindowBits = 15
	}
	if o.WindowBits < 8 || o.WindowBits > 15 {
		return nil, errWindowBits
	}
	d := &Inflater{
		decoder:           decoder{window: 1 << o.WindowBits},
		ratio:             min(max(0, o.MaxRatio), ratioMost),
		noContextTakeover: o.NoContextTakeover,
		kept:              o.KeptTail && o.NoContextTakeover,
	}
	d.SetMaxMessage(o.MaxMessage)
	return d, nil
}

// SetMaxMessage changes InflateOptions.MaxMessage. Call it between messages.
func (d *Inflater) SetMaxMessage(n int64) {
	switch {
	case n == 0:
		n = frame.DefaultMaxMessage
	case n < 0:
		n = frame.HardMaxMessage
	}
	d.limit = int(min(n, math.MaxInt/2))
}

// Message inflates a whole message, and checks text as UTF-8. The result is valid until
// the next call. It must not be changed: later messages may refer to it.
func (d *Inflater) Message(p []byte, text bool) ([]byte, error) {
	if err := d.Begin(text); err != nil {
		return nil, err
	}
	if err := d.Push(p, true); err != nil {
		return nil, err
	}
	return d.view, nil
}

// Begin starts a message whose pieces follow by Push or Feed. The rest of an earlier
// message is dropped.
func (d *Inflater) Begin(text bool) error {
	if d.err != nil {
		return d.err
	}
	if d.opened {
		return d.kill(errUnfinished)
	}
	d.closeMessage()
	d.view = nil
	d.text, d.opened, d.ended, d.closing = text, true, false, false
	d.inLen, d.emitted = 0, 0
	d.nextRatioCheck = ratioFree + 1
	d.open()
	return nil
}

var (
	errUnfinished = errors.New("deflate: a message was begun inside another")
	errNoMessage  = errors.New("deflate: no message was begun")
	errClosed     = errors.New("deflate: closed")
)

// Push inflates the next piece of the message. last says that the message ends with p;
// Bytes returns the message then. An error comes with the first piece that shows it. p is
// not kept.
func (d *Inflater) Push(p []byte, last bool) error {
	if err := d.feed(p, last); err != nil {
		return err
	}
	for d.load() {
		for {
			full, err := d.run()
			if err != nil {
				return err
			}
			if !full {
				break
			}
			d.makeRoom()
		}
	}
	if d.closing {
		return d.complete()
	}
	return d.check()
}

// Bytes returns the message after its last Push. It is valid until the next call of
// Begin, Message or Release. It must not be changed.
func (d *Inflater) Bytes() []byte { return d.view }

// Detach hands the memory of the message that Message or Bytes returned to the caller, if
// the message has memory of its own. Otherwise it returns nil; copy the message to keep
// it.
func (d *Inflater) Detach() *buffer.Buffer {
	b := d.joined
	if b != nil {
		d.joined, d.view = nil, nil
	}
	return b
}

// Feed passes the next piece of the message to Next. Call Next until it asks for more; p
// must not change until then.
func (d *Inflater) Feed(p []byte, last bool) error { return d.feed(p, last) }

// Next returns the next inflated bytes of the message, valid until the next call. They
// must not be changed. No bytes and no error mean that more input is needed; io.EOF means
// that the message was whole. At most 64 KiB are held, however long the message is. A
// message begun by Push can be continued: what was inflated so far comes first.
func (d *Inflater) Next() ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	if d.ended {
		return nil, io.EOF
	}
	if !d.opened {
		return nil, d.kill(errNoMessage)
	}
	if len(d.parts) > 0 {
		if p := d.nextPart(); p != nil {
			return p, nil
		}
	}
	d.emitted += d.emittedTo - d.start
	d.start = d.emittedTo
	if d.full {
		d.makeRoom()
	}
	for d.full || d.load() {
		var err error
		if d.full, err = d.run(); err != nil {
			return nil, err
		}
		if d.full {
			break
		}
	}
	piece := d.out[d.start:d.op:d.op]
	d.emittedTo = d.op
	if d.closing && !d.full {
		if err := d.complete(); err != nil {
			return nil, err
		}
		if len(piece) == 0 {
			return nil, io.EOF
		}
		return piece, nil
	}
	return piece, d.check()
}

// Release returns all memory to the pool that the next message does not need. The last
// result becomes invalid.
func (d *Inflater) Release() {
	if d.opened || d.err != nil {
		return
	}
	d.view = nil
	d.closeMessage()
	switch {
	case d.noContextTakeover:
		d.discard()
	case len(d.out) > d.restSize():
		d.move(max(d.base, d.op-d.window), d.restSize())
		d.start, d.emittedTo, d.checked = d.op, d.op, d.op
	}
}

// Close returns all memory to the pool. The Inflater cannot be used afterwards.
func (d *Inflater) Close() {
	if d.err == nil {
		d.kill(errClosed)
	}
}

func (d *Inflater) feed(p []byte, last bool) error {
	if d.err != nil {
		return d.err
	}
	if !d.opened {
		return d.kill(errNoMessage)
	}
	d.inLen += int64(len(p))
	d.more, d.last = p, last
	return nil
}

// load makes the next part of what was fed the input. It reports false when there is
// none.
func (d *Inflater) load() bool {
	p, n := d.more, len(d.more)
	switch {
	case n == 0 && !d.last:
		d.in, d.ip, d.end = nil, 0, 0
		return false
	case d.last && n <= tailMax:
		copy(d.tail[:], p)
		clear(d.tail[n : n+tailPad])
		d.in = d.tail[:n+tailPad]
		d.last, d.closing = false, true
	case d.last:
		n -= tailMax / 2
		d.in = p[:n]
	default:
		d.in = p
	}
	d.ip, d.end = 0, n
	if d.more = p[n:]; len(d.more) == 0 {
		d.more = nil // not even an end of it: the Inflater may be idle for long
	}
	return true
}

// run inflates until the input is used, or there is no room for more: then it reports
// true.
func (d *Inflater) run() (full bool, err error) {
	before := d.spilled + d.emitted - d.start // d.op and this are the message's bytes so far
	room := len(d.out) - slack
	for {
		end := min(room, d.limit+1-before)
		if d.ratio > 0 {
			end = min(end, d.nextRatioCheck-before)
		}
		h := d.step(end)
		switch n := before + d.op; {
		case n > d.limit:
			d.op = d.limit - before
			h = d.fail(passed(ErrTooLarge, d.limit, "MaxMessage"))
		case d.ratio > 0 && n >= d.nextRatioCheck && h != stopError:
			d.nextRatioCheck = n/ratioStep*ratioStep + ratioStep
			if d.overRatio(n) {
				h = d.fail(passed(ErrRatio, d.ratio, "MaxRatio"))
			}
		}
		switch {
		case h == stopError:
			// What went wrong first is told: text that was bad before this, if it was.
			err, d.err = d.err, nil
			if bad := d.check(); bad != nil {
				return false, bad
			}
			return false, d.kill(err)
		case h == stopInput:
			return false, nil
		case d.op >= room:
			return true, d.check()
		}
	}
}

// overRatio reports whether the first n bytes of the message exceed the ratio. It counts
// the compressed bytes that they took, which do not depend on how many came after them.
func (d *Inflater) overRatio(n int) bool {
	unused := int64(len(d.more)+d.end-d.ip) + int64(d.nb>>3)
	return n > ratioFree && int64(n) > (d.inLen-unused)*int64(d.ratio)
}

// check judges the text that came since the last call.
func (d *Inflater) check() error {
	if d.text && d.checked < d.op && d.utf8.Push(d.out[d.checked:d.op]) >= 0 {
		return d.kill(frame.ErrInvalidUTF8)
	}
	d.checked = d.op
	return nil
}

// complete ends the message. Only a block's end, at the end of the last byte, ends it: a
// cut one would otherwise be delivered as a shorter one.
func (d *Inflater) complete() error {
	if err := d.check(); err != nil {
		return err
	}
	if d.nb != 0 || d.phase != phaseStoredLength && (d.phase != phaseHeader || !d.final && (!d.kept || !d.empty)) {
		return d.kill(ErrMessageEnd)
	}
	if d.text && !d.utf8.Done() {
		return d.kill(frame.ErrTruncatedUTF8)
	}
	if d.ratio > 0 && d.overRatio(d.spilled+d.emitted+d.op-d.start) {
		return d.kill(passed(ErrRatio, d.ratio, "MaxRatio"))
	}
	d.phase, d.final, d.empty, d.in = phaseHeader, false, false, nil
	d.opened, d.ended = false, true
	d.view = d.join()
	return nil
}

// fail and kill end the Inflater with an error; fail only notes it, for run to judge.
func (d *Inflater) fail(err error) stopReason {
	d.err = err
	return stopError
}

func (d *Inflater) kill(err error) error {
	d.discard()
	d.err = err
	return err
}
