package peers

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/net/nettest"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
)

// streams opens a connection over loopback and returns a conn.Stream on each end.
func streams(op conn.Opcode, cfg conn.Config) (client, server *conn.Stream, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, nil, err
	}
	accepted := make(chan *conn.Conn, 1)
	s := &conn.Server{Upgrader: conn.Upgrader{Config: cfg}, Handler: func(c *conn.Conn) { accepted <- c; <-c.Done() }}
	go s.Serve(l)
	c, err := (&conn.Dialer{Config: cfg}).Dial(context.Background(), "ws://"+l.Addr().String())
	if err != nil {
		s.Close()
		return nil, nil, nil, err
	}
	client, server = conn.NewStream(c, op), conn.NewStream(<-accepted, op)
	return client, server, func() { client.Close(); server.Close(); s.Close() }, nil
}

// A Stream passes the tests of golang.org/x/net for a net.Conn, with either end as the
// first.
func TestStreamIsANetConn(t *testing.T) {
	for name, cfg := range map[string]conn.Config{"plain": {}, "compressed": {Deflate: &deflate.Config{}}} {
		t.Run(name+"/client", func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				a, b, stop, err := streams(conn.Binary, cfg)
				return a, b, stop, err
			})
		})
		t.Run(name+"/server", func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				a, b, stop, err := streams(conn.Binary, cfg)
				return b, a, stop, err
			})
		})
	}
}

// Echo is a service of net/rpc.
type Echo struct{}

// Repeat returns n bytes.
func (Echo) Repeat(n int, reply *[]byte) error {
	if n < 0 {
		return errors.New("negative")
	}
	*reply = make([]byte, n)
	for i := range *reply {
		(*reply)[i] = byte(i)
	}
	return nil
}

// net/rpc runs over a Stream: many calls at once, large answers, errors of the service,
// and a clean end.
func TestStreamCarriesRPC(t *testing.T) {
	a, b, stop, err := streams(conn.Binary, conn.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	server := rpc.NewServer()
	if err := server.Register(Echo{}); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { server.ServeConn(b); close(served) }()
	client := rpc.NewClient(a)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			var reply []byte
			n := i * 4001
			if err := client.Call("Echo.Repeat", n, &reply); err != nil || len(reply) != n || n > 0 && reply[n-1] != byte(n-1) {
				t.Errorf("%d bytes, want %d: %v", len(reply), n, err)
			}
		})
	}
	all.Wait()
	if err := client.Call("Echo.Repeat", -1, new([]byte)); err == nil || err.Error() != "negative" {
		t.Error(err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	<-served
}

// ssh does its handshake over a Stream, and carries a channel with data both ways.
func TestStreamCarriesSSH(t *testing.T) {
	a, b, stop, err := streams(conn.Binary, conn.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	serving := make(chan error, 1)
	go func() { serving <- serveSSH(b, signer) }()
	c, chans, requests, err := ssh.NewClientConn(a, a.RemoteAddr().String(), &ssh.ClientConfig{
		User: "ann", Auth: []ssh.AuthMethod{ssh.Password("secret")}, HostKeyCallback: ssh.FixedHostKey(signer.PublicKey())})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(c, chans, requests)
	channel, rest, err := client.OpenChannel("echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(rest)
	sent := make([]byte, 1<<20)
	_, _ = rand.Read(sent)
	go func() { _, _ = channel.Write(sent); _ = channel.CloseWrite() }()
	got, err := io.ReadAll(channel)
	if err != nil || string(got) != string(sent) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	client.Close()
	if err := <-serving; err != nil {
		t.Error(err)
	}
}

func serveSSH(nc net.Conn, signer ssh.Signer) error {
	cfg := &ssh.ServerConfig{PasswordCallback: func(m ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if m.User() != "ann" || string(password) != "secret" {
			return nil, fmt.Errorf("%s may not come in", m.User())
		}
		return nil, nil
	}}
	cfg.AddHostKey(signer)
	_, chans, requests, err := ssh.NewServerConn(nc, cfg)
	if err != nil {
		return err
	}
	go ssh.DiscardRequests(requests)
	for c := range chans {
		channel, requests, err := c.Accept()
		if err != nil {
			return err
		}
		go ssh.DiscardRequests(requests)
		if _, err := io.Copy(channel, channel); err != nil {
			return err
		}
		if err := channel.Close(); err != nil {
			return err
		}
	}
	return nil
}
