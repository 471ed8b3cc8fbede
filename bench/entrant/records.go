package entrant

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/url"

	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// recordLimit is a program that does a handshake with crypto/tls and then decrypts the
// records of TLS 1.3 itself. It does not handle alerts, tickets or key updates, which a
// feed of package wire does not have.
type recordLimit struct {
	name, calls string
	read, open  bool
}

const (
	recordHeader = 5
	tagLen       = 16
	// aloneBytes is how much of a feed LimitOpen decrypts over and over. It stays in the
	// second-level cache, like bytes that a read has just copied.
	aloneBytes = 256 << 10
)

func recordLimits() []Entrant {
	return []Entrant{
		recordLimit{name: LimitRecords, calls: "Read of the socket into 64 KiB, the lengths of records, nothing else", read: true},
		recordLimit{name: LimitReadOpen, calls: "the same, and AEAD.Open of each record in its place", read: true, open: true},
		recordLimit{name: LimitOpen, calls: "AEAD.Open of records of the feed that are in memory, nothing else", open: true},
	}
}

func (l recordLimit) Info() Info {
	return Info{Name: l.name, Calls: l.calls, Limit: true, Raw: true, In: []string{"feed"}, TLS: true}
}

func (recordLimit) Serve(net.Listener, Options, func(Conn)) error { return errUnsupported }

func (l recordLimit) Dial(o Options) (Conn, error) {
	if o.TLS == nil {
		return nil, errUnsupported
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	nc, err := o.netDial(u.Host)
	if err != nil {
		return nil, err
	}
	c := &recordConn{recordLimit: l, nc: nc, wireLen: o.WireLen, buf: make([]byte, ReadBuffer)}
	if err := c.shake(o.TLS.Clone()); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// recordConn is a socket whose records are parsed and decrypted.
type recordConn struct {
	recordLimit
	nc       net.Conn
	wireLen  func(n int) int
	buf      []byte
	pos, end int
	received int // messages
	taken    int // bytes of the stream

	aead  cipher.AEAD
	iv    [12]byte
	nonce [12]byte
	seq   uint64

	alone   []byte // whole records, which LimitOpen decrypts in turn
	first   uint64 // the number of the first record
	at      int
	scratch []byte
}

// shake does both handshakes. It finds the keys and the number of the next record.
func (c *recordConn) shake(config *tls.Config) error {
	var log bytes.Buffer
	config.KeyLogWriter = &log
	one := &oneRecord{Conn: c.nc}
	t := tls.Client(one, config)
	if err := wire.Open(t); err != nil {
		return err
	}
	if s := t.ConnectionState(); s.Version != tls.VersionTLS13 {
		return errUnsupported
	} else if err := c.keys(log.Bytes(), s.CipherSuite); err != nil {
		return err
	}
	// crypto/tls has read records, and some had the keys of the handshake. The right
	// number is the one that decrypts the next record.
	record, err := c.next()
	if err != nil {
		return err
	}
	for first := bytes.Clone(record); ; c.seq++ {
		if _, err := c.opened(nil, first); err == nil {
			break
		} else if c.seq > 20 {
			return err
		}
	}
	c.pos = 0 // the record is from the feed
	if !c.read {
		return c.load()
	}
	return nil
}

// keys takes the secret of the server's records from a key log, and derives the key and
// the IV (RFC 8446 §7.3).
func (c *recordConn) keys(log []byte, suite uint16) error {
	_, rest, found := bytes.Cut(log, []byte("SERVER_TRAFFIC_SECRET_0 "))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	_, digits, _ := bytes.Cut(line, []byte(" "))
	secret, err := hex.DecodeString(string(digits))
	if !found || err != nil {
		return errors.New("entrant: no secret in the key log")
	}
	size, h := 16, crypto.SHA256
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256:
	case tls.TLS_AES_256_GCM_SHA384:
		size, h = 32, crypto.SHA384
	default:
		return fmt.Errorf("entrant: %s is not AES-GCM", tls.CipherSuiteName(suite))
	}
	expand := func(label string, n int) []byte {
		info := append(binary.BigEndian.AppendUint16(nil, uint16(n)), byte(6+len(label)))
		info = append(append(append(info, "tls13 "...), label...), 0)
		key, expandErr := hkdf.Expand(func() hash.Hash { return h.New() }, secret, string(info), n)
		err = errors.Join(err, expandErr)
		return key
	}
	key := expand("key", size)
	copy(c.iv[:], expand("iv", len(c.iv)))
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	c.aead, err = cipher.NewGCM(block)
	return err
}

// oneRecord returns one record a Read to the tls.Conn above it. So the tls.Conn reads
// nothing after the last record that it needs.
type oneRecord struct {
	net.Conn
	left int
}

func (o *oneRecord) Read(p []byte) (int, error) {
	if o.left == 0 { // the header: crypto/tls asks for it alone or with more
		var head [recordHeader]byte
		if len(p) < len(head) {
			return 0, io.ErrShortBuffer
		}
		if _, err := io.ReadFull(o.Conn, head[:]); err != nil {
			return 0, err
		}
		o.left = int(binary.BigEndian.Uint16(head[3:]))
		return copy(p, head[:]), nil
	}
	n, err := o.Conn.Read(p[:min(len(p), o.left)])
	o.left -= n
	return n, err
}

// next returns the next record, a slice of buf.
func (c *recordConn) next() ([]byte, error) {
	for {
		if b := c.buf[c.pos:c.end]; len(b) >= recordHeader {
			if n := recordHeader + int(binary.BigEndian.Uint16(b[3:])); len(b) >= n {
				c.pos += n
				return b[:n], nil
			}
		}
		c.end = copy(c.buf, c.buf[c.pos:c.end])
		c.pos = 0
		n, err := c.nc.Read(c.buf[c.end:])
		if err != nil {
			return nil, err
		}
		c.end += n
	}
}

// opened decrypts a record into dst.
func (c *recordConn) opened(dst, record []byte) ([]byte, error) {
	binary.BigEndian.PutUint64(c.nonce[4:], binary.BigEndian.Uint64(c.iv[4:])^c.seq)
	copy(c.nonce[:4], c.iv[:4])
	return c.aead.Open(dst, c.nonce[:], record[recordHeader:], record[:recordHeader])
}

// load keeps the first records of the feed.
func (c *recordConn) load() error {
	c.first, c.scratch = c.seq, make([]byte, 0, 17<<10)
	for len(c.alone) < aloneBytes {
		record, err := c.next()
		if err != nil {
			return err
		}
		c.alone = append(c.alone, record...)
	}
	return nil
}

func (c *recordConn) Receive(n int, t *Tally) error {
	c.received += n
	for goal := c.wireLen(c.received); c.taken < goal; c.seq++ {
		var record []byte
		var err error
		if c.read {
			if record, err = c.next(); err == nil && c.open {
				_, err = c.opened(record[recordHeader:recordHeader], record)
			}
		} else {
			record = c.inMemory()
			_, err = c.opened(c.scratch[:0], record)
		}
		if err != nil {
			return err
		}
		c.taken += len(record) - recordHeader - tagLen - 1 // RFC 8446 §5.2: the type
	}
	t.Messages += n
	return nil
}

// inMemory returns the next record in memory; the first follows the last.
func (c *recordConn) inMemory() []byte {
	if c.at == len(c.alone) {
		c.at, c.seq = 0, c.first
	}
	b := c.alone[c.at:]
	b = b[:recordHeader+int(binary.BigEndian.Uint16(b[3:]))]
	c.at += len(b)
	return b
}

func (c *recordConn) Send(int, [][]byte) error { return errUnsupported }
func (c *recordConn) Echo() error              { return errUnsupported }
func (c *recordConn) Close() error             { return c.nc.Close() }
