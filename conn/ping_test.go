package conn

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// A pong answers its ping and those before it, and no later one (RFC 6455 §5.5.3); a pong
// that answers none counts for nothing.
func TestPongAnswersPingsUpToItsOwn(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, Config{}, 0)
		defer c.Close()
		go func() { _, _ = c.ReadMessage() }()
		var payloads [4][]byte
		answered := make(chan int, len(payloads))
		for i := range payloads {
			go func() {
				if _, err := c.Ping(t.Context()); err == nil {
					answered <- i
				}
			}()
			m, err := p.r.Next()
			if err != nil || m.Opcode != frame.Ping {
				t.Fatal(m, err)
			}
			payloads[i] = bytes.Clone(m.Data)
		}
		later := bytes.Clone(payloads[3])
		later[len(later)-1]++
		for _, step := range []struct {
			pong []byte
			want []int
		}{
			{later, nil},
			{payloads[0], []int{0}},
			{payloads[0], nil},
			{payloads[2], []int{1, 2}},
			{payloads[3], []int{3}},
		} {
			p.send(p.frame(frame.Header{Fin: true, Opcode: frame.Pong}, step.pong))
			synctest.Wait()
			var got []int
			for len(answered) > 0 {
				got = append(got, <-answered)
			}
			if slices.Sort(got); !slices.Equal(got, step.want) {
				t.Errorf("pong %x answered %v, want %v", step.pong, got, step.want)
			}
		}
	})
}
