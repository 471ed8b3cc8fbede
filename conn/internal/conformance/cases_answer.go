package conformance

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// An answerCase tests how a client treats an answer.
type answerCase struct {
	edit    func(answer, request *head)
	raw     func(answer *head) []byte // bytes to send instead of an answer
	refused bool                      // the client must not use the connection
	lax     Verdict
	cuts    []int // where a new write begins
}

// reply sends the answer.
func (s *session) reply(answer *head, a *answerCase) error {
	b := answer.bytes()
	if a.raw != nil {
		b = a.raw(answer)
	}
	if a.refused { // a client that accepts the answer echoes this
		p := text("used")
		b = p.append(b, false)
	}
	s.note(true, b, "answer: "+strings.Join(append([]string{answer.first}, answer.lines...), " | "))
	from := 0
	for _, cut := range append(slices.Clone(a.cuts), len(b)) {
		if cut < from || cut > len(b) {
			continue
		}
		if _, err := s.nc.Write(b[from:cut]); err != nil {
			return err
		}
		from = cut
	}
	return nil
}

// refused judges a client that must refuse the answer.
func (s *session) refused() Result {
	s.halfClose()
	lax := s.c.answer.lax
	if lax == OK {
		lax = Failed
	}
	_ = s.nc.SetReadDeadline(time.Now().Add(s.o.Patience))
	var b []byte
	chunk := make([]byte, 4096)
	for {
		n, err := s.nc.Read(chunk)
		b = append(b, chunk[:n]...)
		f, length, _ := parse(b)
		if length > 0 {
			s.note(false, b[:length], describeFrame(f))
			if f.op != opClose {
				return s.unopened(lax, "the client takes it for an answer that opens")
			}
			if code := string(f.data); len(code) >= 2 && code[:2] == "\x03\xE8" {
				return s.unopened(lax, "the client takes it for an answer that opens, and says goodbye")
			}
			return s.unopened(NonStrict, "the client sends a Close on a connection that never was one")
		}
		if len(b) > maxHead {
			return s.unopened(lax, "the client takes it for an answer that opens, and sends a large frame")
		}
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			return s.unopened(NonStrict, "the client neither uses the connection nor closes it")
		}
		if err != nil {
			return s.unopened(OK, "")
		}
	}
}

func takes(id, title, covers string, edit func(answer, request *head)) *Case {
	return &Case{ID: id, Title: title, Covers: strings.Fields(covers), Role: Client, steps: hello,
		want: []event{echoed(opText, "hello")}, answer: &answerCase{edit: edit}}
}

// mayTake lowers the verdict on a client that accepts the answer.
func (c *Case) mayTake(v Verdict) *Case {
	c.answer.lax = v
	return c
}

func rejects(id, title, covers string, edit func(answer, request *head)) *Case {
	return &Case{ID: id, Title: title, Covers: strings.Fields(covers), Role: Client,
		answer: &answerCase{edit: edit, refused: true}}
}

func rejectsRaw(id, title, covers string, raw func(answer *head) []byte) *Case {
	c := rejects(id, title, covers, nil)
	c.answer.raw = raw
	return c
}

func answering(name, value string) func(a, r *head) {
	return func(a, _ *head) { a.set(name, value) }
}

// answerCases are R38 to R51: the client's side of the handshake.
func answerCases(Volume) []*Case {
	return slices.Concat(requestFormCases(), statusCases(), acceptCases(), agreedCases(), leftoverCases(), headFormCases())
}

func requestFormCases() []*Case {
	return []*Case{
		takes("R38.1", "the request has each line once", "R38", nil),
		takes("R39.1", "the key is 16 bytes, and new", "R39", nil),
		takes("R39.2", "the key is new again", "R39", nil),
	}
}

func statusCases() []*Case {
	var all []*Case
	for i, status := range []int{200, 204, 301, 302, 307, 308, 400, 401, 403, 404, 407, 426, 429, 500, 503} {
		all = append(all, rejects(fmt.Sprintf("R40.%d", i+1), fmt.Sprintf("status %d, with all that opens", status), "R40", func(a, _ *head) {
			a.first = fmt.Sprintf("HTTP/1.1 %d No", status)
		}))
	}
	interim := func(id string, title string, lines ...string) *Case {
		return takes("R41."+id, title, "R41", func(a, _ *head) {
			a.first = strings.Join(lines, "\r\n\r\n") + "\r\n\r\n" + a.first
		})
	}
	first := func(id, line string) *Case {
		return rejects("R42."+id, fmt.Sprintf("first line %q", line), "R42", func(a, _ *head) { a.first = line })
	}
	return append(all,
		interim("1", "100 before the answer", "HTTP/1.1 100 Continue"),
		interim("2", "102, 103 and 103 before the answer", "HTTP/1.1 102 Processing", "HTTP/1.1 103 Early Hints\r\nLink: </a>", "HTTP/1.1 103 Early Hints"),
		takes("R42.1", "no reason", "R42", func(a, _ *head) { a.first = "HTTP/1.1 101 " }),
		first("2", "HTTP/1.0 101 Switching Protocols").mayTake(NonStrict),
		first("3", "HTTP/11 101 Switching Protocols"),
		first("4", "ICY 101 Switching Protocols"),
		first("5", "HTTP/1.1 1010 Switching Protocols"),
		first("6", "HTTP/2.0 101 Switching Protocols"),
	)
}

func acceptCases() []*Case {
	accept := func(edit func(v string) string) func(a, r *head) {
		return func(a, r *head) { a.set("Sec-WebSocket-Accept", edit(acceptOf(r.value("Sec-WebSocket-Key")))) }
	}
	return []*Case{
		takes("R43.1", "Upgrade: WebSocket", "R43", answering("Upgrade", "WebSocket")),
		rejects("R43.2", "Upgrade: xwebsocketx", "R43", answering("Upgrade", "xwebsocketx")),
		rejects("R43.3", "no Upgrade", "R43", func(a, _ *head) { a.del("Upgrade") }),
		takes("R44.1", "Connection: upgrade", "R44", answering("Connection", "upgrade")),
		takes("R44.2", "Connection: keep-alive, Upgrade", "R44", answering("Connection", "keep-alive, Upgrade")),
		rejects("R44.3", "Connection: notupgrade", "R44", answering("Connection", "notupgrade")),
		rejects("R44.4", "no Connection", "R44", func(a, _ *head) { a.del("Connection") }),
		takes("R45.1", "spaces around the hash", "R45", accept(func(v string) string { return "  " + v + " \t" })),
		rejects("R45.2", "a wrong hash", "R45", accept(func(string) string { return acceptOf("another key") })),
		rejects("R45.3", "no hash", "R45", func(a, _ *head) { a.del("Sec-WebSocket-Accept") }),
		rejects("R45.4", "the hash in small letters", "R45", accept(strings.ToLower)),
		rejects("R45.5", "the hash twice", "R45", func(a, r *head) { a.add("Sec-WebSocket-Accept", acceptOf(r.value("Sec-WebSocket-Key"))) }).mayTake(NonStrict),
		rejects("R45.6", "the hash and more", "R45", accept(func(v string) string { return v + "x" })),
		rejects("R45.7", "the key itself", "R45", func(a, r *head) { a.set("Sec-WebSocket-Accept", r.value("Sec-WebSocket-Key")) }),
	}
}

func agreedCases() []*Case {
	return []*Case{
		rejects("R46.1", "an extension that was not offered", "R46", answering("Sec-WebSocket-Extensions", "x-conformance")),
		rejects("R46.2", "an extension that was not offered, beside one", "R46", answering("Sec-WebSocket-Extensions", "permessage-deflate, x-conformance")),
		rejects("R46.3", "a malformed list", "R46", answering("Sec-WebSocket-Extensions", `x; y="z`)),
		rejects("R47.1", "a subprotocol that was not offered", "R47", answering("Sec-WebSocket-Protocol", "conformance.example")),
		rejects("R47.2", "two subprotocols", "R47", answering("Sec-WebSocket-Protocol", "conformance.example, b.example")),
		rejects("R47.3", "two lines with a subprotocol", "R47", func(a, _ *head) {
			a.add("Sec-WebSocket-Protocol", "conformance.example").add("Sec-WebSocket-Protocol", "b.example")
		}),
	}
}

// leftoverCases send frames along with the answer, cut in many places.
func leftoverCases() []*Case {
	var all []*Case
	frames := func(b []byte) []byte {
		for _, s := range []string{"one", "two", "three"} {
			p := text(s)
			b = p.append(b, false)
		}
		return b
	}
	for i, cuts := range [][]int{nil, {1}, {20}, {60, 100}, {125}, {128}, {129}, {130}, {131}, {132}, {135}, {137}, {1, 2, 3, 4, 5, 126, 127, 128, 129, 130, 131, 132, 133, 134, 135}} {
		c := takes(fmt.Sprintf("R48.%d", i+1), fmt.Sprintf("frames with the answer, new writes at %v", cuts), "R48", func(a, _ *head) { a.tail = frames(nil) })
		c.answer.cuts = cuts
		c.want = []event{echoed(opText, "one"), echoed(opText, "two"), echoed(opText, "three"), echoed(opText, "hello")}
		all = append(all, c)
	}
	return all
}

func headFormCases() []*Case {
	line := func(l string) func(a, r *head) { return func(a, _ *head) { a.lines = append(a.lines, l) } }
	endless := func(id, title string, more func(a *head) []byte) *Case {
		c := rejectsRaw(id, title, "R49", more)
		return c.mayTake(Informational)
	}
	return []*Case{
		endless("R49.1", "a line of 1 MiB", func(a *head) []byte {
			return (&head{first: a.first, lines: append(slices.Clone(a.lines), "X: "+strings.Repeat("x", 1<<20))}).bytes()
		}),
		endless("R49.2", "20,000 lines", func(a *head) []byte {
			return (&head{first: a.first, lines: append(slices.Clone(a.lines), slices.Repeat([]string{"X-Line: yes"}, 20000)...)}).bytes()
		}),
		rejects("R50.1", "a line that goes on in the next", "R50", line("X-Folded: a\r\n b")).mayTake(Informational), // RFC 9112 §5.2
		rejects("R50.2", "a space before the colon", "R50", line("X-Space : a")).mayTake(NonStrict),
		rejects("R50.3", "a NUL in a value", "R50", line("X-Nul: a\x00b")).mayTake(NonStrict),
		rejects("R50.4", "a CR in a value", "R50", line("X-Return: a\rb")).mayTake(NonStrict),
		rejects("R50.5", "a line without a colon", "R50", line("nothing")),
		rejects("R50.6", "an empty name", "R50", line(": value")),
		takes("R51.1", "Content-Length: 7", "R51", func(a, _ *head) { a.add("Content-Length", "7") }),
		takes("R51.2", "Transfer-Encoding: chunked", "R51", func(a, _ *head) { a.add("Transfer-Encoding", "chunked") }),
	}
}
