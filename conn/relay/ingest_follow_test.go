package relay

import (
	"fmt"
	"testing"
	"time"
)

// What a passive ingester makes of the front of its spool when it takes over.
func TestIngestTakeOver(t *testing.T) {
	restart := func(from, to uint64) func(s *spool) {
		return func(s *spool) { s.gap(Record{Reason: Restarted, From: from, To: to}) }
	}
	add := func(from, to uint64) func(s *spool) { return func(s *spool) { s.add(from, to) } }
	tests := []struct {
		name   string
		tail   ingestTail
		offset int64
		linked bool
		fill   []func(s *spool)
		over   bool // it takes over at once
		want   string
		era    uint32 // of the last batch
	}{
		{"empty stream", ingestTail{}, 0, true, []func(*spool){add(5, 9)}, true, "5-9", 0},
		{"a stream whose last batch is gone", ingestTail{sequence: 7}, 0, true, []func(*spool){add(5, 9)}, true, "5-9", 0},
		{"in step", tailOf(3, 4), 3, true, []func(*spool){add(5, 9)}, true, "5-9", 3},
		{"late numbers", tailOf(3, 7), 3, true, []func(*spool){add(5, 9)}, true, "8-9", 3},
		{"only late numbers", tailOf(3, 9), 3, true, []func(*spool){add(5, 9)}, false, "", 0},
		{"numbers that nobody has", tailOf(3, 4), 3, true, []func(*spool){add(7, 9)}, true, "missing(5-6) 7-9", 3},
		{"a restart of its own", tailOf(3, 4), 3, true, []func(*spool){restart(5, 1), add(1, 2)}, true, "restarted(5-1) 1-2", 4},
		{"a restart that nobody saw", tailOf(3, 20_000), 3, false, []func(*spool){add(7, 9)}, true, "restarted(20001-7) 7-9", 4},
		{"a restart that only others saw", tailOf(4, 7), 3, true, []func(*spool){add(7, 9)}, false, "8-9", 4},
		{"one, and all is there", tailOf(4, 10), 3, true, []func(*spool){add(7, 9)}, false, "", 0},
		{"one, and another since", tailOf(4, 20_000), 3, true, []func(*spool){add(7, 9)}, true, "restarted(20001-7) 7-9", 5},
		{"nothing", tailOf(3, 4), 3, true, nil, false, "", 0},
	}
	for _, test := range tests {
		s := newTestSpool(1 << 20)
		for _, fill := range test.fill {
			fill(s)
		}
		a := &appender{in: &Ingester{Number: feedNumber}, s: s, tail: test.tail}
		a.eras = ingestEras{met: true, offset: test.offset, linked: test.linked}
		if got := a.takeOver(); got != test.over {
			t.Errorf("%s: %t", test.name, got)
		}
		era := uint32(0)
		if f, ok := s.look(); ok {
			era = a.eras.of(f.era)
		}
		records, _ := s.drain(t)
		if got := describeRecords(records); got != test.want || era != test.era {
			t.Errorf("%s: %q in era %d, want %q in era %d", test.name, got, era, test.want, test.era)
		}
	}
}

func tailOf(era uint32, last uint64) ingestTail {
	return ingestTail{sequence: 1, known: true, BatchHeader: BatchHeader{Era: era, Last: last, First: last, Count: 1}}
}

// How the eras of the spool and of the stream find together.
func TestIngestErasAdopt(t *testing.T) {
	const patience = time.Second
	now := time.Now()
	long := now.Add(-time.Hour)
	tests := []struct {
		name   string
		end    spoolState
		tail   ingestTail
		apart  time.Duration // for so long already
		offset int64         // was 5
	}{
		{"together", spoolState{newest: 90, began: long, latest: now}, tailOf(5, 100), 0, 5},
		{"nothing has come", spoolState{}, tailOf(6, 100), time.Hour, 5},
		{"behind, just now", spoolState{newest: 90, began: long, latest: now}, tailOf(6, 100), 0, 5},
		{"behind for a while", spoolState{newest: 90, began: long, latest: now}, tailOf(6, 100), 2 * patience, 6},
		{"behind, and only just begun", spoolState{newest: 90, began: now, latest: now}, tailOf(6, 100), 0, 6},
		{"behind, with other numbers", spoolState{newest: 90_000, began: long, latest: now}, tailOf(6, 100), 2 * patience, 5},
		{"behind, and nothing comes", spoolState{newest: 90, began: long, latest: long}, tailOf(6, 100), 2 * patience, 5},
		{"ahead for a while", spoolState{era: 1, newest: 90, due: 80, began: long, latest: now}, tailOf(5, 100), 2 * patience, 4},
		{"ahead, in lower numbers", spoolState{era: 1, newest: 70, due: 80, began: long, latest: now}, tailOf(5, 100), 2 * patience, 5},
		{"ahead, in lower numbers for long", spoolState{era: 1, newest: 70, due: 80, began: long, latest: now}, tailOf(5, 100), 20 * patience, 4},
	}
	for _, test := range tests {
		e := ingestEras{met: true, offset: 5, linked: true}
		if test.apart > 0 {
			e.apart = now.Add(-test.apart)
		}
		e.adopt(test.end, test.tail, patience)
		if e.offset != test.offset {
			t.Errorf("%s: offset %d, want %d", test.name, e.offset, test.offset)
		}
	}
}

// The text of a state.
func TestIngestStateText(t *testing.T) {
	for want, s := range map[string]IngestState{
		"passive":                            {},
		"active":                             {Active: true},
		"active, spool full":                 {Active: true, SpoolFull: true},
		"active, spool full, spool: no room": {Active: true, SpoolFull: true, Spool: fmt.Errorf("%w: no room", ErrSpool)},
		"passive, engine: relay: the stream is full": {Engine: ErrStreamFull},
	} {
		if got := s.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
