package relay

import (
	"slices"
	"sort"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// packet is a batch as the clients get it, or a range of batches that are gone. It does
// not change.
type packet struct {
	first, last uint64   // sequences; the same for a batch
	time        int64    // the engine's stamp; 0 for what is gone
	body        []byte   // the messages of the subprotocol, one after the other
	ends        []uint32 // of each, in body
	gone        bool
	bad         bool // gone because it is malformed
}

// packetOf returns a batch as a packet. If the batch cannot be parsed the packet says
// that it is gone, and err why.
func packetOf(m stored) (p *packet, err error) {
	b, err := ParseBatch(m.data)
	if err != nil {
		p = gonePacket(m.sequence, m.sequence)
		p.time, p.bad = m.time, true
		return p, err
	}
	p = &packet{first: m.sequence, last: m.sequence, time: m.time}
	p.body = make([]byte, 0, len(m.data)+b.Count*frameHeader/2)
	p.ends = make([]uint32, 0, b.Count)
	for i, r := range b.Records() {
		p.body = appendFrame(p.body, &r, m.sequence, i, i == b.Count-1)
		p.ends = append(p.ends, uint32(len(p.body)))
	}
	return p, nil
}

// gonePacket says that the batches first..last are gone.
func gonePacket(first, last uint64) *packet {
	body := appendExpired(nil, first, last)
	return &packet{first: first, last: last, body: body, ends: []uint32{uint32(len(body))}, gone: true}
}

// message returns a message of the subprotocol.
func (p *packet) message(i int) []byte {
	start := uint32(0)
	if i > 0 {
		start = p.ends[i-1]
	}
	return p.body[start:p.ends[i]]
}

// plain returns a message for clients without the subprotocol; ok is false for a gap.
func plain(message []byte) (op conn.Opcode, data []byte, ok bool) {
	switch Kind(message[0] &^ lastOfBatch) {
	case Text:
		return conn.Text, message[frameHeader:], true
	case Binary:
		return conn.Binary, message[frameHeader:], true
	}
	return 0, nil, false
}

// size returns the bytes of memory that a packet takes, about.
func (p *packet) size() int64 { return int64(cap(p.body)+4*cap(p.ends)) + 128 }

const (
	// takeBatches and takeBytes limit what a replay holds while it writes.
	takeBatches = 32
	takeBytes   = 256 << 10
)

// take returns a copy of packets from the one with a sequence on, as many as a replay may
// hold. packets follow each other. It returns none if they do not have the sequence.
func take(packets []*packet, sequence uint64) []*packet {
	from := sort.Search(len(packets), func(i int) bool { return packets[i].last >= sequence })
	if from == len(packets) || packets[from].first > sequence {
		return nil
	}
	to, bytes := from, 0
	for to < len(packets) && to-from < takeBatches && (to == from || bytes+len(packets[to].body) <= takeBytes) {
		bytes += len(packets[to].body)
		to++
	}
	return slices.Clone(packets[from:to])
}
