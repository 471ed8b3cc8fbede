package netsim

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var _ net.Conn = (*Conn)(nil)

func TestPipe(t *testing.T) {
	a, b := Pipe(4)
	go func() {
		a.Write([]byte("hello, world"))
		a.Close()
	}()
	got, err := io.ReadAll(b)
	if err != nil || string(got) != "hello, world" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write to a closed end: %v", err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read on a closed end: %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(4)
		start := time.Now()
		a.SetDeadline(start.Add(time.Second))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		a.SetDeadline(time.Now().Add(time.Second))
		if n, err := a.Write([]byte("12345678")); n != 4 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%d, %v", n, err)
		}
		go func() {
			time.Sleep(time.Second)
			a.SetReadDeadline(time.Now().Add(time.Second))
		}()
		a.SetReadDeadline(time.Time{})
		start = time.Now()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 2*time.Second {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		a.Reset()
		if _, err := b.Read(make([]byte, 8)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
	})
}

func TestScript(t *testing.T) {
	a, b := Pipe(0)
	b.Write([]byte("abcdef"))
	boom := errors.New("boom")
	a.Script(func(op Op, call, n int) Step {
		return []Step{{}, {Max: 1}, {Max: -1}, {Max: 2, Err: boom}, {Err: boom}, {Max: 1, Err: boom}, {Max: 1, Short: true}}[call]
	})
	p := make([]byte, 8)
	for i, want := range []struct {
		n   int
		err error
	}{{1, nil}, {0, nil}, {2, boom}, {0, boom}} {
		if n, err := a.Read(p); n != want.n || err != want.err {
			t.Errorf("read %d: %d, %v", i, n, err)
		}
	}
	if n, err := a.Write(p[:4]); n != 1 || err != boom {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := a.Write(p[:4]); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if r, w := a.Calls(); r != 4 || w != 2 {
		t.Errorf("%d reads, %d writes", r, w)
	}
}
