package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
)

// blast is how many bytes one write has.
const blast = 256 << 10

// Feed describes what a blaster sends.
type Feed struct {
	Stream *corpus.Stream
	// Count is the number of messages over TLS. Without TLS there is no end.
	Count int
	// Records is "" for no TLS, "large" for the largest records that TLS allows, "record"
	// for one record per message.
	Records string
	// Deflate says that Stream is compressed, so permessage-deflate must be agreed.
	Deflate bool
}

// Blast answers one handshake on nc and sends the feed's messages until the reader has
// gone. It encodes and encrypts everything beforehand, so that the reader is the limit.
func Blast(nc net.Conn, f Feed) error {
	if f.Records == "" {
		if err := Answer(nc, f.Deflate); err != nil {
			return err
		}
		for ring := f.Stream.Bytes; ; {
			if _, err := nc.Write(ring[:min(len(ring), blast)]); err != nil {
				return err
			}
			if ring = ring[min(len(ring), blast):]; len(ring) == 0 {
				ring = f.Stream.Bytes
			}
		}
	}
	b, err := Load(nc, f)
	if err != nil {
		return err
	}
	for len(b) > 0 {
		n, err := nc.Write(b[:min(len(b), blast)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	_, err = io.Copy(io.Discard, nc) // until the reader has gone
	return err
}

// Load answers one handshake on nc and returns the bytes of the feed, ready to be written
// to nc.
func Load(nc net.Conn, f Feed) ([]byte, error) {
	held := &holder{Conn: nc}
	held.held.Grow(f.Stream.WireLen(f.Count) + f.Count*24) // RFC 8446 §5.2: 22 bytes a record
	var c net.Conn = held
	if f.Records != "" {
		config, err := ServerTLS()
		if err != nil {
			return nil, err
		}
		config.DynamicRecordSizingDisabled = true
		c = tls.Server(held, config)
	}
	if err := Answer(c, f.Deflate); err != nil {
		return nil, err
	}
	held.holding = true
	err := f.encode(c)
	return held.held.Bytes(), err
}

// encode writes the feed to c, in pieces that make the records of f.Records.
func (f Feed) encode(c io.Writer) error {
	s := f.Stream
	if f.Records == "record" {
		for i := range f.Count {
			i %= len(s.Ends)
			start := 0
			if i > 0 {
				start = s.Ends[i-1]
			}
			if _, err := c.Write(s.Bytes[start:s.Ends[i]]); err != nil {
				return err
			}
		}
		return nil
	}
	for left := s.WireLen(f.Count); left > 0; {
		n, err := c.Write(s.Bytes[:min(left, len(s.Bytes))])
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// holder keeps what is written to it, after it is told to.
type holder struct {
	net.Conn
	holding bool
	held    bytes.Buffer
}

func (h *holder) Write(p []byte) (int, error) {
	if h.holding {
		return h.held.Write(p)
	}
	return h.Conn.Write(p)
}

// ServerTLS returns the configuration of the sender.
func ServerTLS() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13}, nil
}

// ClientTLS returns the configuration of the reader. It does not verify the certificate,
// which is new in each run.
func ClientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
}

// Compress returns the stream of a server that compresses each message with context
// takeover. The first message refers to nothing before it, so the stream can be repeated.
func Compress(messages [][]byte) (*corpus.Stream, error) {
	s := &corpus.Stream{Messages: messages, Ends: make([]int, len(messages))}
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, 6)
	if err != nil {
		return nil, err
	}
	for i, m := range messages {
		out.Reset()
		if _, err := w.Write(m); err != nil {
			return nil, err
		}
		if err := w.Flush(); err != nil {
			return nil, err
		}
		p, ok := bytes.CutSuffix(out.Bytes(), []byte{0, 0, 0xFF, 0xFF})
		if !ok {
			return nil, fmt.Errorf("wire: a flush that does not end as RFC 7692 says")
		}
		s.Bytes = corpus.AppendFrame(s.Bytes, 0xC1, p, false, 0)
		s.Ends[i] = len(s.Bytes)
	}
	return s, nil
}
