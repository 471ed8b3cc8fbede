package scenario

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// sdkModfiles are the modules that the program of conn/gorilla/compat is built with, by
// entrant. The two have the same path, so no program can have both.
var sdkModfiles = map[string]string{"gorilla": "go.mod", "tickwire-gorilla": "dropin.mod"}

// sdk makes an unchanged SDK of an exchange read trades: adshao/go-binance/v2,
// WsAggTradeServe. The handler counts them. Most of the cost is decoding JSON.
func sdk(p *Plan) error {
	cases := []struct{ name, tls, deflate string }{
		{"aggTrade of go-binance, ws", "", ""},
		{"aggTrade of go-binance, wss", "large", ""},
		{"aggTrade of go-binance, ws, compressed", "", "alone"},
		{"aggTrade of go-binance, wss, compressed", "large", "alone"},
	}
	if !slices.ContainsFunc(cases, func(c struct{ name, tls, deflate string }) bool { return p.wants(c.name) }) {
		return nil
	}
	dir, err := os.MkdirTemp("", "sdk")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := p.buildSDK(dir); err != nil {
		return err
	}
	entrants := slices.DeleteFunc(entrant.Libraries(), func(e entrant.Entrant) bool { return sdkModfiles[e.Info().Name] == "" })
	for _, c := range cases {
		if err := p.sdkCase(c.name, dir, Spec{TLS: c.tls, Deflate: c.deflate != ""}, entrants); err != nil {
			return err
		}
	}
	return nil
}

// buildSDK builds the program for each entrant.
func (p *Plan) buildSDK(dir string) error {
	for name, modfile := range sdkModfiles {
		cmd := exec.Command("go", "build", "-modfile="+modfile, "-o", filepath.Join(dir, name), "./cmd/consume")
		cmd.Dir = filepath.Join(p.Dir, "..", "conn", "gorilla", "compat")
		cmd.Env = append(os.Environ(), "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build -modfile=%s: %w\n%s", modfile, err, out)
		}
	}
	return nil
}

// sdkCase runs the consumers in turn against one exchange.
func (p *Plan) sdkCase(name, dir string, s Spec, entrants []entrant.Entrant) error {
	if !p.wants(name) {
		return nil
	}
	s.Role, s.Profile = "sdk exchange", ""
	x, err := start(s)
	if err != nil {
		return err
	}
	x.timer.Stop()
	defer x.end()
	root, err := x.receive()
	if err != nil {
		return err
	}
	defer os.Remove(root)
	address, err := x.receive()
	if err != nil {
		return err
	}
	url := "ws://" + address
	if s.TLS != "" {
		url = "wss://" + address
	}
	return p.inTurns(name, entrants, p.rounds(15, 2), 60*time.Second, func(e entrant.Entrant) (*openEntrant, error) {
		cmd := exec.Command(filepath.Join(dir, e.Info().Name), url)
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+root)
		c, err := startCommand(cmd)
		if err != nil {
			return nil, err
		}
		return &openEntrant{turn: c.turn, end: c.end}, nil
	})
}

// startCommand starts a child that is another program.
func startCommand(cmd *exec.Cmd) (*process, error) {
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return startProcess(cmd, stdin, stdout)
}

// sdkExchange is a child that sends trades to each client. It reports the file of its
// certificate, and its address.
func sdkExchange(s *Spec, ch *channel) error {
	stream, err := trades(s.Deflate)
	if err != nil {
		return err
	}
	config, err := wire.ServerTLS()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "root*.pem")
	if err != nil {
		return err
	}
	if err := errors.Join(pem.Encode(f, &pem.Block{Type: "CERTIFICATE", Bytes: config.Certificates[0].Certificate[0]}), f.Close()); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ch.send(f.Name())
	ch.send(l.Addr().String())
	if s.TLS != "" {
		l = tls.NewListener(l, config)
	}
	extension := ""
	if s.Deflate {
		extension = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	}
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			_ = sendTrades(nc, stream, extension) // until the reader has gone
		}()
	}
}

// sendTrades answers a handshake and sends the stream without end.
func sendTrades(nc net.Conn, stream *corpus.Stream, extension string) error {
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, b...) {
		if _, err := io.ReadFull(nc, b); err != nil {
			return err
		}
	}
	if _, err := nc.Write(wire.AppendResponse(nil, wire.RequestKey(head), extension)); err != nil {
		return err
	}
	for {
		if _, err := nc.Write(stream.Bytes); err != nil {
			return err
		}
	}
}

// trades returns messages as in the SDK's feed. If compressed is set, each is compressed
// by itself.
func trades(compressed bool) (*corpus.Stream, error) {
	messages := make([][]byte, ring)
	for i := range messages {
		messages[i] = fmt.Appendf(nil, `{"e":"aggTrade","E":%d,"s":"BTCUSDT","a":%d,"p":"%d.%02d000000","q":"0.%05d000","f":%d,"l":%d,"T":%d,"m":%t,"M":true}`,
			1700000000000+i, 3000000000+i, 60000+i%977, i%100, i%99991, 4000000000+2*i, 4000000001+2*i, 1700000000000+i, i%3 == 0)
	}
	if !compressed {
		return corpus.NewStream(messages, false), nil
	}
	s := &corpus.Stream{Messages: messages, Ends: make([]int, len(messages))}
	for i, m := range messages {
		var out bytes.Buffer
		w, err := flate.NewWriter(&out, 6)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(m); err != nil {
			return nil, err
		}
		if err := w.Flush(); err != nil {
			return nil, err
		}
		s.Bytes = corpus.AppendFrame(s.Bytes, 0xC1, bytes.TrimSuffix(out.Bytes(), []byte{0, 0, 0xFF, 0xFF}), false, 0)
		s.Ends[i] = len(s.Bytes)
	}
	return s, nil
}
