package relay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// What a direct get leaves out is told as gone only below the oldest sequence of the
// stream. Elsewhere it may have been lost on the way.
func TestGatewayHoles(t *testing.T) {
	f := &feed{stream: newStream(&Gateway{}, "holes")}
	data, err := AppendBatch(nil, BatchHeader{}, Record{Kind: Text, Data: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		got                   []uint64
		first, from, to, clip uint64
		want                  string
	}{
		{[]uint64{5, 6, 7}, 1, 5, 7, 7, "5 6 7"},
		{[]uint64{5, 7, 8}, 1, 5, 8, 8, "5"},
		{[]uint64{5, 6, 8}, 1, 5, 8, 8, "5 6"},
		{[]uint64{5, 8}, 6, 5, 8, 8, "5"},
		{[]uint64{5, 8}, 7, 5, 8, 8, "5 gone 6-6"},
		{[]uint64{5, 8}, 8, 5, 8, 8, "5 gone 6-7 8"},
		{[]uint64{5, 8}, 20, 5, 8, 8, "5 gone 6-7 8"},
		{[]uint64{8, 9}, 8, 5, 9, 9, "gone 5-7 8 9"},
		{[]uint64{8, 9}, 7, 5, 9, 9, "gone 5-6"},
		{[]uint64{8, 9}, 5, 5, 9, 9, "hole"},
		{[]uint64{8, 9}, 1, 5, 9, 9, "hole"},
		{[]uint64{12}, 12, 5, 8, 10, "gone 5-10"},
		{[]uint64{12}, 12, 5, 8, 20, "gone 5-11"},
		{[]uint64{8, 10, 12}, 12, 8, 10, 10, "8 gone 9-9 10"},
	} {
		var got []stored
		for _, sequence := range test.got {
			got = append(got, stored{sequence: sequence, data: data})
		}
		packets, err := f.packets(got, test.first, test.from, test.to, test.clip)
		var told []string
		for _, p := range packets {
			if p.gone {
				told = append(told, fmt.Sprintf("gone %d-%d", p.first, p.last))
			} else {
				told = append(told, fmt.Sprint(p.first))
			}
		}
		if errors.Is(err, errHole) {
			told = append(told, "hole")
		} else if err != nil {
			t.Error(err)
		}
		if text := strings.Join(told, " "); text != test.want {
			t.Errorf("%d of a stream from %d, asked for %d-%d: %s, want %s",
				test.got, test.first, test.from, test.to, text, test.want)
		}
	}
	if _, err := f.packets([]stored{{sequence: 4, data: data}}, 1, 5, 9, 9); err == nil {
		t.Error("an older batch than was asked for is taken")
	}
}

// The leader is asked about a hole: what was deleted is told as gone, one by one, and
// what it has is taken from it.
func TestGatewayDeleted(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "deleted"})
	s.publish(20)
	stream, err := s.js.Stream(t.Context(), "deleted")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"deleted"}})
	p := mustJoin(t, g.url, control{Stream: "deleted", Start: startOldest})
	for want := uint64(1); want <= 20; {
		f, err := p.record()
		if err != nil {
			t.Fatal(err)
		}
		if f.expired != (f.sequence == 10) || f.expired && f.first != 10 {
			t.Errorf("%+v", f)
		}
		if f.last {
			want = f.sequence + 1
		}
	}
	f := g.byName["deleted"].feed
	for sequence, gone := range map[uint64]bool{9: false, 10: true, 11: false} {
		packets, err := f.deleted(t.Context(), sequence)
		if err != nil || len(packets) != 1 || packets[0].gone != gone || packets[0].last != sequence {
			t.Errorf("%d: %+v, %v", sequence, packets, err)
		}
	}
	if _, err := f.deleted(t.Context(), 21); !errors.Is(err, errReplica) {
		t.Errorf("beyond the end: %v", err)
	}
}
