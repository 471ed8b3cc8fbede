package conntest

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// puppetIdentity is the certificate of all puppets.
var puppetIdentity = sync.OnceValues(func() (key *ecdsa.PrivateKey, der []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	// synctest has a clock of its own.
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"puppet"}, NotAfter: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)}
	if der, err = x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key); err != nil {
		panic(err)
	}
	return key, der
})

// PuppetClient is the tls.Config of a client of puppets.
func PuppetClient() *tls.Config {
	_, der := puppetIdentity()
	root, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &tls.Config{RootCAs: pool, ServerName: "puppet", MinVersion: tls.VersionTLS13}
}

// A PuppetHalf is the record layer of one direction. It uses nothing of package tls13.
type PuppetHalf struct {
	hash    func() hash.Hash
	keySize int
	secret  []byte
	aead    cipher.AEAD
	iv      []byte
	Seq     uint64
}

func (h *PuppetHalf) expand(secret []byte, label string, context []byte, size int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(size))
	info = append(append(info, byte(6+len(label))), "tls13 "+label...)
	info = append(append(info, byte(len(context))), context...)
	b, err := hkdf.Expand(h.hash, secret, string(info), size)
	if err != nil {
		panic(err)
	}
	return b
}

func (h *PuppetHalf) use(secret []byte) {
	block, err := aes.NewCipher(h.expand(secret, "key", nil, h.keySize))
	if err == nil {
		h.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		panic(err)
	}
	h.secret, h.iv, h.Seq = secret, h.expand(secret, "iv", nil, 12), 0
}

func (h *PuppetHalf) Update() { h.use(h.expand(h.secret, "traffic upd", nil, h.hash().Size())) }

func (h *PuppetHalf) nonce() []byte {
	n := slices.Clone(h.iv)
	for i := range 8 {
		n[4+i] ^= byte(h.Seq >> (56 - 8*i))
	}
	h.Seq++
	return n
}

// Seal returns an encrypted record.
func (h *PuppetHalf) Seal(outer byte, inner []byte) []byte {
	header := []byte{outer, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(inner)+16))
	return h.aead.Seal(slices.Clone(header), h.nonce(), inner, header)
}

// Open returns the content of a record without padding.
func (h *PuppetHalf) Open(record []byte) (kind byte, content []byte, err error) {
	inner, err := h.aead.Open(nil, h.nonce(), record[5:], record[:5])
	if err != nil || len(inner) == 0 {
		return 0, nil, fmt.Errorf("a record of the client's cannot be opened: %v", err)
	}
	return inner[len(inner)-1], inner[:len(inner)-1], nil
}

// A Puppet is a TLS 1.3 server that sends what a script says. It has its own record
// layer.
type Puppet struct {
	Conn    net.Conn
	suite   uint16
	In, Out PuppetHalf
	Sent    [][]byte // the data records sent

	transcript hash.Hash
	Behind     []byte        // follows the Finished message in the same record
	Early      func(s *Play) // what to send together with the server's flight
	said       []string
	stream     []byte // of the client's data, a partial frame
	Raw        bool   // report the client's data as it is
}

func NewPuppet(nc net.Conn, suite uint16) *Puppet {
	p := &Puppet{Conn: nc, suite: suite}
	p.In = PuppetHalf{hash: sha256.New, keySize: 16}
	if suite == tls.TLS_AES_256_GCM_SHA384 {
		p.In = PuppetHalf{hash: sha512.New384, keySize: 32}
	}
	p.Out = p.In
	p.transcript = p.In.hash()
	return p
}

func (p *Puppet) ReadRecord() ([]byte, error) {
	b := make([]byte, 5)
	if _, err := io.ReadFull(p.Conn, b); err != nil {
		return nil, err
	}
	b = append(b, make([]byte, binary.BigEndian.Uint16(b[3:]))...)
	_, err := io.ReadFull(p.Conn, b[5:])
	return b, err
}

// message returns a handshake message and adds it to the transcript.
func (p *Puppet) message(kind byte, body []byte) []byte {
	b := append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	p.transcript.Write(b)
	return b
}

// sized returns b after its length, a field of size bytes.
func sized(size int, b []byte) []byte {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(b)))
	return append(n[4-size:], b...)
}

var errPuppet = errors.New("the puppet does not understand the client")

// keyShare returns the session ID and the X25519 key of a ClientHello.
func keyShare(hello []byte) (session, key []byte, err error) {
	defer func() {
		if recover() != nil {
			err = errPuppet
		}
	}()
	b := hello[4+2+32:]
	session, b = b[1:1+b[0]], b[1+b[0]:]
	b = b[2+binary.BigEndian.Uint16(b):]
	b = b[1+b[0]:]
	for b = b[2:]; len(b) > 0; {
		kind, n := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		e := b[4 : 4+n]
		b = b[4+n:]
		if kind != 51 {
			continue
		}
		for e = e[2:]; len(e) > 0; {
			group, n := binary.BigEndian.Uint16(e), binary.BigEndian.Uint16(e[2:])
			if group == 29 {
				return session, e[4 : 4+n], nil
			}
			e = e[4+n:]
		}
	}
	return nil, nil, errPuppet
}

// Handshake does the handshake of RFC 8446 §2 without any optional part.
func (p *Puppet) Handshake() error {
	record, err := p.ReadRecord()
	if err != nil {
		return err
	}
	hello := record[5:]
	p.transcript.Write(hello)
	session, share, err := keyShare(hello)
	if err != nil {
		return err
	}
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	public, err := ecdh.X25519().NewPublicKey(share)
	if err != nil {
		return err
	}
	shared, err := private.ECDH(public)
	if err != nil {
		return err
	}
	extensions := append([]byte{0, 43, 0, 2, 3, 4, 0, 51}, sized(2, append([]byte{0, 29}, sized(2, private.PublicKey().Bytes())...))...)
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, sized(1, session)...)
	body = append(body, byte(p.suite>>8), byte(p.suite), 0)
	serverHello := p.message(2, append(body, sized(2, extensions)...))

	size := p.In.hash().Size()
	extract := func(secret, salt []byte) []byte {
		b, err := hkdf.Extract(p.In.hash, secret, salt)
		if err != nil {
			panic(err)
		}
		return b
	}
	derive := func(secret []byte, label string) []byte {
		return p.In.expand(secret, label, p.transcript.Sum(nil), size)
	}
	empty := p.In.hash().Sum(nil)
	early := extract(make([]byte, size), nil)
	handshake := extract(shared, p.In.expand(early, "derived", empty, size))
	p.In.use(derive(handshake, "c hs traffic"))
	p.Out.use(derive(handshake, "s hs traffic"))

	key, der := puppetIdentity()
	flight := p.message(8, []byte{0, 0})
	certificate := append(sized(3, der), 0, 0)
	flight = append(flight, p.message(11, append([]byte{0}, sized(3, certificate)...))...)
	digest := sha256.Sum256(append(append(bytes.Repeat([]byte{' '}, 64), "TLS 1.3, server CertificateVerify\x00"...), p.transcript.Sum(nil)...))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	flight = append(flight, p.message(15, append([]byte{4, 3}, sized(2, signature)...))...)
	mac := hmac.New(p.In.hash, p.In.expand(p.Out.secret, "finished", nil, size))
	mac.Write(p.transcript.Sum(nil))
	flight = append(flight, p.message(20, mac.Sum(nil))...)
	flight = append(flight, p.Behind...)

	out := slices.Concat([]byte{22, 3, 3}, sized(2, serverHello), []byte{20, 3, 3, 0, 1, 1})
	out = append(out, p.Out.Seal(23, append(flight, 22))...)
	master := extract(make([]byte, size), p.In.expand(handshake, "derived", empty, size))
	clientSecret, serverSecret := derive(master, "c ap traffic"), derive(master, "s ap traffic")
	p.Out.use(serverSecret)
	if p.Early != nil {
		s := &Play{Puppet: p, Rand: mathrand.New(mathrand.NewPCG(3, 3))}
		p.Early(s)
		out = append(out, s.Bytes...)
	}
	if _, err := p.Conn.Write(out); err != nil {
		return err
	}
	for {
		record, err := p.ReadRecord()
		if err != nil {
			return err
		}
		if record[0] == 20 {
			continue
		}
		kind, content, err := p.In.Open(record)
		if err != nil || kind != 22 || content[0] != 20 {
			return errors.Join(errPuppet, err)
		}
		p.In.use(clientSecret)
		return nil
	}
}

// Drain returns what the client has sent, to the end of the stream.
func (p *Puppet) Drain() []string {
	for {
		record, err := p.ReadRecord()
		if err != nil {
			return append(p.said, "end: "+err.Error())
		}
		kind, content, err := p.In.Open(record)
		switch {
		case err != nil:
			return append(p.said, err.Error())
		case kind == 23:
			p.hear(content)
		case kind == 22 && len(content) == 5 && content[0] == 24:
			p.said = append(p.said, fmt.Sprintf("key update %x", content[4:]))
			p.In.Update()
		default:
			p.said = append(p.said, fmt.Sprintf("type %d: %x", kind, content))
		}
	}
}

// hear reports the whole messages in what the client sends.
func (p *Puppet) hear(b []byte) {
	if p.Raw {
		p.said = append(p.said, string(b))
		return
	}
	p.stream = append(p.stream, b...)
	for {
		h, n := frame.ParseHeader(p.stream)
		if n == 0 || uint64(len(p.stream)-n) < h.Length {
			return
		}
		payload := p.stream[n : n+int(h.Length)]
		for i := range payload {
			payload[i] ^= byte(h.Key >> (8 * (i % 4)))
		}
		p.said = append(p.said, string(payload))
		p.stream = p.stream[n+int(h.Length):]
	}
}
