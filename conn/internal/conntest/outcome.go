package conntest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
)

// An Outcome is what a client of a puppet has received, and what the puppet has.
type Outcome struct {
	Got   []string // messages, or bytes
	Err   string   // with the type of each wrapped error
	After string   // the result of a write after it
	Peer  []string
}

// DescribeError returns an error's text and the types of all that it wraps.
func DescribeError(err error) string {
	if err == nil {
		return "nil"
	}
	s := err.Error()
	for e := err; e != nil; e = errors.Unwrap(e) {
		s += fmt.Sprintf(" < %T", e)
	}
	return s
}

// Scripts is the number of scripts that tests play: each ending several times, after
// different feeds.
func Scripts() int {
	n := 6 * len(puppetEnds)
	if testing.Short() || RaceEnabled {
		n = len(puppetEnds)
	}
	return n
}

// SuiteOfScript returns the cipher suite for a script.
func SuiteOfScript(script int) uint16 {
	return []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384}[script/len(puppetEnds)%2]
}

// PieceOfScript bounds the reads of the socket, so that records arrive in pieces.
func PieceOfScript(script int) int {
	return []int{0, 7, 1000, 300}[script/len(puppetEnds)%4]
}

// Compare fails t if o differs from want.
func (o Outcome) Compare(t *testing.T, want Outcome) {
	t.Helper()
	if !slices.Equal(o.Got, want.Got) {
		t.Errorf("got %d: %.100q\nwant %d: %.100q", len(o.Got), o.Got, len(want.Got), want.Got)
	}
	if o.Err != want.Err {
		t.Errorf("error %s\nwant  %s", o.Err, want.Err)
	}
	if o.After != want.After {
		t.Errorf("behind it a write: %s, want %s", o.After, want.After)
	}
	if !slices.Equal(o.Peer, want.Peer) {
		t.Errorf("the peer got  %.100q\nwant %.100q", o.Peer, want.Peer)
	}
}

// A Client does a client's handshake over a connection.
type Client func(nc net.Conn) (*tls.Conn, error)

// Puppets returns a client and a puppet after their handshake. The client reads at most
// piece bytes at a time; 0 means no bound.
func Puppets(t testing.TB, client Client, suite uint16, piece int, prepare func(*Puppet)) (*tls.Conn, *Puppet, *netsim.Conn) {
	t.Helper()
	a, b := netsim.Pipe(4 << 20)
	if piece > 0 {
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			if op == netsim.Read {
				return netsim.Step{Max: piece}
			}
			return netsim.Step{}
		})
	}
	p := NewPuppet(b, suite)
	if prepare != nil {
		prepare(p)
	}
	shaken := make(chan error, 1)
	go func() { shaken <- p.Handshake() }()
	c, err := client(a)
	if err := errors.Join(err, <-shaken); err != nil {
		t.Fatal(err)
	}
	return c, p, a
}

// PlayScript makes a puppet play a script. read then reads to the end. PlayScript returns
// the outcome.
func PlayScript(t *testing.T, client Client, script int, prepare func(*Puppet), read func(*tls.Conn, *netsim.Conn) Outcome) Outcome {
	t.Helper()
	c, p, a := Puppets(t, client, SuiteOfScript(script), PieceOfScript(script), prepare)
	if err := Perform(p, script); err != nil {
		t.Fatal(err)
	}
	if err := p.Conn.(*netsim.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	o := read(c, a)
	a.Close()
	o.Peer = p.Drain()
	p.Conn.Close()
	return o
}

// Opened returns a client after its handshake with a puppet, and the puppet's Play.
func Opened(t testing.TB, client Client) (*tls.Conn, *Play) {
	t.Helper()
	c, p, a := Puppets(t, client, tls.TLS_AES_128_GCM_SHA256, 0, func(p *Puppet) { p.Raw = true })
	t.Cleanup(func() { a.Close(); p.Conn.Close() })
	return c, &Play{Puppet: p, Rand: rand.New(rand.NewPCG(1, 1))}
}
