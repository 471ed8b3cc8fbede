package transport

import (
	"io"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
)

// Records cut anywhere give the same bytes, and a Read ends at the end of a record, or
// where it is full and the rest of the record is here.
func TestRecordsHandOutWhole(t *testing.T) {
	var stream []byte
	ends := map[int]bool{0: true}
	sizes := []int{0, 1, 4, 5, 100, 5000, 18432, 3, 0, 200, 200, 200, 16406}
	for i, n := range sizes {
		stream = append(stream, 23, 3, 3, byte(n>>8), byte(n))
		stream = append(stream, strings.Repeat(string(rune('a'+i)), n)...)
		ends[len(stream)] = true
	}
	for _, piece := range []int{1, 2, 3, 7, 64, 4096, 100000} {
		for _, room := range []int{517, 1000, 4096, 20000, 70000} {
			a, b := netsim.Pipe(1 << 20)
			b.Write(stream)
			b.Close()
			a.Script(func(netsim.Op, int, int) netsim.Step { return netsim.Step{Max: piece} })
			r := under(a)
			var got []byte
			p := make([]byte, room)
			for {
				n, err := r.Read(p)
				if err != nil {
					if err != io.EOF {
						t.Fatal(err)
					}
					break
				}
				got = append(got, p[:n]...)
				if !ends[len(got)] && n != room {
					t.Fatalf("pieces of %d, room for %d: a read of %d stops within a record at %d", piece, room, n, len(got))
				}
				if !ends[len(got)] && !r.ready() {
					t.Fatalf("pieces of %d, room for %d: the rest of the record at %d is not here", piece, room, len(got))
				}
			}
			if string(got) != string(stream) {
				t.Errorf("pieces of %d, room for %d: other bytes", piece, room)
			}
			r.freeBuffer()
		}
	}
}

// What is no record is handed out at once, for crypto/tls to refuse; and so is the
// beginning of a record behind which nothing comes.
func TestRecordsHandOutTheRest(t *testing.T) {
	for _, tt := range []struct{ name, in string }{
		{"another protocol", "SSH-2.0-OpenSSH\r\n"},
		{"too long", "\x17\x03\x03\xff\xff and a bit"},
		{"cut in a header", "\x17\x03"},
		{"cut in a body", "\x17\x03\x03\x00\x09abc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := netsim.Pipe(0)
			r := under(a)
			b.Write([]byte(tt.in))
			if strings.HasPrefix(tt.name, "cut") {
				b.Close()
			}
			p := make([]byte, 1000)
			if n, err := r.Read(p); err != nil || string(p[:n]) != tt.in {
				t.Fatalf("%q, %v", p[:n], err)
			}
			b.Close()
			if n, err := r.Read(p); n != 0 || err != io.EOF {
				t.Errorf("then %d, %v", n, err)
			}
			r.freeBuffer()
		})
	}
}

// A record that has not come whole has a buffer of at most twice as much while the rest
// is waited for.
func TestF78RecordsGrowWithWhatCame(t *testing.T) {
	for _, waits := range []bool{false, true} {
		for _, step := range []int{1, 7, 500, 4096, 1 << 20} {
			r := &Records{size: minRecords, max: 128 << 10}
			r.size = r.max // as a busy feed has left it
			for came := 0; came < maxRecord; {
				space := r.space(waits)
				if waits {
					if held := len(r.lent.B); held > max(minRecords, 2*came) {
						t.Fatalf("%d bytes held for %d, in steps of %d", held, came, step)
					}
				}
				n := min(step, len(space), maxRecord-came)
				r.Filled(n)
				came += n
				r.Release()
				if held := len(r.lent.B); !waits && held > 2*max(came, leastRecords) {
					t.Fatalf("%d bytes held behind a Release for %d, in steps of %d", held, came, step)
				}
			}
			r.freeBuffer()
		}
	}
}
