package handshake

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
)

// KeyLen is the length of a key on the wire: 16 bytes in base64.
const KeyLen = 24

// acceptLen is the length of a Sec-WebSocket-Accept value: a SHA-1 in base64.
const acceptLen = 28

// guid is the string that a server appends to the key (RFC 6455 §1.3).
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// A Key is the value of Sec-WebSocket-Key: a nonce, new for each attempt to connect (RFC
// 6455 §4.1). The zero Key is invalid; AppendRequest refuses it.
type Key [KeyLen]byte

// NewKey returns a fresh key: 16 bytes of crypto/rand in base64.
func NewKey() (k Key) {
	var nonce [16]byte
	rand.Read(nonce[:])
	base64.StdEncoding.Encode(k[:], nonce[:])
	return k
}

// AppendAccept appends the Sec-WebSocket-Accept value for a key (RFC 6455 §4.2.2).
func AppendAccept[K ~string | ~[]byte](dst []byte, key K) []byte {
	var in [KeyLen + len(guid)]byte
	sum := sha1.Sum(append(append(in[:0], key...), guid...))
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// validAccept compares in constant time, because the right value depends on a secret
// nonce.
func validAccept[T text](value T, key *Key) bool {
	var want, got [acceptLen]byte
	AppendAccept(want[:0], key[:])
	if len(value) != acceptLen {
		return false
	}
	copy(got[:], value)
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// validKey reports whether v is base64 of 16 bytes. The unused bits of the last digit may
// be set. Decoders differ about them (RFC 4648 §3.5), and nothing depends on them here.
func validKey[T text](v T) bool {
	if len(v) != KeyLen || v[22] != '=' || v[23] != '=' {
		return false
	}
	for i := range 22 {
		c := v[i]
		letter := 'a' <= lower(c) && lower(c) <= 'z'
		if !letter && (c < '0' || c > '9') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}
