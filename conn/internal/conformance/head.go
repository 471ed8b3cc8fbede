package conformance

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A head is a request or an answer: its first line and the lines after it, unchanged.
type head struct {
	first string
	lines []string
	tail  []byte // sent in the same write
}

func (h *head) bytes() []byte {
	return append([]byte(h.first+"\r\n"+strings.Join(append(h.lines, "", ""), "\r\n")), h.tail...)
}

// set replaces the lines of a name, add adds one, and del removes them all.
func (h *head) set(name, value string) *head { return h.del(name).add(name, value) }
func (h *head) add(name, value string) *head {
	h.lines = append(h.lines, name+": "+value)
	return h
}

func (h *head) del(name string) *head {
	var kept []string
	for _, l := range h.lines {
		if n, _, _ := strings.Cut(l, ":"); !strings.EqualFold(n, name) {
			kept = append(kept, l)
		}
	}
	h.lines = kept
	return h
}

// values returns all values of a name.
func (h *head) values(name string) (all []string) {
	for _, l := range h.lines {
		if n, v, _ := strings.Cut(l, ":"); strings.EqualFold(n, name) {
			all = append(all, strings.TrimSpace(v))
		}
	}
	return all
}

func (h *head) value(name string) string { return strings.Join(h.values(name), ", ") }

// hasToken reports whether a token is in the list in the lines of a name.
func (h *head) hasToken(name, token string) bool {
	for _, v := range strings.Split(h.value(name), ",") {
		if strings.EqualFold(strings.TrimSpace(v), token) {
			return true
		}
	}
	return false
}

// status returns the status of an answer, or 0 if its first line has none.
func (h *head) status() int {
	parts := strings.SplitN(h.first, " ", 3)
	if len(parts) < 2 || !strings.HasPrefix(parts[0], "HTTP/1.") {
		return 0
	}
	n, _ := strconv.Atoi(parts[1]) // 0 means none
	return n
}

// secretNames are the headers whose values no report shows.
var secretNames = []string{"Authorization", "Cookie", "Proxy-Authorization", "Set-Cookie"}

// shown returns a first line and the lines after it for a report: without the values of
// secretNames and of o.Header.
func (o *Options) shown(first string, lines []string) string {
	secret := func(name string) bool {
		same := func(s string) bool {
			s, _, _ = strings.Cut(s, ":")
			return strings.EqualFold(strings.TrimSpace(s), name)
		}
		return slices.ContainsFunc(secretNames, same) || slices.ContainsFunc(o.Header, same)
	}
	var b strings.Builder
	b.WriteString(first)
	hidden := false
	for _, l := range lines {
		name, _, _ := strings.Cut(l, ":")
		if l == "" || l[0] != ' ' && l[0] != '\t' { // not a folded line
			hidden = secret(strings.TrimSpace(name))
		} else if hidden {
			continue
		}
		if hidden {
			l = name + ": xxxxx"
		}
		b.WriteString(" | " + l)
	}
	return b.String()
}

// withoutQuery returns the first line of a request without the query of its target.
func withoutQuery(first string) string {
	target, query, ok := strings.Cut(first, "?")
	if _, version, more := strings.Cut(query, " "); ok && more {
		return target + " " + version
	}
	return target
}

const maxHead = 64 << 10

var errHeadTooLong = errors.New("a head of more than 64 KiB")

// readHead reads up to an empty line. early has the bytes after it.
func readHead(nc net.Conn, d time.Duration) (h *head, early []byte, err error) {
	return readHeadAfter(nc, d, nil)
}

func readHeadAfter(nc net.Conn, d time.Duration, b []byte) (h *head, early []byte, err error) {
	if err := nc.SetReadDeadline(time.Now().Add(d)); err != nil {
		return nil, nil, err
	}
	defer nc.SetReadDeadline(time.Time{})
	chunk := make([]byte, 4096)
	for {
		if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
			lines := strings.Split(string(b[:i]), "\r\n")
			return &head{first: lines[0], lines: lines[1:]}, b[i+4:], nil
		}
		if len(b) > maxHead {
			return nil, nil, errHeadTooLong
		}
		n, err := nc.Read(chunk)
		b = append(b, chunk[:n]...)
		if err != nil && n == 0 {
			if err == io.EOF && len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, b, err
		}
	}
}

// keyLength is the length of a key: 16 bytes in base64.
const keyLength = 24

func newKey() string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return base64.StdEncoding.EncodeToString(nonce[:])
}

// acceptOf returns the Sec-WebSocket-Accept for a key (RFC 6455 §4.2.2).
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// checkAnswer returns an error if the answer does not open a WebSocket (RFC 6455 §4.1).
func checkAnswer(h *head, key string) error {
	accept := h.values("Sec-WebSocket-Accept")
	switch {
	case h.status() != 101:
		return fmt.Errorf("the answer is %q", h.first)
	case !h.hasToken("Upgrade", "websocket"):
		return errors.New("the answer has no Upgrade: websocket")
	case !h.hasToken("Connection", "upgrade"):
		return errors.New("the answer has no Connection: Upgrade")
	case len(accept) != 1 || accept[0] != acceptOf(key):
		return fmt.Errorf("Sec-WebSocket-Accept is %q", accept)
	}
	return nil
}
