package conn

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// lateWriter is a connection whose write that fails returns only after the read that
// follows has ended: what a kernel told the write, the read's goroutine meets first.
type lateWriter struct {
	*net.TCPConn
	armed  chan struct{} // closed: reads wait for the failure
	failed chan struct{} // closed once a write has failed
	read   chan struct{} // closed once a read has ended after that
}

func (l *lateWriter) Read(b []byte) (int, error) {
	select {
	case <-l.armed:
		<-l.failed
	default:
	}
	n, err := l.TCPConn.Read(b)
	if err != nil {
		close(l.read)
	}
	return n, err
}

func (l *lateWriter) Write(b []byte) (int, error) {
	n, err := l.TCPConn.Write(b)
	if err != nil {
		close(l.failed)
		<-l.read
		time.Sleep(time.Millisecond)
	}
	return n, err
}

func (l *lateWriter) NetConn() net.Conn { return l.TCPConn }

// A kernel tells a reset to one call. If a write has it, the read that meets the end of
// the stream before that write has returned still ends with the cause.
func TestResetThatAWriteWasTold(t *testing.T) {
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			l := newListener(t)
			serverTLS, clientTLS := testCertificate(t)
			accepted := make(chan *net.TCPConn, 1)
			go func() {
				defer close(accepted)
				nc, err := l.Accept()
				if err != nil {
					return
				}
				stream := nc
				if scheme == "wss" {
					stream = tls.Server(nc, serverTLS)
				}
				if _, err := (&Upgrader{Config: Config{KeepAlive: -1}}).Accept(stream); err != nil {
					t.Error(err)
					return
				}
				accepted <- nc.(*net.TCPConn)
			}()
			late := &lateWriter{armed: make(chan struct{}), failed: make(chan struct{}), read: make(chan struct{})}
			d := Dialer{TLSConfig: clientTLS, Config: Config{KeepAlive: -1}}
			d.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, address)
				if err == nil {
					late.TCPConn = nc.(*net.TCPConn)
				}
				return late, err
			}
			client, err := d.Dial(t.Context(), scheme+"://"+l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server := <-accepted
			if server == nil {
				t.Fatal("no server")
			}
			close(late.armed)
			ended := make(chan error, 1)
			go func() {
				_, err := client.ReadMessage()
				ended <- err
			}()
			server.SetLinger(0)
			server.Close()
			wrote := writeOut(client)
			wantTransport(t, wrote, syscall.ECONNRESET)
			err = <-ended
			wantTransport(t, err, syscall.ECONNRESET)
			wantTransport(t, err, io.EOF)
			if again := client.WriteMessage(frame.Text, nil); again != err {
				t.Errorf("a later write returns %v", again)
			}
		})
	}
}

// A reset that comes after the end of the stream is told to nobody: no write is waited for.
func TestResetAfterTheEnd(t *testing.T) {
	l := newListener(t)
	nc := connectRaw(t, l.Addr())
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	peer.Close() // a FIN; what comes then is answered with a reset
	if _, err := nc.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); !dropped(t, nc); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no reset came")
		}
	}
	if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	if toldOfReset(nc) {
		t.Error("nobody was told")
	}
}

// dropped reports whether the kernel has dropped a connection.
func dropped(t *testing.T, nc net.Conn) (closed bool) {
	t.Helper()
	raw, err := rawSocket(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		closed = err == nil && info.State == unix.BPF_TCP_CLOSE
	}); err != nil {
		t.Fatal(err)
	}
	return closed
}
