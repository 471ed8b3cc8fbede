package peers

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
)

// compare reads a stream with every library. It returns the rows of the table that were
// met, and an error for a difference outside the table. A stream may be cut inside a
// header that tickwire has judged already. A library that reached the end without another
// message may then have waited for the rest.
func compare(role reference.Role, stream []byte, cut bool) (met []*Difference, err error) {
	all := All()
	ours := all[0].Read(role, stream)
	rule := ""
	var broken *frame.ProtocolError
	if errors.As(ours.Refused, &broken) {
		rule = broken.Rule
	}
	for _, p := range all[1:] {
		theirs := p.Read(role, stream)
		same := slices.Equal(ours.Messages, theirs.Messages)
		if same && ((ours.Refused == nil) == (theirs.Refused == nil) || cut && theirs.Refused == nil) {
			continue
		}
		d, rule := Expected(p.Name, rule, theirs.Refused), rule
		if d == nil && cut {
			d, rule = Expected(p.Name, "", theirs.Refused), "" // the library failed before the bytes that tickwire refuses
		}
		if d == nil || rule == "" && !oneMore(ours.Messages, theirs.Messages) {
			err = errors.Join(err, fmt.Errorf("%s as a %s: %v; tickwire: %v", p.Name, role, theirs, ours))
			continue
		}
		met = append(met, d)
	}
	return met, err
}

// oneMore reports whether the second list is the first, or has one more message.
func oneMore(a, b []Message) bool {
	return len(b) <= len(a)+1 && len(b) >= len(a) && slices.Equal(a, b[:len(a)])
}

// TestStreams reads the named streams with every library. They accept and refuse the same
// streams, with the same messages, except for the differences of the table. Each of those
// is met.
func TestStreams(t *testing.T) {
	met := map[*Difference]int{}
	for _, role := range []reference.Role{reference.Server, reference.Client} {
		for _, s := range append(reference.Streams(role), reference.LargeStreams(role)...) {
			if s.Options != (reference.Options{}) {
				continue
			}
			rows, err := compare(role, s.Bytes, false)
			if err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
			for _, d := range rows {
				met[d]++
			}
		}
	}
	for i := range Differences {
		d := &Differences[i]
		t.Logf("%d streams: %s, %q%s: %s. %s", met[d], d.Peer, d.Rule, d.Refusal, d.Found, d.RFC)
		if met[d] == 0 {
			t.Errorf("no stream shows the difference %+v", *d)
		}
	}
}

// TestGolden reads the examples of RFC 6455 with every library.
func TestGolden(t *testing.T) {
	for _, v := range reference.Golden() {
		if v.Options.Compression {
			continue
		}
		for _, p := range All() {
			o := p.Read(v.To, v.Wire)
			want := 1
			if v.Message == "" {
				want = 0
			}
			if o.Refused != nil || len(o.Messages) != want || want == 1 && o.Messages[0].Data != v.Message {
				t.Errorf("%s, %s: %v", p.Name, v.Meaning, o)
			}
		}
	}
}

// FuzzPeers looks for differences outside the table. The stream has no masks; for a
// server it gets them.
func FuzzPeers(f *testing.F) {
	for _, s := range reference.Streams(reference.Client) {
		if s.Options == (reference.Options{}) {
			f.Add(s.Bytes, false)
			f.Add(s.Bytes, true)
		}
	}
	for _, s := range reference.Streams(reference.Server) {
		f.Add(s.Bytes, true)
	}
	f.Fuzz(func(t *testing.T, stream []byte, server bool) {
		if len(stream) > 4096 {
			return
		}
		defer replay.Watchdog(t.Name(), time.Second)()
		role := reference.Client
		if server {
			role, stream = reference.Server, replay.Masked(stream)
		}
		if _, err := compare(role, stream, true); err != nil {
			t.Fatal(err)
		}
	})
}
