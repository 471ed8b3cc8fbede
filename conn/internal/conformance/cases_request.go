package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// A requestCase tests a server's answer to a request.
type requestCase struct {
	edit    func(h *head)
	refused []int // with one of these statuses; nil: not refused; status 0: any of 4xx or 5xx
	lax     Verdict
	may     bool // it may also be refused, with 400
	plain   bool // without WebSocket HTTP may answer the request with 2xx or 3xx
	agrees  bool // to permessage-deflate, if the server supports it
	cut     int  // bytes of the first write
	check   func(answer *head) (Verdict, string)
}

// unanswered returns the verdict on a connection that ends without an answer.
func (q *requestCase) unanswered(c *Case) Verdict {
	if q.refused != nil {
		return NonStrict
	}
	return c.worst()
}

// refusal judges an answer to a request that must be refused.
func (q *requestCase) refusal(s *session, answer *head) (Result, bool) {
	status := answer.status()
	switch {
	case q.may && status == 400:
		return s.unopened(OK, ""), true
	case q.refused == nil:
		return Result{}, false
	case status == 101:
		v := q.lax
		if v == OK {
			v = Failed
		}
		return s.unopened(v, "the request is accepted"), true
	case q.plain && status >= 200 && status < 400:
		return s.unopened(Informational, fmt.Sprintf("it is answered as a request of plain HTTP: %q", answer.first)), true
	case status < 400:
		return s.unopened(Failed, fmt.Sprintf("the answer is %q", answer.first)), true
	case slices.Contains(q.refused, 0) || slices.Contains(q.refused, status):
		if q.check != nil {
			if v, note := q.check(answer); v != OK {
				return s.unopened(v, note), true
			}
		}
		return s.unopened(OK, ""), true
	}
	return s.unopened(NonStrict, fmt.Sprintf("the status is %d, where %v is to be", status, q.refused)), true
}

// hello is an echo that proves a connection is open.
var hello = []step{together(text("hello"))}

func opens(id, title string, covers string, edit func(h *head)) *Case {
	return &Case{ID: id, Title: title, Covers: strings.Fields(covers), Role: Server, steps: hello,
		want: []event{echoed(opText, "hello")}, request: &requestCase{edit: edit}}
}

func refuses(id, title, covers string, statuses []int, edit func(h *head)) *Case {
	return &Case{ID: id, Title: title, Covers: strings.Fields(covers), Role: Server,
		request: &requestCase{edit: edit, refused: statuses}}
}

func (c *Case) laxly(v Verdict) *Case {
	c.request.lax = v
	return c
}

// orPlain allows the answer to a request that need not ask for a WebSocket.
func (c *Case) orPlain() *Case {
	c.request.plain = true
	return c
}

var bad = []int{400}

func setting(name, value string) func(h *head) { return func(h *head) { h.set(name, value) } }
func adding(name, value string) func(h *head)  { return func(h *head) { h.add(name, value) } }

// requestCases are R56 to R67: the server's side of the handshake.
func requestCases(Volume) []*Case {
	all := slices.Concat(methodCases(), tokenCases(), keyCases(), policyCases(), extensionHeaderCases())
	frame := text("early")
	b := frame.append(nil, true)
	pipelined := func(cut int) *Case {
		c := opens(fmt.Sprintf("R64.%d", cut+1), fmt.Sprintf("a frame with the request, %d bytes before a cut", cut), "R64",
			func(h *head) { h.tail = b })
		c.request.cut = cut
		c.want = []event{echoed(opText, "early"), echoed(opText, "hello")}
		return c
	}
	for _, cut := range []int{0, 1, 4, 20, 60, 120} {
		all = append(all, pipelined(cut))
	}
	return append(all,
		refuses("R65.1", "a body with a length", "R65", bad, func(h *head) { h.add("Content-Length", "5").tail = []byte("hello") }).laxly(NonStrict),
		refuses("R65.2", "a chunked body", "R65", bad, func(h *head) { h.add("Transfer-Encoding", "chunked").tail = []byte("0\r\n\r\n") }).laxly(NonStrict),
		opens("R65.3", "a body of no bytes", "R65", adding("Content-Length", "0")),
		refuses("R67.1", "the preface of HTTP/2", "R67", []int{0}, func(h *head) {
			h.first, h.lines, h.tail = "PRI * HTTP/2.0", nil, []byte("SM\r\n\r\n")
		}),
	)
}

func methodCases() []*Case {
	first := func(s string) func(h *head) {
		return func(h *head) { h.first = strings.Replace(h.first, "GET", s, 1) }
	}
	version := func(v string) func(h *head) {
		return func(h *head) { h.first = strings.Replace(h.first, "HTTP/1.1", v, 1) }
	}
	return []*Case{
		refuses("R56.1", "method POST", "R56", []int{400, 405, 404, 501}, first("POST")).orPlain(),
		refuses("R56.2", "method HEAD", "R56", []int{400, 405, 404, 501}, first("HEAD")).orPlain(),
		refuses("R56.3", "method get, in small letters", "R56", []int{400, 405, 404, 501}, first("get")),
		refuses("R56.4", "HTTP/1.0", "R56", []int{400, 426, 505}, version("HTTP/1.0")).laxly(NonStrict),
		refuses("R56.5", "no Host", "R56", bad, func(h *head) { h.del("Host") }).laxly(NonStrict),
		refuses("R56.6", "Host twice", "R56", bad, adding("Host", "other.example")).laxly(NonStrict),
		refuses("R56.7", "no version of HTTP", "R56", []int{0}, version("")),
	}
}

// lenient makes a case non-strict for an agent that does not do what it wants.
func lenient(c *Case) *Case {
	c.fails = NonStrict
	return c
}

func tokenCases() []*Case {
	return []*Case{
		opens("R57.1", "Upgrade: WebSocket, Connection: upgrade", "R57", func(h *head) { h.set("Upgrade", "WebSocket").set("Connection", "upgrade") }),
		opens("R57.2", "Connection: keep-alive, Upgrade", "R57", setting("Connection", "keep-alive, Upgrade")),
		opens("R57.3", "Connection over two lines", "R57", func(h *head) { h.set("Connection", "keep-alive").add("Connection", "Upgrade") }),
		lenient(opens("R57.4", "Upgrade: foo/2, websocket", "R57", setting("Upgrade", "foo/2, websocket"))),
		opens("R57.5", "names in small letters, spaces around values", "R57", func(h *head) {
			h.set("upgrade", "  websocket\t ").set("connection", " Upgrade ")
		}),
		refuses("R57.6", "Upgrade: xwebsocketx", "R57", []int{400, 426}, setting("Upgrade", "xwebsocketx")).orPlain(),
		refuses("R57.7", "Connection: notupgrade", "R57", []int{400, 426}, setting("Connection", "notupgrade")).orPlain(),
		refuses("R57.8", "no Upgrade", "R57", []int{0}, func(h *head) { h.del("Upgrade") }).orPlain(),
		refuses("R57.9", "no Connection", "R57", []int{0}, func(h *head) { h.del("Connection") }).orPlain(),
	}
}

func keyCases() []*Case {
	key := func(id, title, value string, lax Verdict) *Case {
		return refuses("R58."+id, title, "R58", bad, setting("Sec-WebSocket-Key", value)).laxly(lax)
	}
	version := func(id, title string, edit func(h *head)) *Case {
		c := refuses("R59."+id, title, "R59", []int{426, 400}, edit)
		c.request.check = func(answer *head) (Verdict, string) {
			if !answer.hasToken("Sec-WebSocket-Version", "13") {
				return NonStrict, "the answer does not say Sec-WebSocket-Version: 13"
			}
			return OK, ""
		}
		return c
	}
	return []*Case{
		key("1", "a key of 15 bytes", "AQIDBAUGBwgJCgsMDQ4P", NonStrict),
		key("2", "a key of 17 bytes", "AQIDBAUGBwgJCgsMDQ4PEBE=", NonStrict),
		key("3", "a key with a letter that base64 has not", "AQIDBAUGBwgJCgsMDQ4P!A==", NonStrict),
		key("4", "a key without its padding", "AQIDBAUGBwgJCgsMDQ4PEA", NonStrict),
		key("5", "an empty key", "", Failed),
		refuses("R58.6", "no key", "R58", bad, func(h *head) { h.del("Sec-WebSocket-Key") }),
		refuses("R58.7", "two keys", "R58", bad, adding("Sec-WebSocket-Key", "AQIDBAUGBwgJCgsMDQ4PEA==")).laxly(NonStrict),
		refuses("R59.1", "no version", "R59", []int{400, 426}, func(h *head) { h.del("Sec-WebSocket-Version") }),
		version("2", "version 8", setting("Sec-WebSocket-Version", "8")).laxly(NonStrict),
		version("3", "version 14", setting("Sec-WebSocket-Version", "14")),
		version("4", "version 013", setting("Sec-WebSocket-Version", "013")).laxly(NonStrict),
		version("5", "version 13, 8", setting("Sec-WebSocket-Version", "13, 8")).laxly(NonStrict),
		version("6", "version over two lines", adding("Sec-WebSocket-Version", "8")).laxly(NonStrict),
	}
}

func policyCases() []*Case {
	subprotocol := func(id, title, offer string, may ...string) *Case {
		c := opens("R61."+id, title, "R61", setting("Sec-WebSocket-Protocol", offer))
		c.request.check = func(answer *head) (Verdict, string) {
			got := answer.values("Sec-WebSocket-Protocol")
			if len(got) > 1 || len(got) == 1 && !slices.Contains(may, got[0]) {
				return Failed, fmt.Sprintf("the subprotocol is %q, of %q that were offered", got, may)
			}
			return OK, ""
		}
		return c
	}
	return []*Case{
		refuses("R60.1", "a page of another origin", "R60", []int{403}, adding("Origin", "http://evil.example")).laxly(Informational),
		refuses("R60.2", "Origin: null", "R60", []int{403}, adding("Origin", "null")).laxly(Informational),
		subprotocol("1", "one subprotocol", "conformance.example", "conformance.example"),
		subprotocol("2", "two subprotocols", "b.example, a.example", "a.example", "b.example"),
	}
}

func extensionHeaderCases() []*Case {
	header := func(id, title, value string) *Case {
		c := opens("R62."+id, title, "R62", setting("Sec-WebSocket-Extensions", value))
		c.request.check, c.request.may = nothingAgreed, true
		return c
	}
	all := []*Case{
		header("1", "an empty list", ""),
		header("2", "an unclosed quote", `permessage-deflate; x="y`),
		header("3", "no name", `;;`),
		header("4", "a good offer before a malformed one", `permessage-deflate, ;x`),
		header("5", "a quoted value that is no token", `permessage-deflate; server_max_window_bits="1 0"`),
	}
	hidden := opens("R63.1", "an offer within quotes", "R63",
		setting("Sec-WebSocket-Extensions", `x; y=",permessage-deflate; client_max_window_bits,"`))
	hidden.request.check = nothingAgreed
	second := opens("R63.2", "a comma within quotes, and an offer after it", "R63", setting("Sec-WebSocket-Extensions", `x; y="a,b;c\"d", permessage-deflate`))
	hidden.request.may, second.request.may = true, true // a quoted value must be a token (RFC 6455 §9.1)
	return append(all, hidden, second)
}

func nothingAgreed(answer *head) (Verdict, string) {
	if got := answer.value("Sec-WebSocket-Extensions"); got != "" {
		return Failed, fmt.Sprintf("it agrees to %s, of a header that is malformed or offers nothing", got)
	}
	return OK, ""
}
