package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/conntest"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer/buffertest"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// A clientSide is how a client of a puppet reads.
type clientSide int

const (
	plainTLS  clientSide = iota // crypto/tls on the connection
	ourTLS                      // over records that open by themselves
	bothSides                   // how many there are
)

// client does a client's handshake.
func (side clientSide) client(nc net.Conn) (*tls.Conn, error) {
	cfg := conntest.PuppetClient()
	if side == plainTLS {
		client := tls.Client(nc, cfg)
		return client, client.Handshake()
	}
	r := underTLS(nc, &Config{})
	r.OpenLater(cfg)
	client := tls.Client(r, cfg)
	err := client.Handshake()
	if err == nil {
		if err = r.OpenNow(client); err == nil && !r.Opens() {
			_, why := transport.OpensRecords(client)
			err = errors.New(why)
		}
	}
	return client, err
}

// waysToRead are the ways to read a Conn. Each calls got for each message, in order, and
// returns the error.
var waysToRead = map[string]func(c *Conn, got func(string)) error{
	"ReadMessage": func(c *Conn, got func(string)) error {
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return err
			}
			got(string(m.Data))
		}
	},
	"More": func(c *Conn, got func(string)) error {
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return err
			}
			got(string(m.Data))
			c.More()
		}
	},
	"TakeBatch": func(c *Conn, got func(string)) error {
		for {
			b, err := c.TakeBatch()
			if err != nil {
				return err
			}
			for _, m := range b.Messages {
				got(string(m.Data))
			}
			b.Release()
		}
	},
	"NextFrame": func(c *Conn, got func(string)) error {
		s := ""
		for {
			f, err := c.NextFrame()
			if err != nil {
				return err
			}
			if f.Header.Opcode.IsControl() {
				continue
			}
			if s += string(f.Payload); f.Header.Fin {
				got(s)
				s = ""
			}
		}
	},
	"NextReader": func(c *Conn, got func(string)) error {
		for {
			_, r, err := c.NextReader()
			if err != nil {
				return err
			}
			b, err := io.ReadAll(io.MultiReader(io.LimitReader(r, 10), r))
			if err != nil {
				return err
			}
			got(string(b))
		}
	},
}

// Whatever a server sends, a Conn that opens records by itself sees and does the same as
// one over crypto/tls alone: messages, the error, what the peer gets and in which order.
func TestOpenedLikeCryptoTLS(t *testing.T) {
	for name, way := range waysToRead {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for script := range conntest.Scripts() {
				var outcomes [bothSides]conntest.Outcome
				for side := range bothSides {
					outcomes[side] = conntest.PlayScript(t, side.client, script, nil, func(client *tls.Conn, _ *netsim.Conn) (o conntest.Outcome) {
						c := New(client, frame.Client, &Config{KeepAlive: -1})
						defer c.Close()
						if opened := c.TransportInfo().OpensRecords; opened != (side == ourTLS) {
							t.Fatal("opened:", opened)
						}
						o.Err = conntest.DescribeError(way(c, func(s string) {
							o.Got = append(o.Got, s)
							c.WriteMessage(Text, fmt.Appendf(nil, "answer %d", len(o.Got)))
						}))
						return o
					})
				}
				t.Run(conntest.ScriptName(script), func(t *testing.T) { outcomes[ourTLS].Compare(t, outcomes[plainTLS]) })
			}
		})
	}
}

// The tests of what is read under TLS hold for records that are opened here, too.
func TestUnderTLSWithOpenRecords(t *testing.T) {
	secureOpens = true
	defer func() { secureOpens = false }()
	for name, f := range map[string]func(*testing.T){ // none of them runs in parallel to another test
		"reads":          TestReadsUnderTLS,
		"read deadline":  TestReadDeadlineUnderTLS,
		"write deadline": TestF16WriteDeadlineUnderTLS,
		"close":          TestF17CloseUnderTLS,
		"allocations":    TestAllocsUnderTLS,
		"More":           TestMoreUnderTLS,
		"idle":           TestIdleHoldsNoBufferUnderTLS,
		"bad count":      TestImpossibleCountUnderTLS,
		"stamps":         TestStampedOncePerReadUnderTLS,
	} {
		t.Run(name, func(t *testing.T) {
			before := secureOpened.Load()
			if f(t); secureOpened.Load() == before { // f is left by Skip
				t.Error("no connection has opened its records")
			}
		})
	}
}

// A feed whose records are opened here costs no allocation.
func TestOpenRecordsAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	secureOpens = true
	defer func() { secureOpens = false }()
	for size, records := range map[int]int{60: 10_000, 200: 10_000, 1000: 10_000, 4000: 1000, 16200: 400} {
		const parts = 6 // one to warm up, and those of measure
		c, _, messages := recordedMessages(t, tls.VersionTLS13, min(196, size-4), size-4, parts*records)
		read := func() {
			for range messages / parts {
				if _, err := c.ReadMessage(); err != nil {
					t.Fatal(err)
				}
			}
		}
		read()
		if n := buffertest.Mallocs(read); n != 0 {
			t.Errorf("%d allocations in %d records of %d bytes", n, records, size)
		}
		if !c.TransportInfo().OpensRecords {
			t.Error(c.TransportInfo().Why)
		}
		c.Close()
	}
}

// What is not data ends the batch: crypto/tls answers it behind what the caller writes in
// answer to the data before it.
func TestTrapAnswersStayInOrder(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(p *conntest.Play)
		want string
	}{
		"key update": {func(p *conntest.Play) { p.Update(1) }, "key update 00"},
		"alert":      {func(p *conntest.Play) { p.Spoiled(-1) }, "type 21: 0214"},
		"version":    {func(p *conntest.Play) { p.Put([]byte{23, 3, 1, 0, 40}) }, "type 21: 0246"},
		"unknown":    {func(p *conntest.Play) { p.Inner(99, nil, 0) }, "type 21: 020a"},
	} {
		client, p := conntest.Opened(t, ourTLS.client)
		p.Raw = false
		c := New(client, frame.Client, &Config{KeepAlive: -1})
		p.Text("one")
		p.Text("two")
		tt.do(p)
		p.Text("three")
		p.Ends(t)
		n := 0
		for {
			if _, err := c.ReadMessage(); err != nil {
				break
			}
			n++
			if err := c.WriteMessage(Text, fmt.Appendf(nil, "answer %d", n)); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		if said := p.Drain(); len(said) < 3 || said[0] != "answer 1" || said[1] != "answer 2" || said[2] != tt.want {
			t.Errorf("%s: the peer got %q", name, said)
		}
	}
}

// Who reads the tls.Conn below gets an error, and so does the Conn then: no data can
// change hands.
func TestReadingTheTLSConnFailsClosed(t *testing.T) {
	client, p := conntest.Opened(t, ourTLS.client)
	c := New(client, frame.Client, &Config{KeepAlive: -1})
	defer c.Close()
	p.Text("one")
	p.Inner(22, conntest.NewTicket(5), 0)
	p.Text("two")
	p.Ends(t)
	if n, err := c.NetConn().Read(make([]byte, 100)); n != 0 || err != transport.ErrNotToRead {
		t.Errorf("%d, %v", n, err)
	}
	wantMessage(t, c, Text, "one")
	if _, err := c.ReadMessage(); !errors.Is(err, transport.ErrNotToRead) {
		t.Errorf("the Conn got %v", err)
	}
}

// A deadline that passes anywhere within a record ends nothing, before each byte of a script.
func TestOpenRecordsDeadlineAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, p := conntest.Opened(t, ourTLS.client)
		c := New(client, frame.Client, &Config{KeepAlive: -1})
		defer c.Close()
		want := []string{}
		for i := range 6 {
			p.Pieces(conntest.NewTicket(40))
			text := fmt.Sprint(i, strings.Repeat("d", 40*i))
			want = append(want, text)
			p.Text(text)
			p.Update(byte(i % 2))
		}
		got := []string{}
		read := func() {
			for {
				c.SetReadDeadline(time.Now().Add(time.Second))
				m, err := c.ReadMessage()
				if err != nil {
					wantTimeout(t, err)
					return
				}
				got = append(got, string(m.Data))
			}
		}
		for _, b := range p.Bytes {
			p.Conn.Write([]byte{b})
			read()
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}

// A puppet that speaks HTTP: what is not data comes between the bytes of the answer too,
// and a message comes with it.
func TestOpenRecordsDuringTheOpening(t *testing.T) {
	for cut := 1; cut < 138; cut += 3 {
		a, b := netsim.Pipe(1 << 20)
		served := make(chan error, 1)
		go func() {
			p := conntest.NewPuppet(b, tls.TLS_AES_256_GCM_SHA384)
			p.Raw = true
			if err := p.Handshake(); err != nil {
				served <- err
				return
			}
			record, err := p.ReadRecord()
			if err != nil {
				served <- err
				return
			}
			_, request, err := p.In.Open(record)
			_, key, _ := strings.Cut(string(request), "Sec-WebSocket-Key: ")
			key, _, _ = strings.Cut(key, "\r\n")
			answer := fmt.Sprintf("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", handshake.AppendAccept(nil, key))
			answer += string(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte("with it")))
			s := &conntest.Play{Puppet: p, Rand: rand.New(rand.NewPCG(uint64(cut), 2))}
			s.Pieces(conntest.NewTicket(60))
			s.Data(answer[:cut])
			s.Update(1)
			s.Inner(22, conntest.NewTicket(60)[:20], 0)
			s.Inner(22, conntest.NewTicket(60)[20:], 0)
			s.Data(answer[cut:])
			s.Text("and behind it")
			_, failed := p.Conn.Write(s.Bytes)
			served <- errors.Join(err, failed)
		}()
		tlsConfig := conntest.PuppetClient()
		d := Dialer{TLSConfig: tlsConfig, OpenRecords: true, NetDial: func(context.Context, string, string) (net.Conn, error) { return a, nil }, Config: Config{KeepAlive: -1}}
		c, err := d.Dial(t.Context(), "wss://puppet/")
		if err := errors.Join(err, <-served); err != nil {
			t.Fatal(err)
		}
		if i := c.TransportInfo(); i != (TransportInfo{OpensRecords: true}) {
			t.Fatalf("%+v", i)
		}
		wantMessage(t, c, Text, "with it")
		wantMessage(t, c, Text, "and behind it")
		c.Close()
		b.Close()
	}
}

// openServer is a server of wss that answers each message with it.
func openServer(t *testing.T, serverTLS *tls.Config) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nl := l
		if serverTLS != nil {
			nl = tls.NewListener(l, serverTLS)
		}
		acceptEach(nl, &Upgrader{Config: Config{KeepAlive: -1}}, func(c *Conn) { defer c.Close(); echo(c) })
	}()
	t.Cleanup(func() { l.Close(); <-done })
	if serverTLS == nil {
		return "ws://" + l.Addr().String()
	}
	return "wss://" + l.Addr().String()
}

// TransportInfo says whether records are opened here, and why not; whatever it says the
// connection works.
func TestTransportInfo(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	old := serverTLS.Clone()
	old.MaxVersion = tls.VersionTLS12
	wrap := func(ctx context.Context, nc net.Conn, _ TLSHost) (net.Conn, error) {
		c := tls.Client(nc, clientTLS)
		return c, c.HandshakeContext(ctx)
	}
	own := clientTLS.Clone()
	own.ServerName = "localhost"
	for name, tt := range map[string]struct {
		server *tls.Config
		d      Dialer
		want   TransportInfo
	}{
		"on":      {serverTLS, Dialer{OpenRecords: true}, TransportInfo{OpensRecords: true}},
		"off":     {serverTLS, Dialer{}, TransportInfo{Why: "Dialer.OpenRecords is off"}},
		"1.2":     {old, Dialer{OpenRecords: true}, TransportInfo{Why: "the connection has TLS 1.2"}},
		"no TLS":  {nil, Dialer{OpenRecords: true}, TransportInfo{Why: "there is no TLS of crypto/tls"}},
		"WrapTLS": {serverTLS, Dialer{OpenRecords: true, WrapTLS: wrap}, TransportInfo{Why: "TLS was not done by Dialer"}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.d.TLSConfig = clientTLS
			clientTLS.ServerName = "localhost"
			c, err := tt.d.Dial(t.Context(), openServer(t, tt.server))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.TransportInfo(); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			roundTrip(t, c)
			if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

// The caller's own KeyLogWriter gets its lines, its config is not changed, and its error
// ends the handshake.
func TestOpenRecordsKeepsTheCallersKeyLog(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	var log bytes.Buffer
	clientTLS.KeyLogWriter = &log
	url := openServer(t, serverTLS)
	c, err := (&Dialer{TLSConfig: clientTLS, OpenRecords: true}).Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c)
	c.Close()
	if clientTLS.KeyLogWriter != &log {
		t.Error("the caller's config was changed")
	}
	for _, label := range []string{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} {
		if strings.Count(log.String(), label+" ") != 1 {
			t.Errorf("%s is missing in\n%s", label, log.String())
		}
	}
	clientTLS.KeyLogWriter = refusing{}
	if _, err := (&Dialer{TLSConfig: clientTLS, OpenRecords: true}).Dial(t.Context(), url); !errors.Is(err, errRefusing) {
		t.Errorf("a key log that fails: %v", err)
	}
}

var errRefusing = errors.New("refusing")

type refusing struct{}

func (refusing) Write([]byte) (int, error) { return 0, errRefusing }

// crypto/tls gets the tickets, so that the next connection resumes; and the next opens
// its records too.
func TestOpenRecordsResumes(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	clientTLS.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	clientTLS.ServerName = "localhost"
	url := openServer(t, serverTLS)
	d := &Dialer{TLSConfig: clientTLS, OpenRecords: true}
	for i := range 4 {
		c, err := d.Dial(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, c)
		if resumed := c.NetConn().(*tls.Conn).ConnectionState().DidResume; resumed != (i > 0) {
			t.Errorf("connection %d: resumed %v", i, resumed)
		}
		if !c.TransportInfo().OpensRecords {
			t.Errorf("connection %d: %+v", i, c.TransportInfo())
		}
		if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil {
			t.Error(err)
		}
	}
}

// Behind each kind of proxy the records of the target are opened here; those of an https
// proxy are crypto/tls's.
func TestOpenRecordsBehindAProxy(t *testing.T) {
	proxyCertificate, proxyRoots := certify(t, nil, "p")
	certificate, roots := certify(t, nil, "h")
	for _, kind := range []string{"http://p", "https://p:80", "socks5://u:p@p:80"} {
		w := &world{}
		proxy := connectProxy(w, "")
		switch {
		case strings.HasPrefix(kind, "socks"):
			proxy = socksProxy(w, "u", "p")
		case strings.HasPrefix(kind, "https"):
			proxy = overTLS(&tls.Config{Certificates: []tls.Certificate{proxyCertificate}}, proxy)
		}
		server := func(nc net.Conn) { (&Upgrader{}).serve(nc) }
		w.hosts = map[string]func(net.Conn){"p:80": proxy, "h:443": overTLS(&tls.Config{Certificates: []tls.Certificate{certificate}}, server)}
		d := &Dialer{NetDial: w.dial, Proxy: through(kind), TLSConfig: &tls.Config{RootCAs: roots}, ProxyTLSConfig: &tls.Config{RootCAs: proxyRoots}, OpenRecords: true}
		c, err := d.Dial(t.Context(), "wss://h/")
		if err != nil {
			t.Fatal(err)
		}
		if !c.TransportInfo().OpensRecords {
			t.Errorf("%s: %+v", kind, c.TransportInfo())
		}
		roundTrip(t, c)
		c.Close()
	}
}

// A Recorder gets the same bytes.
func TestOpenRecordsAreRecorded(t *testing.T) {
	var b bytes.Buffer
	recorder := NewRecorder(&b, 0)
	client, p := conntest.Opened(t, ourTLS.client)
	c := New(client, frame.Client, &Config{KeepAlive: -1, Recorder: recorder})
	var wire []byte
	for i := range 50 {
		message := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Binary}, bytes.Repeat([]byte{byte(i)}, 37*i))
		wire = append(wire, message...)
		p.Data(string(message))
		p.Useless()
	}
	p.Ends(t)
	for range 50 {
		if _, err := c.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	if err := recorder.Close(); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, r := range readAll(t, b.Bytes()) {
		if r.Kind == RecordData {
			got = append(got, r.Data...)
		}
	}
	if !bytes.Equal(got, wire) {
		t.Errorf("%d bytes were recorded of %d", len(got), len(wire))
	}
}

// Compressed messages and large ones, in every size of record that crypto/tls makes of them.
func TestOpenRecordsCompressed(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	clientTLS.ServerName = "localhost"
	a, b := loopback(t)
	served := make(chan error, 1)
	go func() {
		c, err := (&Upgrader{Config: Config{KeepAlive: -1, Deflate: &deflate.Config{}}}).Accept(tls.Server(b, serverTLS))
		if err == nil {
			err = echo(c)
		}
		served <- err
	}()
	d := Dialer{TLSConfig: clientTLS, OpenRecords: true, Config: Config{KeepAlive: -1, Deflate: &deflate.Config{}},
		NetDial: func(context.Context, string, string) (net.Conn, error) { return a, nil }}
	c, err := d.Dial(t.Context(), "wss://localhost")
	if err != nil {
		t.Fatal(err)
	}
	if c.compression == nil || !c.TransportInfo().OpensRecords {
		t.Fatalf("compressed %v, %+v", c.compression != nil, c.TransportInfo())
	}
	random := rand.New(rand.NewPCG(5, 5))
	for i, size := range []int{0, 1, 100, 1000, 5000, 16384, 65536, 300_000, 2_000_000, 10} {
		text := make([]byte, size)
		for j := range text {
			text[j] = 'a' + byte(random.UintN(1+uint(i%3)*12))
		}
		go c.WriteMessage(Text, text)
		m, err := c.ReadMessage()
		if err != nil || !bytes.Equal(m.Data, text) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(m.Data), err)
		}
	}
	c.Close()
	<-served
}

const fipsEnv = "TICKWIRE_TEST_FIPS"

// FIPS 140-3 approves of no AES-GCM with nonces that are given: in a process with that
// mode crypto/tls opens the records.
func TestOpenRecordsUnderFIPS(t *testing.T) {
	if os.Getenv(fipsEnv) == "" {
		for _, mode := range []string{"on", "only"} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestOpenRecordsUnderFIPS$", "-test.v")
			cmd.Env = append(os.Environ(), fipsEnv+"=1", "GODEBUG=fips140="+mode)
			out, err := cmd.CombinedOutput()
			if bytes.HasPrefix(out, []byte("panic: fips140: FIPS 140-3 mode is incompatible with ")) {
				t.Skipf("this build has no such mode: %s", out)
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", mode, err, out)
			}
			if !bytes.Contains(out, []byte("--- PASS: TestOpenRecordsUnderFIPS")) {
				t.Skipf("it did not run:\n%s", out)
			}
		}
		return
	}
	secureOpens = true
	defer func() { secureOpens = false }()
	a, b := netsim.Pipe(0) // such a process has no SHA-1, and so no opening handshake
	c, server := secureOver(t, a, b, Config{})
	defer c.Close()
	if i := c.TransportInfo(); i.OpensRecords || !strings.Contains(i.Why, "FIPS") {
		t.Errorf("%+v", i)
	}
	server.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte("message")))
	wantMessage(t, c, Text, "message")
}
