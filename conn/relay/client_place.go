package relay

// place is a position, and whether its batch has more records after it.
type place struct {
	Position
	rest rest
}

// rest says what is known of the records of a batch after a place.
type rest uint8

const (
	restUnknown rest = iota // nothing is known: the place came from outside
	restMore
	restNone
)

// placeAfter returns the place of a position whose record was not seen.
func placeAfter(p Position) place {
	if p.Sequence == 0 || p.Index == EndOfBatch {
		return place{p, restNone}
	}
	return place{p, restUnknown}
}

// placeOf returns the place of a record.
func placeOf(incarnation uint64, f *dataFrame) place {
	p := place{Position{incarnation, f.sequence, f.index}, restMore}
	if f.last {
		p.rest = restNone
	}
	return p
}

// told returns the position as it is told to gateways and to Save. The last record of a
// batch is told as its end: then nothing is missing, even if the batch is gone by then.
func (p place) told() Position {
	if p.rest == restNone && !p.IsZero() {
		return Position{p.Incarnation, p.Sequence, EndOfBatch}
	}
	return p.Position
}

// covers reports whether everything up to q is at or before p.
func (p place) covers(q place) bool {
	return p.Compare(q.Position) >= 0 || p.Sequence == q.Sequence && p.rest == restNone
}

// order is how a record relates to the place before it.
type order uint8

const (
	orderNext order = iota
	orderRepeated
	orderJumped
)

// order tells whether f is what comes after p.
func (p place) order(f *dataFrame) order {
	switch {
	case (Position{p.Incarnation, f.sequence, f.index}).Compare(p.Position) <= 0:
		return orderRepeated
	case f.expired && f.sequence == p.Sequence && p.rest == restNone:
		return orderRepeated
	case f.expired:
		if f.first == p.Sequence+1 || f.first == p.Sequence && p.rest != restNone {
			return orderNext
		}
	case f.sequence == p.Sequence:
		if f.index == p.Index+1 && p.rest != restNone {
			return orderNext
		}
	case f.sequence == p.Sequence+1 && f.index == 0 && p.rest != restMore:
		return orderNext
	}
	return orderJumped
}

// firstGone returns the first batch of which something after p is missing, where the
// gateway says that batches from first on are gone.
func (p place) firstGone(first uint64) uint64 {
	if p.rest == restNone || p.rest == restUnknown && first == p.Sequence+1 {
		return p.Sequence + 1
	}
	return p.Sequence
}
