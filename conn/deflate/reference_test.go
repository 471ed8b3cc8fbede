package deflate

import "errors"

// slowInflater decodes RFC 1951 bit by bit, as the RFC tells it, and shares nothing with the Inflater. It notes how far
// back messages refer.
type slowInflater struct {
	history  []byte
	farthest int
	ends     map[int]bool // the byte offsets at which a cut leaves a whole message
}

var errSlow = errors.New("slowInflater: malformed")

func (s *slowInflater) message(p []byte) (out []byte, err error) {
	p = append(append([]byte(nil), p...), tail...)
	pos, start := 0, len(s.history)
	defer func() {
		if recover() != nil {
			out, err = nil, errSlow
		}
	}()
	bit := func() int {
		v := p[pos/8] >> (pos % 8) & 1
		pos++
		return int(v)
	}
	number := func(n int) (v int) {
		for i := range n {
			v |= bit() << i
		}
		return v
	}
	for pos < 8*len(p) {
		final, kind := bit(), number(2)
		switch kind {
		case 0:
			pos = (pos + 7) / 8 * 8
			s.end(pos / 8)
			n, complement := number(16), number(16)
			if n != complement^0xFFFF {
				return nil, errSlow
			}
			s.history = append(s.history, p[pos/8:pos/8+n]...)
			pos += 8 * n
		case 1, 2:
			lit, dist := fixedLengths()
			if kind == 2 {
				lit, dist = slowLengths(number, bit)
			}
			for {
				sym := slowSymbol(lit, bit)
				if sym < 256 {
					s.history = append(s.history, byte(sym))
					continue
				}
				if sym == 256 {
					break
				}
				length := slowLength(sym, number)
				distance := slowDistance(slowSymbol(dist, bit), number)
				s.farthest = max(s.farthest, distance)
				for range length {
					s.history = append(s.history, s.history[len(s.history)-distance])
				}
			}
		default:
			return nil, errSlow
		}
		if final == 1 {
			pos = (pos + 7) / 8 * 8
			s.end(pos / 8)
			if pos == 8*(len(p)-len(tail)) {
				break
			}
		}
	}
	return s.history[start:], nil
}

func (s *slowInflater) end(offset int) {
	if s.ends == nil {
		s.ends = make(map[int]bool)
	}
	s.ends[offset] = true
}

func fixedLengths() (lit, dist []int) {
	for i := range 288 {
		n := 8
		if i >= 144 && i < 256 {
			n = 9
		} else if i >= 256 && i < 280 {
			n = 7
		}
		lit = append(lit, n)
	}
	for range 32 {
		dist = append(dist, 5)
	}
	return lit, dist
}

func slowLengths(number func(int) int, bit func() int) (lit, dist []int) {
	numLit, numDist, numPre := number(5)+257, number(5)+1, number(4)+4
	pre := make([]int, 19)
	for i := range numPre {
		pre[[]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[i]] = number(3)
	}
	var lens []int
	for len(lens) < numLit+numDist {
		times, value := 1, slowSymbol(pre, bit)
		switch value {
		case 16:
			times, value = 3+number(2), lens[len(lens)-1]
		case 17:
			times, value = 3+number(3), 0
		case 18:
			times, value = 11+number(7), 0
		}
		for range times {
			lens = append(lens, value)
		}
	}
	return lens[:numLit], lens[numLit : numLit+numDist]
}

// slowSymbol counts through the canonical code of the lengths (RFC 1951 §3.2.2).
func slowSymbol(lens []int, bit func() int) int {
	code, first := 0, 0
	for n := 1; n <= 15; n++ {
		code |= bit()
		count := 0
		for sym, l := range lens {
			if l == n {
				if code-first == count {
					return sym
				}
				count++
			}
		}
		first = (first + count) << 1
		code <<= 1
	}
	panic(errSlow)
}

func slowLength(sym int, number func(int) int) int {
	if sym == 285 {
		return 258
	}
	base := 3
	for s := 257; ; s++ {
		extra := max(0, (s-261)/4)
		if s == sym {
			return base + number(extra)
		}
		base += 1 << extra
	}
}

func slowDistance(sym int, number func(int) int) int {
	if sym > 29 {
		panic(errSlow)
	}
	base := 1
	for s := 0; ; s++ {
		extra := max(0, s/2-1)
		if s == sym {
			return base + number(extra)
		}
		base += 1 << extra
	}
}
