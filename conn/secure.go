package conn

import "io"

// secure is a records as a Conn sees it: it reads the tls.Conn above, and so the records.
type secure records

// gatherSecure is how much data a fill puts together from records that are here: those of a feed with a record per message are
// decoded in runs, and the first of them is not held up for long.
const gatherSecure = 4 << 10

// Fill reads from the tls.Conn. While nothing is there no buffer is held.
func (s *secure) Fill(dst []byte) (int, error) {
	r, t := (*records)(s), s.above
	if r.opens() {
		return r.fillOwn(t, r.sink, dst, gatherSecure)
	}
	if !r.shaken {
		if err := r.shake(t); err != nil {
			return 0, err
		}
	}
	for range maxEmptyReads {
		if !r.ready() {
			r.sink.Release()
			if err := r.wait(); err != nil {
				return 0, err
			}
		}
		space := r.sink.SpaceIn(dst)
		n, err := r.readFrom(t, space)
		for k := 0; err == nil && n < min(gatherSecure, len(space)) && r.ready() && (r.held > 0 || !r.odd(0)); n += k {
			k, err = r.readFrom(t, space[n:])
		}
		if err == errNoWait {
			err = nil
		}
		if n > 0 {
			r.sink.Filled(n)
			return n, err
		}
		if err != nil {
			r.sink.Release()
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}
