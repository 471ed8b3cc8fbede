package tls13

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

const (
	nonceSize = 12 // RFC 5116 §5.1
	tagSize   = 16
	maxSecret = sha512.Size384
)

// keyLogLabel begins the line with the secret of the server's data (NSS key log format).
const keyLogLabel = "SERVER_TRAFFIC_SECRET_0 "

// A KeyLog is the KeyLogWriter of one client connection. It keeps the secret of the
// server's data and passes on each line.
type KeyLog struct {
	To     io.Writer // the caller's own; may be nil
	secret [maxSecret]byte
	size   int
}

// Write takes a line of the key log. It returns the error of To.
func (k *KeyLog) Write(line []byte) (int, error) {
	if rest, ok := bytes.CutPrefix(line, []byte(keyLogLabel)); ok {
		k.Forget()
		_, secret, _ := bytes.Cut(bytes.TrimRight(rest, "\n"), []byte(" ")) // it follows the client's random
		if len(secret) <= 2*maxSecret {
			if n, err := hex.Decode(k.secret[:], secret); err == nil {
				k.size = n
			} else {
				k.Forget()
			}
		}
	}
	if k.To == nil {
		return len(line), nil
	}
	return k.To.Write(line)
}

// Secret returns the secret, or nothing if none was written.
func (k *KeyLog) Secret() []byte { return k.secret[:k.size] }

// Forget erases the secret.
func (k *KeyLog) Forget() {
	clear(k.secret[:])
	k.size = 0
}

// errSecret reports a secret that is not as long as the hash of the cipher suite.
var errSecret = errors.New("crypto/tls gave no secret of that length")

// A suite is what distinguishes the two AES-GCM suites.
type suite struct {
	keySize int
	hash    func() hash.Hash
	size    int // of the hash
}

func suiteOf(id uint16) (suite, error) {
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return suite{16, sha256.New, sha256.Size}, nil
	case tls.TLS_AES_256_GCM_SHA384:
		return suite{32, sha512.New384, sha512.Size384}, nil
	}
	return suite{}, fmt.Errorf("the cipher suite is %s", tls.CipherSuiteName(id))
}

// expand is HKDF-Expand-Label of RFC 8446 §7.1, without a context.
func (s suite) expand(secret []byte, label string, size int) ([]byte, error) {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(size))
	info = append(info, byte(len(label)))
	info = append(info, label...)
	return hkdf.Expand(s.hash, secret, string(append(info, 0)), size)
}

// next returns the secret after a KeyUpdate (RFC 8446 §7.2).
func (s suite) next(secret []byte) ([]byte, error) { return s.expand(secret, "traffic upd", s.size) }

// keys are derived from a secret (RFC 8446 §7.3).
type keys struct {
	aead cipher.AEAD
	salt uint32 // the IV's first four bytes
	iv   uint64 // its last eight bytes; the sequence number is XORed into them
}

func (s suite) keys(secret []byte) (keys, error) {
	key, err := s.expand(secret, "key", s.keySize)
	if err != nil {
		return keys{}, err
	}
	iv, err := s.expand(secret, "iv", nonceSize)
	if err != nil {
		return keys{}, err
	}
	defer clear(iv)
	block, err := aes.NewCipher(key)
	clear(key)
	if err != nil {
		return keys{}, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return keys{}, err
	}
	return keys{aead, binary.BigEndian.Uint32(iv), binary.BigEndian.Uint64(iv[4:])}, nil
}

// nonce writes the nonce of record seq to n (RFC 8446 §5.3).
func (k *keys) nonce(n *[nonceSize]byte, seq uint64) []byte {
	binary.BigEndian.PutUint32(n[:], k.salt)
	binary.BigEndian.PutUint64(n[4:], k.iv^seq)
	return n[:]
}
