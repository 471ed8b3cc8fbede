package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// nameServer returns a resolver that knows these names, over UDP on loopback.
func nameServer(t *testing.T, names map[string][]string) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		pc.Close()
		<-done
	})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			addresses, known := names[q.Name.String()]
			m.Header = dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionAvailable: true}
			if !known {
				m.RCode = dnsmessage.RCodeNameError
			}
			m.Additionals = nil
			for _, a := range addresses {
				h := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}
				ip := net.ParseIP(a)
				if v4 := ip.To4(); v4 != nil && q.Type == dnsmessage.TypeA {
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: [4]byte(v4)}})
				} else if v4 == nil && q.Type == dnsmessage.TypeAAAA {
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(ip)}})
				}
			}
			if out, err := m.Pack(); err == nil {
				pc.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { // the context's trace would hear of it
		return net.Dial("udp", pc.LocalAddr().String())
	}}
}

// blackHole listens at an address and lets no connection come to be: its queue is full, so the kernel drops what asks for one.
func blackHole(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 0) })
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", address) // the one that a queue of 0 takes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
}

// echoServer listens and returns its port.
func echoServer(t *testing.T) (port string) {
	t.Helper()
	l := newListener(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { echoing(Upgrader{})(nc) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// traced is what a trace hears of finding and connecting.
type traced struct {
	mu    sync.Mutex
	heard []string
	hook  func(string)
}

func (h *traced) context(ctx context.Context) context.Context {
	hear := func(s string) {
		h.mu.Lock()
		h.heard = append(h.heard, s)
		h.mu.Unlock()
		if h.hook != nil {
			h.hook(s)
		}
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:     func(i httptrace.DNSStartInfo) { hear("look up " + i.Host) },
		DNSDone:      func(i httptrace.DNSDoneInfo) { hear(fmt.Sprint("found ", len(i.Addrs))) },
		ConnectStart: func(_, a string) { hear("connect " + a) },
		ConnectDone:  func(_, a string, err error) { hear(fmt.Sprint("done ", a, " ", err == nil)) },
	})
}

// F49: of two addresses of one family the first is a black hole. The second is tried while the first goes on, with the same socket options,
// for the server and for each kind of proxy.
func TestF49TheFirstAddressIsABlackHole(t *testing.T) {
	port := echoServer(t)
	blackHole(t, "127.0.0.2:"+port)
	resolver := nameServer(t, map[string][]string{"two.test.": {"127.0.0.2", "127.0.0.1"}})
	h := new(traced)
	d := &Dialer{Resolver: resolver, HandshakeTimeout: -1, SocketOptions: SocketOptions{ReceiveBuffer: 20_000}}
	c, err := d.Dial(h.context(t.Context()), "ws://two.test.:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	roundTrip(t, c)
	if got := option(t, c.NetConn(), unix.SOL_SOCKET, unix.SO_RCVBUF); got != 40_000 { // the kernel doubles it
		t.Errorf("a receive buffer of %d bytes", got)
	}
	first, second := "127.0.0.2:"+port, "127.0.0.1:"+port
	want := []string{"look up two.test.", "found 2", "connect " + first, "connect " + second, "done " + second + " true", "done " + first + " false"}
	if !slices.Equal(h.heard, want) {
		t.Errorf("heard %q, want %q", h.heard, want)
	}
}

// All attempts are told of in the error when all are refused, and when the context ends.
func TestF49NoAddressAnswers(t *testing.T) {
	l := newListener(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	resolver := nameServer(t, map[string][]string{"three.test.": {"127.0.0.1", "127.0.0.2", "127.0.0.3"}, "holes.test.": {"127.0.0.4", "127.0.0.5"}, "none.test.": {}})
	d := &Dialer{Resolver: resolver}
	_, err := d.Dial(t.Context(), "ws://three.test.:"+port)
	for i := range 3 {
		if address := fmt.Sprint("127.0.0.", i+1, ":", port); !strings.Contains(err.Error(), address) {
			t.Errorf("%s is not in %q", address, err)
		}
	}
	if e := wantDialError(t, err, "connect"); !errors.Is(err, syscall.ECONNREFUSED) || e.Timeout() {
		t.Error(err)
	}

	blackHole(t, "127.0.0.4:"+port)
	blackHole(t, "127.0.0.5:"+port)
	enough := errors.New("enough")
	for _, proxy := range []string{"", "http://holes.test.:" + port, "https://holes.test.:" + port, "socks5://holes.test.:" + port} {
		ctx, cancel := context.WithCancelCause(t.Context())
		h := &traced{hook: func(s string) {
			if s == "connect 127.0.0.5:"+port {
				cancel(enough)
			}
		}}
		d.Proxy, d.HandshakeTimeout = nil, -1
		target, step := "ws://holes.test.:"+port, "connect"
		if proxy != "" {
			d.Proxy, target, step = through(proxy), "ws://h", "proxy"
		}
		_, err = d.Dial(h.context(ctx), target)
		cancel(nil)
		wantDialError(t, err, step)
		if want := fmt.Sprintf("enough (no answer from 127.0.0.4:%s; no answer from 127.0.0.5:%s)", port, port); !errors.Is(err, enough) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}

	for _, name := range []string{"none.test.", "unknown.test."} {
		var e *net.DNSError
		if _, err := (&Dialer{Resolver: resolver}).Dial(t.Context(), "ws://"+name); !errors.As(err, &e) || !e.IsNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
}
