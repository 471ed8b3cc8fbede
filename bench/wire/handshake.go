package wire

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
)

// AppendRequest appends an opening handshake. extensions may be empty.
func AppendRequest(dst []byte, host, path, extensions string) []byte {
	var nonce [16]byte
	rand.Read(nonce[:])
	dst = fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Origin: http://%s\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n",
		path, host, host, base64.StdEncoding.EncodeToString(nonce[:]))
	if extensions != "" {
		dst = fmt.Appendf(dst, "Sec-WebSocket-Extensions: %s\r\n", extensions)
	}
	return append(dst, "\r\n"...)
}

// AppendResponse appends the answer to a request with the given key.
func AppendResponse(dst, key []byte, extensions string) []byte {
	sum := sha1.Sum(append(bytes.Clone(key), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	dst = fmt.Appendf(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	if extensions != "" {
		dst = fmt.Appendf(dst, "Sec-WebSocket-Extensions: %s\r\n", extensions)
	}
	return append(dst, "\r\n"...)
}

// RequestKey returns the value of Sec-WebSocket-Key in the head of a request, or nil.
func RequestKey(head []byte) []byte { return header(head, "sec-websocket-key") }

func header(head []byte, name string) []byte {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if k, v, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(k, []byte(name)) {
			return bytes.TrimSpace(v)
		}
	}
	return nil
}

// readHead reads up to and including the empty line, byte by byte. It reads nothing after
// it.
func readHead(r io.Reader) ([]byte, error) {
	var head, b []byte
	for b = make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		if head = append(head, b[0]); len(head) > 16<<10 {
			return nil, errors.New("wire: head of a handshake over 16 KiB")
		}
	}
	return head, nil
}

// readRequest reads a request. Nothing may follow the request before the answer.
func readRequest(r io.Reader) ([]byte, error) {
	head := make([]byte, 0, 1<<10)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if len(head) == cap(head) {
			return nil, errors.New("wire: head of a request over 1 KiB")
		}
		n, err := r.Read(head[len(head):cap(head)])
		if err != nil {
			return nil, err
		}
		head = head[:len(head)+n]
	}
	return head, nil
}

// Answer plays the server of a handshake on c. If deflate is set it agrees on
// permessage-deflate with context takeover in both directions, whatever else the client
// offered.
func Answer(c net.Conn, deflate bool) error {
	head, err := readRequest(c)
	if err != nil {
		return err
	}
	extensions := ""
	if deflate {
		if !bytes.Contains(header(head, "sec-websocket-extensions"), []byte("permessage-deflate")) {
			return errors.New("wire: the client did not offer permessage-deflate")
		}
		extensions = "permessage-deflate"
	}
	_, err = c.Write(AppendResponse(nil, RequestKey(head), extensions))
	return err
}

// Open plays the client of a handshake on c.
func Open(c net.Conn) error {
	if _, err := c.Write(AppendRequest(nil, c.RemoteAddr().String(), "/", "")); err != nil {
		return err
	}
	head, err := readHead(c)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		return fmt.Errorf("wire: handshake refused: %q", head)
	}
	return nil
}
