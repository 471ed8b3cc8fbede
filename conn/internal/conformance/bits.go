package conformance

// Bits builds a deflate stream bit by bit (RFC 1951 §3.1.1).
type bits struct {
	b    []byte
	held uint
}

// put adds n bits, the lowest first. code adds those of a Huffman code, the highest
// first.
func (w *bits) put(v, n uint) *bits {
	for i := range n {
		if w.held%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[len(w.b)-1] |= byte(v>>i&1) << (w.held % 8)
		w.held++
	}
	return w
}

func (w *bits) code(v, n uint) *bits {
	for i := range n {
		w.put(v>>(n-1-i), 1)
	}
	return w
}

// zeros adds n bits of 0.
func (w *bits) zeros(n int) *bits {
	for range n {
		w.put(0, 1)
	}
	return w
}

// literal adds a symbol of the fixed code for literals and lengths (RFC 1951 §3.2.6).
func (w *bits) literal(s uint) *bits {
	switch {
	case s < 144:
		return w.code(0x30+s, 8)
	case s < 256:
		return w.code(0x190+s-144, 9)
	case s < 280:
		return w.code(s-256, 7)
	}
	return w.code(0xC0+s-280, 8)
}

func (w *bits) text(s string) *bits {
	for _, c := range []byte(s) {
		w.literal(uint(c))
	}
	return w
}

// copy adds a copy of three bytes with the given distance symbol.
func (w *bits) copy(distance uint) *bits { return w.literal(257).code(distance, 5) }

// The kinds of blocks.
const (
	storedBlock = iota
	fixedBlock
	dynamicBlock
	reservedBlock
)

func (w *bits) block(kind uint, final bool) *bits {
	if final {
		return w.put(1, 1).put(kind, 2)
	}
	return w.put(0, 1).put(kind, 2)
}

// end ends a compressed block. flush adds an empty stored block without its last four
// bytes, as a sync flush does.
func (w *bits) end() *bits   { return w.literal(256) }
func (w *bits) align() *bits { w.held = uint(len(w.b)) * 8; return w }
func (w *bits) flush() []byte {
	w.block(storedBlock, false).align()
	return w.b
}

// stored adds a stored block.
func (w *bits) stored(s string, final bool) *bits {
	w.block(storedBlock, final).align()
	n := uint(len(s))
	w.put(n, 16).put(^n&0xFFFF, 16)
	w.b = append(w.b, s...)
	return w.align()
}

// sync adds a whole empty stored block.
func (w *bits) sync() *bits { return w.stored("", false) }

// dynamic begins a dynamic block: its three counts, and the lengths of the code length
// code in their order of transmission.
func (w *bits) dynamic(literals, distances uint, codes ...uint) *bits {
	w.block(dynamicBlock, false).put(literals-257, 5).put(distances-1, 5).put(uint(len(codes))-4, 4)
	for _, c := range codes {
		w.put(c, 3)
	}
	return w
}
