package conn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// The peers of this file send TLS records to connections that open them: Dialer.OpenRecords.

// openedRecordsEnv is about how many records each test of a long feed reads.
const openedRecordsEnv = "TICKWIRE_TEST_RECORDS"

// openedRecords returns it, or few where it is not set.
func openedRecords(few int) int {
	fmt.Sscan(os.Getenv(openedRecordsEnv), &few)
	return few
}

// peerMessage is message i of a feed that a peer is asked for.
func peerMessage(i int) []byte { return peerDigits[:100+14*(i%64)] }

var peerDigits = bytes.Repeat([]byte("0123456789"), 100)

// echoOrFeed is the server of which converse and readFeed are clients: a message "feed 5"
// asks for 5 messages, any other for itself.
func echoOrFeed(c *Conn) {
	defer c.Close()
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return
		}
		count, feed := strings.CutPrefix(string(m.Data[:min(len(m.Data), 20)]), "feed ")
		if !feed {
			if c.WriteMessage(m.Opcode, m.Data) != nil {
				return
			}
			continue
		}
		n, _ := strconv.Atoi(count)
		for i := range n {
			if c.WriteMessage(Text, peerMessage(i)) != nil {
				return
			}
		}
	}
}

// readFeed asks an echoOrFeed for n messages and reads them.
func readFeed(t *testing.T, c *Conn, n int) {
	t.Helper()
	if err := c.WriteMessage(Text, fmt.Appendf(nil, "feed %d", n)); err != nil {
		t.Fatal(err)
	}
	before := c.Stats()
	for i := range n {
		m, err := c.ReadMessage()
		if err != nil || string(m.Data) != string(peerMessage(i)) {
			t.Fatalf("message %d: %d bytes, %v", i, len(m.Data), err)
		}
	}
	after := c.Stats()
	t.Logf("%d messages, %d bytes, %d reads", n, after.BytesRead-before.BytesRead, after.Reads-before.Reads)
}

// dialResumed opens three connections that open their records, and has use end each. All
// but the first resume.
func dialResumed(t *testing.T, url string, cfg *tls.Config, use func(i int, c *Conn)) {
	t.Helper()
	cfg = cfg.Clone()
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	d := &Dialer{TLSConfig: cfg, OpenRecords: true}
	for i := range 3 {
		c, err := d.Dial(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		wantOpened(t, c, i > 0)
		use(i, c)
	}
}

// wantOpened checks that the connection opens its records, and whether it was resumed.
func wantOpened(t *testing.T, c *Conn, resumed bool) {
	t.Helper()
	if i := c.TransportInfo(); i != (TransportInfo{OpensRecords: true}) {
		t.Errorf("%+v", i)
	}
	if s := c.NetConn().(*tls.Conn).ConnectionState(); s.DidResume != resumed {
		t.Errorf("resumed: %v, want %v", s.DidResume, resumed)
	}
}

// serveOpened has a peer that is an echoOrFeed speak with connections that open their
// records, and one that does not.
func serveOpened(t *testing.T, url string, cfg *tls.Config, few int) {
	t.Helper()
	dialResumed(t, url, cfg, func(i int, c *Conn) {
		if i == 1 {
			readFeed(t, c, openedRecords(few))
		}
		converse(t, c, false)
	})
	c, err := (&Dialer{TLSConfig: cfg}).Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	converse(t, c, false)
}

// ws on the TLS of Node.
func TestPeerNode(t *testing.T) {
	p, path := newProgram(t, "node")
	const modules = "NODE_PATH=/usr/share/nodejs" // of Debian's packages
	have := exec.Command(path, "-e", `require("ws")`)
	if have.Env = append(os.Environ(), modules); have.Run() != nil {
		t.Skip("ws for node is not installed")
	}
	certificate, roots := certify(t, nil, "127.0.0.1")
	public, private := pemOf(t, certificate)
	script := p.file(t, "server.js", `const https = require("https"), fs = require("fs"), WebSocket = require("ws")
const server = https.createServer({ cert: fs.readFileSync("c.pem"), key: fs.readFileSync("k.pem"), minVersion: "TLSv1.3" })
server.on("secureConnection", socket => socket.setMaxSendFragment(512))
const digits = "0123456789".repeat(100)
new WebSocket.WebSocketServer({ server }).on("connection", ws => ws.on("message", (m, binary) => {
  const count = /^feed (\d+)$/.exec(m.subarray(0, 20).toString())
  if (!count) return ws.send(m, { binary })
  let i = 0
  const some = () => {
    for (let k = 0; k < 500 && i < +count[1]; k++, i++) ws.send(digits.slice(0, 100 + 14 * (i % 64)))
    if (i < +count[1]) ws.send(digits.slice(0, 100 + 14 * (i++ % 64)), some)
  }
  some()
}))
server.listen(+process.argv[2], "127.0.0.1")
`)
	p.file(t, "c.pem", public)
	p.file(t, "k.pem", private)
	p.env = []string{modules}
	p.start(t, path, script, p.port())
	serveOpened(t, "wss://"+p.address+"/", &tls.Config{RootCAs: roots}, 10_000)
}

// websockets on the TLS of Python.
func TestPeerPython(t *testing.T) {
	p, path := newProgram(t, "/usr/bin/python3") // which Debian's packages are for
	if exec.Command(path, "-c", "import websockets").Run() != nil {
		t.Skip("websockets for Python is not installed")
	}
	certificate, roots := certify(t, nil, "127.0.0.1")
	public, private := pemOf(t, certificate)
	script := p.file(t, "server.py", `import asyncio, re, ssl, sys, websockets

digits = "0123456789" * 100

async def serve(ws):
    async for m in ws:
        count = isinstance(m, str) and re.fullmatch(r"feed (\d+)", m)
        if not count:
            await ws.send(m)
            continue
        for i in range(int(count[1])):
            await ws.send(digits[: 100 + 14 * (i % 64)])

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain("c.pem", "k.pem")
    async with websockets.serve(serve, "127.0.0.1", int(sys.argv[1]), ssl=context, compression=None):
        await asyncio.Future()

asyncio.run(main())
`)
	p.file(t, "c.pem", public)
	p.file(t, "k.pem", private)
	p.start(t, path, script, p.port())
	serveOpened(t, "wss://"+p.address+"/", &tls.Config{RootCAs: roots}, 5000)
}

// gnutls is `gnutls-serv --echo`: it sends back what comes, once a line has ended, but for
// lines that are commands.
type gnutls struct {
	*program
	cfg tls.Config
}

const (
	gnutlsUpdate = "**REHANDSHAKE**\n" // in TLS 1.3 a KeyUpdate that asks for ours
	gnutlsDone   = "Successfully executed command\n"
)

func startGnuTLS(t *testing.T, priority string) *gnutls {
	p, path := newProgram(t, "gnutls-serv")
	certificate, roots := certify(t, nil, "127.0.0.1")
	public, private := pemOf(t, certificate)
	p.chatty = true
	p.start(t, path, "--echo", "--crlf", "--quiet", "--disable-client-cert", "--port", p.port(), "--priority", priority,
		"--x509certfile", p.file(t, "c.pem", public), "--x509keyfile", p.file(t, "k.pem", private))
	return &gnutls{p, tls.Config{RootCAs: roots, ServerName: "127.0.0.1", ClientSessionCache: tls.NewLRUClientSessionCache(1)}}
}

// dial opens a connection that opens its records. The peer cannot answer a WebSocket
// handshake, so there is none.
func (g *gnutls) dial(t *testing.T, open bool) *Conn {
	t.Helper()
	nc, err := net.Dial("tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	secureOpens = open
	defer func() { secureOpens = false }()
	cfg := &Config{KeepAlive: -1}
	client := clientUnderTLS(nc, cfg, &g.cfg)
	if err := shakeClient(client); err != nil {
		t.Fatal(err)
	}
	c := New(client, frame.Client, cfg)
	t.Cleanup(func() { c.Close() })
	return c
}

// gnutlsMessage is a message whose frame, as a server sends it, gnutls-serv sends back: it
// has no byte of zero and ends a line.
func gnutlsMessage(i int) []byte {
	n := 6 + i%100
	if i%3 == 0 {
		n = 257 + i%200
	}
	return append(peerDigits[:n-1:n-1], '\n')
}

// converse has messages sent back, and the keys of both sides updated between any two
// bytes of a frame.
func (g *gnutls) converse(t *testing.T, c *Conn, messages int) {
	t.Helper()
	peer := c.NetConn().(*tls.Conn)
	send := func(frames []byte) {
		t.Helper()
		if _, err := peer.Write(frames); err != nil {
			t.Fatal(err)
		}
	}
	framed := func(b []byte, payload []byte) []byte {
		return frame.AppendFrame(b, frame.Header{Fin: true, Opcode: Text}, payload)
	}
	for i := range 4 {
		// The command's answer ends a message. A message before it comes with the line.
		send(framed(nil, gnutlsMessage(i)))
		wantMessage(t, c, Text, string(gnutlsMessage(i)))
		part := bytes.Repeat([]byte{'\n'}, i+1)
		send(append(framed(nil, append(part, gnutlsDone...))[:2], part...))
		// It must be a record, and no other, that has the command.
		send([]byte(gnutlsUpdate))
		wantMessage(t, c, Text, string(part)+gnutlsDone)
		send(framed(nil, gnutlsMessage(3*i))) // our keys are new, too
		wantMessage(t, c, Text, string(gnutlsMessage(3*i)))
	}
	sent := make(chan error, 1)
	under := make(chan struct{}, 100) // what it holds back when it cannot write is not to grow
	go func() {
		var err error
		for i := 0; i < messages && err == nil; i++ {
			under <- struct{}{}
			_, err = peer.Write(framed(nil, gnutlsMessage(i)))
		}
		sent <- err
	}()
	for i := range messages {
		m, err := c.ReadMessage()
		if err != nil || !bytes.Equal(m.Data, gnutlsMessage(i)) {
			t.Fatalf("message %d: %q, %v", i, m.Data, err)
		}
		<-under
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// GnuTLS, of each cipher suite that is opened: messages, key updates, and the next
// connection resumes.
func TestPeerGnuTLS(t *testing.T) {
	for _, cipher := range []string{"AES-128-GCM", "AES-256-GCM"} {
		t.Run(cipher, func(t *testing.T) {
			g := startGnuTLS(t, "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+"+cipher)
			left := openedRecords(10_000)
			for i := 0; i < 3 || left > 0; i++ { // the peer ends a connection that is older than 40 s
				some := min(max(left, 100), 100_000)
				c := g.dial(t, true)
				wantOpened(t, c, i > 0)
				g.converse(t, c, some)
				g.bye(t, c)
				left -= some
			}
			c := g.dial(t, false)
			g.converse(t, c, 100)
			g.bye(t, c)
		})
	}
	t.Run("CHACHA20-POLY1305", func(t *testing.T) {
		g := startGnuTLS(t, "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305")
		c := g.dial(t, true)
		if i := c.TransportInfo(); i.OpensRecords || !strings.Contains(i.Why, "CHACHA20") {
			t.Errorf("%+v", i)
		}
		g.converse(t, c, 100)
	})
}

// bye ends the connection by TLS; the peer's alert is its answer.
func (g *gnutls) bye(t *testing.T, c *Conn) {
	t.Helper()
	if err := c.NetConn().(*tls.Conn).CloseWrite(); err != nil {
		t.Error(err)
	}
	if m, err := c.ReadMessage(); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", m.Data, err)
	}
}
