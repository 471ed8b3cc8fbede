package conformance

import (
	"bytes"
	"compress/flate"
	"errors"
	"sync"
)

// tail is removed from a compressed message by the sender, and restored by the receiver
// (RFC 7692 §7.2.1).
var tail = []byte{0, 0, 0xFF, 0xFF}

// An inflater reads the messages that an agent has compressed. It is slow, simple and
// strict: it knows the agreed window, and where a stream ends.
type inflater struct {
	bits              int // of the agent's window
	noContextTakeover bool
	past              []byte

	in    []byte
	at    int
	hold  uint32
	held  uint
	out   []byte
	begin int // where the message begins in out
}

var (
	errStreamEnd  = errors.New("the stream ends within a block")
	errBlockType  = errors.New("a block of the reserved type")
	errCodes      = errors.New("a set of code lengths that is none")
	errSymbol     = errors.New("a symbol that no code has")
	errDistance   = errors.New("a distance beyond what there is")
	errWindow     = errors.New("a distance beyond the agreed window")
	errTooLong    = errors.New("more data than anything asked for")
	errStoredSize = errors.New("a stored block whose two lengths differ")
)

// message returns the inflated message.
func (z *inflater) message(payload []byte) (data []byte, err error) {
	z.in, z.at, z.hold, z.held = append(bytes.Clone(payload), tail...), 0, 0, 0
	if z.noContextTakeover {
		z.past = nil
	}
	z.out, z.begin = bytes.Clone(z.past), len(z.past)
	for z.at < len(z.in) || z.held >= 3 {
		final, err := z.block()
		if err == nil && len(z.out)-z.begin > maxReceived {
			err = errTooLong
		}
		if err != nil {
			return nil, err
		}
		if final { // the rest begins at a byte boundary (RFC 7692 §7.2.3.4)
			z.hold, z.held = 0, 0
		}
	}
	data = z.out[z.begin:]
	z.past = z.out[max(0, len(z.out)-1<<z.bits):]
	return data, nil
}

func (z *inflater) take(n uint) (uint32, error) {
	for z.held < n {
		if z.at == len(z.in) {
			return 0, errStreamEnd
		}
		z.hold |= uint32(z.in[z.at]) << z.held
		z.at++
		z.held += 8
	}
	v := z.hold & (1<<n - 1)
	z.hold >>= n
	z.held -= n
	return v, nil
}

func (z *inflater) block() (final bool, err error) {
	head, err := z.take(3)
	if err != nil {
		return false, err
	}
	switch head >> 1 {
	case 0:
		err = z.stored()
	case 1:
		err = z.codes(fixedLiterals, fixedDistances)
	case 2:
		var literals, distances *codeTable
		if literals, distances, err = z.tables(); err == nil {
			err = z.codes(literals, distances)
		}
	default:
		err = errBlockType
	}
	return head&1 != 0, err
}

func (z *inflater) stored() error {
	z.hold, z.held = 0, 0
	if len(z.in)-z.at < 4 {
		return errStreamEnd
	}
	n := int(z.in[z.at]) | int(z.in[z.at+1])<<8
	if not := int(z.in[z.at+2]) | int(z.in[z.at+3])<<8; n != ^not&0xFFFF {
		return errStoredSize
	}
	z.at += 4
	if len(z.in)-z.at < n {
		return errStreamEnd
	}
	z.out = append(z.out, z.in[z.at:z.at+n]...)
	z.at += n
	return nil
}

// A codeTable is a canonical Huffman code: the number of codes of each length, and the
// symbols in the order of their codes.
type codeTable struct {
	counts  [16]int
	symbols []int
}

func newCodeTable(lengths []byte) *codeTable {
	t := new(codeTable)
	for n := byte(1); n < 16; n++ {
		for symbol, l := range lengths {
			if l == n {
				t.counts[n]++
				t.symbols = append(t.symbols, symbol)
			}
		}
	}
	return t
}

// over reports whether a length has more codes than possible.
func (t *codeTable) over() bool {
	left := 1
	for n := 1; n < 16; n++ {
		if left = left*2 - t.counts[n]; left < 0 {
			return true
		}
	}
	return false
}

var fixedLiterals, fixedDistances = func() (*codeTable, *codeTable) {
	lengths := bytes.Join([][]byte{bytes.Repeat([]byte{8}, 144), bytes.Repeat([]byte{9}, 112),
		bytes.Repeat([]byte{7}, 24), bytes.Repeat([]byte{8}, 8)}, nil)
	return newCodeTable(lengths), newCodeTable(bytes.Repeat([]byte{5}, 30))
}()

func (z *inflater) symbol(t *codeTable) (int, error) {
	code, first, index := 0, 0, 0
	for n := 1; n < 16; n++ {
		bit, err := z.take(1)
		if err != nil {
			return 0, err
		}
		code |= int(bit)
		if code-first < t.counts[n] {
			return t.symbols[index+code-first], nil
		}
		index += t.counts[n]
		first = (first + t.counts[n]) << 1
		code <<= 1
	}
	return 0, errSymbol
}

func (z *inflater) tables() (literals, distances *codeTable, err error) {
	head, err := z.take(14)
	if err != nil {
		return nil, nil, err
	}
	nLiterals, nDistances, nCodes := int(head&31)+257, int(head>>5&31)+1, int(head>>10)+4
	if nLiterals > 286 || nDistances > 30 {
		return nil, nil, errCodes
	}
	order := [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	var codes [19]byte
	for i := range nCodes {
		v, err := z.take(3)
		if err != nil {
			return nil, nil, err
		}
		codes[order[i]] = byte(v)
	}
	t := newCodeTable(codes[:])
	if t.over() {
		return nil, nil, errCodes
	}
	var lengths []byte
	for len(lengths) < nLiterals+nDistances {
		s, err := z.symbol(t)
		if err != nil {
			return nil, nil, err
		}
		value, least, extra := byte(0), 1, uint(0)
		switch s {
		case 16:
			if len(lengths) == 0 {
				return nil, nil, errCodes
			}
			value, least, extra = lengths[len(lengths)-1], 3, 2
		case 17:
			least, extra = 3, 3
		case 18:
			least, extra = 11, 7
		default:
			value = byte(s)
		}
		more, err := z.take(extra)
		if err != nil {
			return nil, nil, err
		}
		lengths = append(lengths, bytes.Repeat([]byte{value}, least+int(more))...)
	}
	if len(lengths) > nLiterals+nDistances || lengths[256] == 0 {
		return nil, nil, errCodes
	}
	literals, distances = newCodeTable(lengths[:nLiterals]), newCodeTable(lengths[nLiterals:])
	if literals.over() || distances.over() {
		return nil, nil, errCodes
	}
	return literals, distances, nil
}

func (z *inflater) codes(literals, distances *codeTable) error {
	for {
		s, err := z.symbol(literals)
		switch {
		case err != nil:
			return err
		case len(z.out)-z.begin > maxReceived:
			return errTooLong
		case s < 256:
			z.out = append(z.out, byte(s))
			continue
		case s == 256:
			return nil
		case s > 285:
			return errSymbol
		}
		length, err := z.length(s - 257)
		if err != nil {
			return err
		}
		if s, err = z.symbol(distances); err != nil {
			return err
		}
		distance, err := z.distance(s)
		switch {
		case err != nil:
			return err
		case distance > len(z.out):
			return errDistance
		case distance > 1<<z.bits:
			return errWindow
		}
		for range length {
			z.out = append(z.out, z.out[len(z.out)-distance])
		}
	}
}

// length returns the length of a copy (RFC 1951 §3.2.5).
func (z *inflater) length(s int) (int, error) {
	switch {
	case s < 8:
		return s + 3, nil
	case s == 28:
		return 258, nil
	}
	extra := uint(s/4 - 1)
	v, err := z.take(extra)
	return 3 + (4+s%4)<<extra + int(v), err
}

func (z *inflater) distance(s int) (int, error) {
	switch {
	case s < 4:
		return s + 1, nil
	case s > 29:
		return 0, errSymbol
	}
	extra := uint(s/2 - 1)
	v, err := z.take(extra)
	return 1 + (2+s%2)<<extra + int(v), err
}

// A deflater compresses messages for an agent.
type deflater struct {
	bits              int
	noContextTakeover bool
	w                 *flate.Writer
	out               bytes.Buffer
}

// writers are pooled because each holds more than a megabyte.
var writers = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(nil, flate.DefaultCompression) // the level is valid
	return w
}}

// free returns the compressor to the pool.
func (z *deflater) free() {
	if z != nil && z.w != nil {
		writers.Put(z.w)
		z.w = nil
	}
}

// message returns the payload of a compressed message. The library's compressor has one
// window size only. For a smaller window message resets it often enough.
func (z *deflater) message(data []byte) []byte {
	z.out.Reset()
	if z.w == nil {
		z.w = writers.Get().(*flate.Writer)
		z.w.Reset(&z.out)
	} else if z.noContextTakeover {
		z.w.Reset(&z.out)
	}
	for step := len(data); ; {
		if z.bits < 15 {
			z.w.Reset(&z.out)
			step = min(1<<z.bits, len(data))
		}
		_, _ = z.w.Write(data[:step]) // writes to memory
		_ = z.w.Flush()
		if data = data[step:]; len(data) == 0 {
			break
		}
	}
	return bytes.Clone(bytes.TrimSuffix(z.out.Bytes(), tail))
}
