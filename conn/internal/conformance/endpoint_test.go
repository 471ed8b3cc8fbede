package conformance

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// A defect is something that an endpoint does wrong.
type defect string

// An endpoint is a WebSocket endpoint that sends every message back. It has none of the
// engine's code, and can be broken in one way at a time.
type endpoint struct {
	defect defect
	nc     net.Conn
	in     *bufio.Reader
	client bool

	deflate *agreement
	z       *inflater
	out     *deflater
	opened  bool // a message is
	op      byte
	packed  bool
	message []byte
	checked int // bytes of message that are UTF-8
}

const endpointLimit = 16 << 20

func (e *endpoint) has(d defect) bool { return e.defect == d }

// A refusal is the code with which an endpoint fails a connection.
type refusal int

func (r refusal) Error() string { return fmt.Sprint("close code ", int(r)) }

var errGoodbye = errors.New("the peer has said goodbye")

// run goes on until the connection ends.
func (e *endpoint) run() {
	for {
		err := e.frame()
		var code refusal
		switch {
		case err == nil:
			continue
		case errors.As(err, &code):
			e.fail(int(code))
		case err == errGoodbye:
			e.end()
		}
		return
	}
}

func (e *endpoint) fail(code int) {
	switch {
	case e.has("fails without a Close"):
		e.nc.(*net.TCPConn).SetLinger(0)
		e.nc.Close()
		return
	case e.has("fails with another code"):
		code = 1011
	}
	e.send(closing(code, ""))
	e.end()
}

// end closes TCP in the order of RFC 6455 §7.1.1.
func (e *endpoint) end() {
	if e.client {
		if e.has("does not wait for the server to close") {
			return
		}
		e.drain()
		return
	}
	if e.has("does not close TCP") {
		e.drain()
		return
	}
	e.nc.(*net.TCPConn).CloseWrite()
	e.drain()
}

func (e *endpoint) drain() { io.Copy(io.Discard, e.in) }

func (e *endpoint) send(p piece) {
	if e.has("sends a wrong mask bit") {
		p.mask = maskWrong
	}
	if e.has("sends lengths that are not in their shortest form") && len(p.data) < 65536 {
		p.form = 8
	}
	b := p.append(nil, e.client)
	if e.has("masks with one key") && e.client {
		b = rekeyed(b, p)
	}
	e.nc.Write(b)
}

// rekeyed has the octets of a masked frame masked with a key that never changes.
func rekeyed(b []byte, p piece) []byte {
	at := len(b) - len(p.data)
	key := []byte{1, 2, 3, 4}
	copy(b[at-4:], key)
	for i := range p.data {
		b[at+i] = p.data[i] ^ key[i&3]
	}
	return b
}

// frame reads one, and does what it asks for.
func (e *endpoint) frame() error {
	first, err := e.in.ReadByte()
	if err != nil {
		return err
	}
	fin, rsv, op := first&0x80 != 0, first>>4&7, first&15
	if err := e.first(fin, rsv, op); err != nil {
		return err
	}
	second, err := e.in.ReadByte()
	if err != nil {
		return err
	}
	masked, short := second&0x80 != 0, second&127
	switch {
	case masked == e.client && !e.has("takes a wrong mask bit"):
		return refusal(1002)
	case op >= opClose && short > 125 && !e.has("takes long control frames"):
		return refusal(1002)
	case op == opClose && short == 1 && !e.has("takes a Close of one byte"):
		return refusal(1002)
	}
	length, err := e.length(short)
	if err != nil {
		return err
	}
	var key [4]byte
	if masked {
		if _, err := io.ReadFull(e.in, key[:]); err != nil {
			return err
		}
	}
	if op >= opClose {
		data := make([]byte, length)
		if _, err := io.ReadFull(e.in, data); err != nil {
			return err
		}
		unmask(data, key, 0)
		return e.control(op, data)
	}
	return e.part(fin, op, length, key)
}

func (e *endpoint) first(fin bool, rsv, op byte) error {
	rsv1 := rsv == 4 && e.deflate != nil && (op == opText || op == opBinary)
	if e.has("takes RSV1 on continuations") && rsv == 4 && op == opContinuation {
		rsv1 = true
	}
	reserved := op > opBinary && op < opClose || op > opPong
	switch {
	case rsv != 0 && !rsv1 && !e.has("takes reserved bits"):
		return refusal(1002)
	case reserved && !e.has("takes reserved opcodes"):
		return refusal(1002)
	case op >= opClose && !fin && !reserved && !e.has("takes control frames in pieces"):
		return refusal(1002)
	case op == opContinuation && !e.opened && !e.has("takes continuations of nothing"):
		return refusal(1002)
	case (op == opText || op == opBinary) && e.opened && !e.has("takes messages within messages"):
		return refusal(1002)
	}
	if op == opText || op == opBinary {
		e.op, e.packed, e.message, e.checked = op, rsv1, nil, 0
		e.opened = true
	}
	return nil
}

func (e *endpoint) length(short byte) (int, error) {
	n, least := uint64(short), uint64(0)
	var b [8]byte
	switch short {
	case 126:
		if _, err := io.ReadFull(e.in, b[:2]); err != nil {
			return 0, err
		}
		n, least = uint64(binary.BigEndian.Uint16(b[:])), 126
	case 127:
		if _, err := io.ReadFull(e.in, b[:]); err != nil {
			return 0, err
		}
		n, least = binary.BigEndian.Uint64(b[:]), 1<<16
	}
	switch {
	case n>>63 != 0:
		if e.has("takes the top bit of a length") {
			return 0, nil
		}
		return 0, refusal(1002)
	case n < least && !e.has("takes lengths that are not in their shortest form"):
		return 0, refusal(1002)
	case n+uint64(len(e.message)) > endpointLimit:
		if e.has("has no limit") {
			e.drain()
		}
		return 0, refusal(1009)
	}
	if e.has("takes 65536 for 65535") && n == 65536 {
		n--
	}
	return int(n), nil
}

func unmask(b []byte, key [4]byte, at int) {
	for i := range b {
		b[i] ^= key[(at+i)&3]
	}
}

func (e *endpoint) control(op byte, data []byte) error {
	switch op {
	case opPing:
		if e.has("does not answer pings") || e.has("answers pings after messages only") && e.opened {
			return nil
		}
		if e.has("answers pings without their payload") {
			data = nil
		}
		e.send(piece{op: opPong, data: data})
	case opPong:
		if e.has("answers pongs") {
			e.send(piece{op: opPong, data: data})
		}
	case opClose:
		return e.goodbye(data)
	}
	return nil
}

func (e *endpoint) goodbye(data []byte) error {
	if e.has("goes on after Close") {
		e.send(piece{op: opClose, data: data})
		e.send(text("one more thing"))
		return errGoodbye
	}
	if len(data) >= 2 {
		code := binary.BigEndian.Uint16(data)
		valid := code >= 1000 && code <= 1014 && (code < 1004 || code > 1006) || code >= 3000 && code <= 4999
		if e.has("takes every close code") && !valid {
			valid = true
			data = append([]byte{3, 0xE8}, data[2:]...)
		}
		if e.has("refuses code 1011") && code == 1011 {
			valid = false
		}
		if !valid {
			return refusal(1002)
		}
		if len(data) >= 2 && !utf8.Valid(data[2:]) && !e.has("takes every close reason") {
			return refusal(1007)
		}
	}
	if e.has("does not answer Close") {
		return errGoodbye
	}
	answer := string(data[:min(2, len(data))])
	if answer == "\x03\xF2" && !e.client {
		answer = "\x03\xE8" // 1010 is the client's
	}
	e.send(closeBody(answer))
	return errGoodbye
}

// part reads the payload of a data frame, and sends the message back with its last one.
func (e *endpoint) part(fin bool, op byte, length int, key [4]byte) error {
	for at := 0; at < length; {
		chunk := make([]byte, min(length-at, 4096))
		n, err := e.in.Read(chunk)
		if err != nil {
			return err
		}
		unmask(chunk[:n], key, at)
		at += n
		e.message = append(e.message, chunk[:n]...)
		if e.op == opText && !e.packed && !e.has("checks text at its end only") {
			if err := e.check(false); err != nil {
				return err
			}
		}
	}
	if e.opened && e.op == opText && e.packed && !fin {
		if data, ok := e.peek(); ok && !validSoFar(data) {
			return refusal(1007)
		}
	}
	if !fin {
		return nil
	}
	if op == opContinuation && !e.opened {
		return nil // of a defect that takes such
	}
	e.opened = false
	return e.whole()
}

// peek inflates what has come of a message, if that ends with a sync flush.
func (e *endpoint) peek() ([]byte, bool) {
	if n := len(e.message); n < 4 || string(e.message[n-4:]) != string(tail) {
		return nil, false
	}
	z := *e.z
	data, err := z.message(e.message[:len(e.message)-4])
	return data, err == nil
}

func validSoFar(b []byte) bool {
	for len(b) > 0 && utf8.FullRune(b) {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return false
		}
		b = b[n:]
	}
	return true
}

// check judges text as far as it has come, or to its end.
func (e *endpoint) check(whole bool) error {
	if e.has("does not check text") {
		return nil
	}
	for e.checked < len(e.message) {
		b := e.message[e.checked:]
		if !utf8.FullRune(b) {
			break
		}
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1 && e.has("takes surrogates") && len(b) >= 3 && b[0] == 0xED && b[1] >= 0xA0:
			n = 3
		case r == utf8.RuneError && n == 1:
			return refusal(1007)
		case e.has("refuses characters that are none") && (r&0xFFFE == 0xFFFE):
			return refusal(1007)
		}
		e.checked += n
	}
	if whole && e.checked < len(e.message) && !e.has("takes text that ends within a character") {
		return refusal(1007)
	}
	return nil
}

func (e *endpoint) whole() error {
	data := e.message
	if e.packed {
		var err error
		if data, err = e.z.message(data); err != nil {
			if e.has("delivers streams that are cut") && errors.Is(err, errStreamEnd) {
				data = e.z.out[e.z.begin:]
			} else {
				return refusal(1007)
			}
		}
		if len(data) > endpointLimit && !e.has("has no limit on what it inflates") {
			return refusal(1009)
		}
		e.message, e.checked = data, 0
		if e.has("does not check compressed text") {
			return e.back(data)
		}
	}
	if e.op == opText {
		if err := e.check(true); err != nil {
			return err
		}
	}
	return e.back(data)
}

// back sends a message back.
func (e *endpoint) back(data []byte) error {
	switch {
	case e.has("loses the last byte of long messages") && len(data) > 60000:
		data = data[:len(data)-1]
	case e.has("sends every message as binary"):
		e.op = opBinary
	case e.has("drops messages of no bytes") && len(data) == 0:
		return nil
	}
	p := piece{op: e.op, data: data}
	if e.deflate != nil && !e.has("never compresses") {
		p.rsv = 4
		p.data = e.out.message(data)
		if e.has("leaves the tail") {
			p.data = append(p.data, tail...)
		}
	}
	if e.has("sends RSV1 without permessage-deflate") && e.deflate == nil {
		p.rsv = 4
	}
	if e.has("sends continuations with the opcode of the first") && len(p.data) > 1000 {
		first, second := p, p
		first.more, first.data, second.data, second.rsv = true, p.data[:500], p.data[500:], 0
		e.send(first)
		e.send(second)
		return nil
	}
	e.send(p)
	return nil
}

func (e *endpoint) agree(a *agreement) {
	e.deflate = a
	in, out := a.clientBits, a.serverBits
	inAlone, outAlone := a.clientNoContextTakeover, a.serverNoContextTakeover
	if e.client {
		in, out, inAlone, outAlone = out, in, outAlone, inAlone
	}
	if e.has("compresses with a window that is too large") {
		out = 15
	}
	if e.has("takes its context over always") {
		outAlone = false
	}
	if e.has("inflates every message alone") {
		inAlone = true
	}
	e.z, e.out = &inflater{bits: in, noContextTakeover: inAlone}, &deflater{bits: out, noContextTakeover: outAlone}
}

// serve is the side of a server.
func (d defect) serve(nc net.Conn) {
	defer nc.Close()
	e := &endpoint{defect: d, nc: nc}
	nc.SetDeadline(time.Now().Add(time.Minute))
	h, early, err := readHead(nc, time.Minute)
	nc.SetDeadline(time.Now().Add(time.Minute))
	if err != nil {
		if err != io.EOF {
			io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
		}
		return
	}
	if status, more := e.refuse(h); status != 0 {
		fmt.Fprintf(nc, "HTTP/1.1 %d No\r\n%sConnection: close\r\nContent-Length: 0\r\n\r\n", status, more)
		nc.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, nc)
		return
	}
	answer := opened(h)
	if e.has("answers with a wrong hash") {
		answer.set("Sec-WebSocket-Accept", acceptOf("no key"))
	}
	if e.has("answers a subprotocol of its own") {
		answer.add("Sec-WebSocket-Protocol", "mine")
	}
	if extension, a := e.choose(h); a != nil {
		answer.add("Sec-WebSocket-Extensions", extension)
		e.agree(a)
	}
	if e.has("loses frames that come with the request") {
		early = nil
	}
	nc.Write(answer.bytes())
	e.in = bufio.NewReader(io.MultiReader(strings.NewReader(string(early)), nc))
	defer e.out.free()
	e.run()
}

// refuse returns the status for a request that opens no WebSocket, and a line to add.
func (e *endpoint) refuse(h *head) (status int, more string) {
	parts := strings.Split(h.first, " ")
	version := h.values("Sec-WebSocket-Version")
	key := h.values("Sec-WebSocket-Key")
	nonce, err := base64.StdEncoding.DecodeString(strings.Join(key, ","))
	_, origin := "", h.value("Origin")
	switch {
	case len(parts) != 3 || parts[2] != "HTTP/1.1":
		return 505, ""
	case parts[0] != "GET" && !e.has("takes every method"):
		return 405, ""
	case len(h.values("Host")) != 1:
		return 400, ""
	case !e.hasToken(h, "Upgrade", "websocket") || !e.hasToken(h, "Connection", "upgrade"):
		return 426, ""
	case (len(version) != 1 || version[0] != "13") && !e.has("takes every version"):
		if e.has("refuses a version without its own") {
			return 426, ""
		}
		return 426, "Sec-WebSocket-Version: 13\r\n"
	case len(key) != 1 || (err != nil || len(nonce) != 16) && !e.has("takes every key"):
		return 400, ""
	case origin != "" && !e.has("takes every origin"):
		return 403, ""
	case h.value("Transfer-Encoding") != "" || h.value("Content-Length") != "" && h.value("Content-Length") != "0":
		return 400, ""
	}
	return 0, ""
}

func (e *endpoint) hasToken(h *head, name, token string) bool {
	if e.has("looks for tokens within words") {
		return strings.Contains(strings.ToLower(h.value(name)), token)
	}
	return h.hasToken(name, token)
}

// choose answers the first offer that it can take.
func (e *endpoint) choose(h *head) (string, *agreement) {
	header := h.value("Sec-WebSocket-Extensions")
	if strings.Count(header, `"`)%2 != 0 || strings.Contains(header, ";;") || strings.Contains(header, ", ;") ||
		strings.Contains(header, "1 0") || strings.HasPrefix(header, "x;") && !e.has("looks for offers within quotes") {
		return "", nil
	}
	for _, offer := range strings.Split(header, ",") {
		if answer, a := e.take(strings.Split(offer, ";")); a != nil {
			return answer, a
		}
	}
	return "", nil
}

func (e *endpoint) take(parts []string) (string, *agreement) {
	if strings.TrimSpace(parts[0]) != extensionName {
		return "", nil
	}
	a, answer := &agreement{serverBits: 15, clientBits: 15}, extensionName
	var seen []string
	for _, part := range parts[1:] {
		name, value, valued := strings.Cut(strings.TrimSpace(part), "=")
		value = strings.Trim(value, `"`)
		bits, err := windowBits(value)
		if slices.Contains(seen, name) {
			return "", nil
		}
		seen = append(seen, name)
		switch {
		case e.has("takes every parameter") && (err != nil || strings.HasSuffix(name, "takeover")):
		case name == "server_no_context_takeover" && !valued:
			if e.has("leaves server_no_context_takeover out") {
				continue
			}
			a.serverNoContextTakeover = true
			answer += "; server_no_context_takeover"
		case name == "client_no_context_takeover" && !valued:
		case name == "server_max_window_bits" && err == nil:
			a.serverBits = bits
			if e.has("answers a larger window") {
				bits = 15
			}
			answer += fmt.Sprintf("; server_max_window_bits=%d", bits)
		case name == "client_max_window_bits" && (!valued || err == nil):
		default:
			return "", nil
		}
	}
	if e.has("answers client_max_window_bits always") {
		answer += "; client_max_window_bits=15"
	}
	return answer, a
}

// listenAs serves with a defect, and returns the URL.
func listenAs(t *testing.T, d defect) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(nc)
		}
	}()
	return "ws://" + l.Addr().String() + "/"
}
