package relay

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func newTestSpool(memory int64) *spool {
	return &spool{
		batchBytes: 4096, batchCount: 10, longest: 1000, memory: memory, numbered: true, wake: make(chan struct{}, 1),
	}
}

// drain returns everything in the spool, and how many batches that were.
func (s *spool) drain(t testing.TB) (records []Record, batches int) {
	t.Helper()
	for {
		b, wait, hole, err := s.next(0)
		switch {
		case err != nil:
			t.Fatal(err)
		case hole:
			s.allow()
			continue
		case b == nil && wait > 0:
			time.Sleep(wait)
			continue
		case b == nil:
			return records, batches
		}
		putHeader(b.buf[b.start-batchHeader:], BatchHeader{Count: b.count})
		parsed, err := ParseBatch(bytes.Clone(b.buf[b.start-batchHeader:]))
		if err != nil {
			t.Fatal(err)
		}
		gaps := 0
		for _, r := range parsed.Records() {
			records = append(records, r)
			if r.Kind == Gap {
				gaps++
			}
		}
		if gaps != b.gaps {
			t.Errorf("%d gaps, counted %d", gaps, b.gaps)
		}
		batches++
		s.done(1)
	}
}

func (s *spool) add(from, to uint64) {
	for n := from; n <= to; n++ {
		s.message(Text, fmt.Appendf(nil, "message %d", n), 1, n, n)
	}
}

func TestSpoolTrim(t *testing.T) {
	tests := []struct {
		name string
		fill func(s *spool)
		have coverage
		want string
	}{
		{"nothing", func(s *spool) { s.add(1, 25) }, coverage{0, 0}, "1-25"},
		{"a part of a batch", func(s *spool) { s.add(1, 25) }, coverage{0, 5}, "6-25"},
		{"whole batches", func(s *spool) { s.add(1, 25) }, coverage{0, 20}, "21-25"},
		{"a part of the open one", func(s *spool) { s.add(1, 25) }, coverage{0, 23}, "24-25"},
		{"everything", func(s *spool) { s.add(1, 25) }, coverage{0, 25}, ""},
		{"more", func(s *spool) { s.add(1, 25) }, coverage{0, 99}, ""},
		{"an earlier era", func(s *spool) { s.add(1, 25) }, coverage{1, 0}, ""},
		{"a later era", func(s *spool) { s.add(1, 25) }, coverage{-1, 99}, "1-25"},
		{"a part of a gap", func(s *spool) {
			s.add(1, 5)
			s.gap(Record{Reason: Missing, From: 6, To: 300})
			s.add(301, 302)
		}, coverage{0, 200}, "missing(201-300) 301-302"},
		{"a gap", func(s *spool) {
			s.add(1, 5)
			s.gap(Record{Reason: Missing, From: 6, To: 8})
			s.add(9, 12)
		}, coverage{0, 8}, "9-12"},
		{"before a restart", func(s *spool) {
			s.add(100, 105)
			s.gap(Record{Reason: Restarted, From: 106, To: 1})
			s.add(1, 3)
		}, coverage{0, 103}, "104-105 restarted(106-1) 1-3"},
		{"after a restart", func(s *spool) {
			s.add(100, 105)
			s.gap(Record{Reason: Restarted, From: 106, To: 1})
			s.add(1, 3)
		}, coverage{1, 1}, "2-3"},
		{"a restart without messages", func(s *spool) {
			s.add(100, 105)
			s.gap(Record{Reason: Restarted, From: 106, To: 0})
			s.end()
		}, coverage{0, 105}, "restarted(106-0)"},
	}
	for _, test := range tests {
		s := newTestSpool(1 << 20)
		test.fill(s)
		held := s.state().records
		s.outdate(test.have.era)
		s.trim(test.have)
		if got := s.state().records + int64(s.covered); got != held {
			t.Errorf("%s: %d records, were %d", test.name, got, held)
		}
		records, _ := s.drain(t)
		if got := describeRecords(records); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		if s.held != 0 || s.bytes != 0 {
			t.Errorf("%s: empty, it has %d records and %d bytes", test.name, s.held, s.bytes)
		}
	}
}

// A hole begins a batch, and waits. A batch that begins with a restart is not without a
// message.
func TestSpoolBatches(t *testing.T) {
	s := newTestSpool(1 << 20)
	s.add(1, 3)
	s.gap(Record{Reason: Missing, From: 4, To: 5})
	s.add(6, 7)
	if b, _, _, _ := s.next(time.Hour); b == nil || b.count != 3 {
		t.Fatalf("before the hole: %+v", b)
	}
	if b, _, hole, _ := s.next(time.Hour); b != nil || !hole {
		t.Fatalf("the hole: %+v", b)
	}
	s.done(1)
	if f, ok := s.look(); !ok || !f.hole || f.From != 4 || f.To != 5 {
		t.Fatalf("front: %+v", f)
	}
	s.allow()
	if b, _, _, _ := s.next(0); b == nil || b.count != 3 || b.first != 4 || b.last != 7 {
		t.Fatalf("after the wait: %+v", b)
	}
	s.gap(Record{Reason: Restarted, From: 8, To: 1})
	if b, wait, _, _ := s.next(0); b != nil || wait != 0 {
		t.Fatalf("half a restart: %+v", b)
	}
	s.add(1, 1)
	if b, _, _, _ := s.next(0); b == nil || b.count != 2 || b.first != 1 || b.last != 1 || b.era != 1 {
		t.Fatalf("the restart: %+v", b)
	}
}

func TestSpoolPrepend(t *testing.T) {
	s := newTestSpool(1 << 20)
	s.add(10, 12)
	s.prepend(Record{Reason: Missing, From: 5, To: 9})
	s.prepend(Record{Reason: Restarted, From: 900, To: 10})
	b, _, _, _ := s.next(0)
	if b.count != 5 || b.gaps != 2 || b.first != 10 || b.last != 12 || !b.restart {
		t.Errorf("%+v", b)
	}
	s.unsend()
	records, _ := s.drain(t)
	if got, want := describeRecords(records), "restarted(900-10) missing(5-9) 10-12"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A spool that is full drops messages, and tells their numbers before the next one.
func TestSpoolFull(t *testing.T) {
	for _, disk := range []bool{false, true} {
		s := newTestSpool(16 << 10)
		if disk {
			files, err := openSpoolFiles(t.TempDir(), "S/1 %")
			if err != nil {
				t.Fatal(err)
			}
			s.files, s.disk = files, 16<<10
		}
		told := 0
		s.onFull = func(bool, error) { told++ }
		s.add(1, 2000)
		if s.dropped == 0 || !s.full || told != 1 {
			t.Fatalf("disk %t: dropped %d, full %t, told %d", disk, s.dropped, s.full, told)
		}
		dropped := s.dropped
		s.gap(Record{Reason: Missing, From: 2001, To: 2005}) // within what is lost
		s.add(2006, 2010)
		kept := 2000 - dropped
		records, _ := s.drain(t)
		if got, want := describeRecords(records), fmt.Sprintf("1-%d", kept); got != want {
			t.Errorf("disk %t: %s, want %s", disk, got, want)
		}
		s.add(2011, 2012)
		s.end()
		records, _ = s.drain(t)
		if got, want := describeRecords(records), fmt.Sprintf("overflowed(%d-2010) 2011-2012", kept+1); got != want {
			t.Errorf("disk %t: %s, want %s", disk, got, want)
		}
		if s.dropped != dropped+5 || s.full || told != 2 || s.held != 0 || s.files.bytes != 0 || s.files.batches != 0 {
			t.Errorf("disk %t: dropped %d, full %t, told %d, held %d, files %+v", disk, s.dropped, s.full, told, s.held, s.files)
		}
	}
}

// A restart while the spool is full is told, after what was dropped.
func TestSpoolFullRestart(t *testing.T) {
	s := newTestSpool(16 << 10)
	s.add(1, 2000)
	kept := 2000 - s.dropped
	s.gap(Record{Reason: Restarted, From: 2001, To: 1})
	s.add(1, 10)
	s.end()
	records, _ := s.drain(t)
	want := fmt.Sprintf("1-%d overflowed(%d-2000) restarted(2001-1) overflowed(1-10)", kept, kept+1)
	if got := describeRecords(records); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Messages go through memory and files in order. A file that is read is removed.
func TestSpoolFiles(t *testing.T) {
	dir := t.TempDir()
	files, err := openSpoolFiles(dir, "S")
	if err != nil {
		t.Fatal(err)
	}
	s := newTestSpool(8 << 10)
	s.files, s.disk = files, 1<<40
	s.batchCount, s.batchBytes, s.longest = 1000, 64<<10, 1<<20
	next, read := uint64(1), uint64(1)
	for round := range 6 {
		for range 3000 {
			s.message(Binary, bytes.Repeat([]byte{byte(next)}, 2000), 1, next, next)
			next++
		}
		for range 60 {
			b, _, _, err := s.next(0)
			if err != nil || b == nil {
				t.Fatal(b, err)
			}
			if b.first != read {
				t.Fatalf("round %d: batch %d..%d, want %d", round, b.first, b.last, read)
			}
			read = b.last + 1
			s.done(1)
		}
	}
	if n := len(s.files.files); n < 2 {
		t.Errorf("%d files", n)
	}
	for read < next {
		b, _, _, err := s.next(0)
		if err != nil || b == nil || b.first != read {
			t.Fatal(b, err)
		}
		read = b.last + 1
		s.done(1)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("files that are left: %v, %v", entries, err)
	}
	if s.held != 0 || s.bytes != 0 || s.files.bytes != 0 {
		t.Errorf("held %d, bytes %d, files %d", s.held, s.bytes, s.files.bytes)
	}
}

// While files cannot be written the spool is full. Nothing is lost that no gap tells: not a
// batch that was being written, nor a restart.
func TestSpoolFileFails(t *testing.T) {
	dir := t.TempDir() + "/later"
	s := newTestSpool(1)
	s.files, s.disk = spoolFiles{dir: dir, prefix: "x"}, 1<<20
	var told []error
	s.onFull = func(full bool, err error) {
		if full != (err != nil) {
			t.Errorf("full %t, %v", full, err)
		}
		told = append(told, err)
	}
	s.add(1, 10) // a batch: it has no place
	s.add(11, 12)
	s.gap(Record{Reason: Restarted, From: 13, To: 1})
	s.add(1, 7)
	if len(told) != 1 || !errors.Is(told[0], ErrSpool) || !errors.Is(told[0], os.ErrNotExist) {
		t.Fatalf("told %v", told)
	}
	if s.dropped != 9 || s.held != 12 {
		t.Errorf("dropped %d, held %d", s.dropped, s.held)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.add(8, 9) // too early
	s.retry = time.Now()
	s.add(10, 25)
	if len(told) != 2 || told[1] != nil || len(s.after) > 0 || s.files.batches == 0 {
		t.Errorf("told %v, %d batches in memory, %d in files", told, len(s.after), s.files.batches)
	}
	s.end()
	records, _ := s.drain(t)
	want := "1-10 overflowed(11-12) restarted(13-1) overflowed(1-9) 10-25"
	if got := describeRecords(records); got != want || s.bytes != 0 || s.held != 0 {
		t.Errorf("%s, want %s; held %d in %d bytes", got, want, s.held, s.bytes)
	}
}

// What files did not take is next when they are empty.
func TestSpoolFileFailsUntilRead(t *testing.T) {
	dir := t.TempDir()
	s := newTestSpool(1)
	s.files, s.disk = spoolFiles{dir: dir, prefix: "x"}, 1<<20
	s.add(1, 30)
	s.files.files[0].Close() // nothing more is written to it
	file, err := os.Open(s.files.files[0].Name())
	if err != nil {
		t.Fatal(err)
	}
	s.files.files[0].File = file
	s.add(31, 50)
	records, _ := s.drain(t)
	if got := describeRecords(records); got != "1-40" {
		t.Fatalf("%s; dropped %d", got, s.dropped)
	}
	s.add(51, 52)
	s.end()
	records, _ = s.drain(t)
	if got := describeRecords(records); got != "overflowed(41-50) 51-52" || s.dropped != 10 {
		t.Errorf("%s; dropped %d", got, s.dropped)
	}
}

// Records that were stored late are skipped by their count: whole batches, parts of one,
// and those in files.
func TestSpoolSkip(t *testing.T) {
	for _, memory := range []int64{1, 1 << 20} {
		for n := uint64(0); n <= 35; n++ {
			s := newTestSpool(memory)
			s.numbered = false
			if memory == 1 {
				s.files, s.disk = spoolFiles{dir: t.TempDir(), prefix: "x"}, 1<<20
			}
			s.add(1, 12)
			s.gap(Record{Reason: Disconnected})
			s.add(13, 34)
			gaps := s.skip(n)
			if want := n >= 13; (gaps == 1) != want || s.held != int64(35-n) {
				t.Fatalf("%d skipped: %d gaps, %d records left", n, gaps, s.held)
			}
			records, _ := s.drain(t)
			if len(records) != int(35-n) {
				t.Fatalf("%d skipped: %d records", n, len(records))
			}
			for i, r := range records {
				number := n + uint64(i) + 1
				if number > 13 {
					number--
				} else if number == 13 {
					number = 0
				}
				if r.From != number || (r.Kind == Gap) != (number == 0) {
					t.Fatalf("%d skipped: record %d is %+v", n, i, r)
				}
			}
			s.files.close()
		}
	}
}

// A passive ingester whose newest messages are never in the stream yet keeps little.
func TestSpoolOfPassive(t *testing.T) {
	s := newTestSpool(1 << 20)
	for n := uint64(3); n < 10_000; n++ {
		s.add(n, n)
		s.trim(coverage{0, n - 2})
		if s.bytes > 64<<10 || s.held > 2 {
			t.Fatalf("message %d: %d records in %d bytes", n, s.held, s.bytes)
		}
	}
	records, _ := s.drain(t)
	if got := describeRecords(records); got != "9998-9999" {
		t.Error(got)
	}
}

// The goroutine that receives allocates nothing.
func TestSpoolAllocates(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates")
		return
	}
	s := newTestSpool(64 << 20)
	s.batchBytes, s.batchCount = DefaultBatchBytes, DefaultBatchCount
	data := bytes.Repeat([]byte("x"), 200)
	run := func() {
		for n := range uint64(10_000) {
			s.message(Text, data, 1, n, n)
			if b, _, _, _ := s.next(time.Hour); b != nil {
				s.done(1)
			}
		}
	}
	run()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run()
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > 0 {
		t.Errorf("%d allocations in 10,000 messages", n)
	}
	if n := testing.AllocsPerRun(10, run); n > 0 {
		t.Errorf("%v allocations a run", n)
	}
}

func BenchmarkSpoolMessage(b *testing.B) {
	s := newTestSpool(64 << 20)
	s.batchBytes, s.batchCount = DefaultBatchBytes, DefaultBatchCount
	data := bytes.Repeat([]byte("x"), 200)
	b.ReportAllocs()
	for n := range uint64(b.N) {
		s.message(Text, data, 1, n, n)
		if n%DefaultBatchCount == 0 {
			if batch, _, _, _ := s.next(time.Hour); batch != nil {
				s.done(1)
			}
		}
	}
}
