package handshake

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// shapes are the ways in which a header can be empty or repeated: lines of NAME with the
// values V and W.
var shapes = []struct{ name, lines string }{
	{"absent", ""},
	{"one value", "NAME: V"},
	{"empty", "NAME:"},
	{"only spaces", "NAME: \t "},
	{"only commas and spaces", "NAME: , ,\t,"},
	{"two values", "NAME: V, W"},
	{"duplicate", "NAME: V, V"},
	{"duplicate without a space", "NAME: V,V"},
	{"empty element", "NAME: V,, W"},
	{"comma in front", "NAME: ,V"},
	{"comma behind", "NAME: V, "},
	{"two lines", "NAME: V|NAME: W"},
	{"two lines alike", "NAME: V|NAME: V"},
	{"two lines with a duplicate across", "NAME: V|NAME: W, V"},
	{"two lines, the first empty", "NAME:|NAME: V"},
	{"two lines, the second empty", "NAME: V|NAME:"},
	{"two lines, one of commas", "NAME: V|NAME: ,,"},
	{"two lines, both empty", "NAME:|NAME:"},
}

// listCase is a header, and the error for each shape that is not accepted.
type listCase struct {
	header, v, w string
	all          *Error            // for every shape that is not in but
	but          map[string]*Error // nil: accepted
}

// once is a header that must have one value on one line.
func once(header, v string, e *Error) listCase {
	return listCase{header, v, v, e, map[string]*Error{"one value": nil}}
}

// words is a list that must have v. Its other elements have no meaning.
func words(header, v, w string, e *Error) listCase {
	return listCase{header, v, w, nil, map[string]*Error{"absent": e, "empty": e, "only spaces": e, "only commas and spaces": e, "two lines, both empty": e}}
}

func (c *listCase) each(t *testing.T, ask func(t *testing.T, lines []string, want *Error)) {
	for _, s := range shapes {
		want, named := c.but[s.name]
		if !named {
			want = c.all
		}
		var lines []string
		if s.lines != "" {
			lines = strings.Split(strings.NewReplacer("NAME", c.header, "V", c.v, "W", c.w).Replace(s.lines), "|")
		}
		t.Run(c.header+" "+s.name, func(t *testing.T) { ask(t, lines, want) })
	}
}

// without returns the head without one header and with lines added at its end.
func without(base []string, header string, lines []string) []byte {
	kept := slices.DeleteFunc(slices.Clone(base), func(l string) bool { return strings.HasPrefix(l, header+":") })
	return head(append(kept, lines...))
}

// F83: how the server treats headers that are empty or repeated.
func TestF83ListsOfARequest(t *testing.T) {
	base := append(slices.Clone(asked), "Origin: http://server.example.com")
	for _, c := range []listCase{
		once("Host", "server.example.com", ErrHost),
		words("Upgrade", "websocket", "h2c", ErrNoUpgrade),
		words("Connection", "Upgrade", "keep-alive", ErrNoConnection),
		once("Sec-WebSocket-Version", "13", ErrVersion),
		once("Sec-WebSocket-Key", rfcKey, ErrKey),
		// An empty Origin is an origin that no pattern matches.
		{"Origin", "http://server.example.com", "https://server.example.com", ErrOrigin, map[string]*Error{"absent": nil, "one value": nil}},
		// RFC 6455 §4.1: elements are unique and not empty.
		{"Sec-WebSocket-Protocol", "a", "b", ErrProtocols, map[string]*Error{"absent": nil, "one value": nil, "two values": nil, "two lines": nil,
			"duplicate": ErrProtocolTwice, "duplicate without a space": ErrProtocolTwice, "two lines alike": ErrProtocolTwice, "two lines with a duplicate across": ErrProtocolTwice}},
		// RFC 6455 §9.1 with RFC 9110 §5.6.1: at least one element. Empty elements do not
		// count. Offers of one name are alternatives.
		{"Sec-WebSocket-Extensions", "x; y", "z", nil, map[string]*Error{"empty": ErrExtensions, "only spaces": ErrExtensions,
			"only commas and spaces": ErrExtensions, "two lines, both empty": ErrExtensions}},
	} {
		c.each(t, func(t *testing.T, lines []string, want *Error) {
			v, got := parseRequest(t, without(base, c.header, lines), Limits{})
			err := got.err
			if err == nil {
				err = CheckOrigin(v, false, nil)
			}
			if want == nil && err != nil || want != nil && !errors.Is(err, want) {
				t.Fatalf("%q: %v, want %v", lines, err, want)
			}
			if err != nil {
				return
			}
			joined := strings.Join(lines, ",")
			if n := len(v.Extensions(nil)); strings.HasSuffix(c.header, "Extensions") && n != strings.Count(joined, "x; y")+strings.Count(joined, "z") {
				t.Errorf("%d extensions of %q", n, lines)
			}
			if strings.HasSuffix(c.header, "Protocol") && len(lines) > 0 && v.Subprotocol([]string{"a"}) != "a" {
				t.Errorf("no subprotocol of %q", lines)
			}
		})
	}
}

// F83: how the client treats them. An empty header of an answer chooses nothing. A header
// that may come only once is refused if it comes twice.
func TestF83ListsOfAnAnswer(t *testing.T) {
	for _, c := range []listCase{
		words("Upgrade", "websocket", "h2c", ErrUpgrade),
		words("Connection", "Upgrade", "keep-alive", ErrConnection),
		once("Sec-WebSocket-Accept", rfcAccept, ErrAccept),
		{"Sec-WebSocket-Protocol", "chat", "superchat", ErrProtocol, map[string]*Error{"absent": nil, "one value": nil, "empty": nil, "only spaces": nil,
			"two lines, the first empty": nil, "two lines, the second empty": nil, "two lines, both empty": nil}},
		{"Sec-WebSocket-Extensions", "x-y", "permessage-deflate", nil, nil},
	} {
		c.each(t, func(t *testing.T, lines []string, want *Error) {
			// With offers, and without. Without offers only an empty header is accepted.
			for _, req := range []*Request{offering(), wish()} {
				want := want
				joined := strings.Join(lines, ",")
				if offered := len(req.Subprotocols) > 0; want == nil && !offered && strings.Contains(joined, c.v) {
					want = map[string]*Error{"Sec-WebSocket-Protocol": ErrProtocol, "Sec-WebSocket-Extensions": ErrExtension}[c.header]
				}
				res, got := parseResponse(t, req, without(answered, c.header, lines), Limits{})
				if want == nil && got.err != nil || want != nil && !errors.Is(got.err, want) {
					t.Fatalf("%q: %v, want %v", lines, got.err, want)
				}
				if got.err != nil {
					continue
				}
				if n := strings.Count(joined, "x-y") + strings.Count(joined, "permessage-deflate"); len(res.Extensions) != n {
					t.Errorf("%v of %q", res.Extensions, lines)
				}
				if p := res.Subprotocol; p == "chat" != strings.Contains(joined, "chat") || p != "" && p != "chat" {
					t.Errorf("%q of %q", p, lines)
				}
			}
		})
	}
}

// numbered returns a list of n different elements.
func numbered(n int, format, separator string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(all, separator)
}

// R49: the number of elements is limited over all lines, in both directions. A limit of 0
// means the default.
func TestR49LimitsOfLists(t *testing.T) {
	const x, p = "+Sec-WebSocket-Extensions: ", "+Sec-WebSocket-Protocol: "
	for _, c := range []struct {
		name   string
		limits Limits
		edits  []string
		want   *Error
		says   string
	}{
		{"16 extensions", Limits{}, edit(x + numbered(16, "x%d", ",")), nil, ""},
		{"17 extensions", Limits{}, edit(x + numbered(17, "x%d", ",")), ErrTooManyExtensions, "Limits.Extensions is 16"},
		{"16 extensions and empty elements", Limits{}, edit(x + numbered(16, "x%d", ",,,,")), nil, ""},
		{"17 extensions on two lines", Limits{}, edit(x+numbered(16, "x%d", ","), x+"y"), ErrTooManyExtensions, "Limits.Extensions is 16"},
		{"17 extensions on 17 lines", Limits{}, slices.Repeat(edit(x+"y"), 17), ErrTooManyExtensions, "Limits.Extensions is 16"},
		{"32 parameters", Limits{}, edit(x + "x;" + numbered(32, "p%d=1", ";")), nil, ""},
		{"33 parameters", Limits{}, edit(x + "x;" + numbered(33, "p%d=1", ";")), ErrTooManyParams, "Limits.Params is 32"},
		{"33 parameters of two extensions", Limits{}, edit(x+"x;"+numbered(30, "p%d", ";"), x+`y; a; b="1"; c`), ErrTooManyParams, "Limits.Params is 32"},
		{"too many and malformed", Limits{}, edit(x + numbered(17, "x%d", ",") + ";;"), ErrTooManyExtensions, "Limits.Extensions is 16"},
		{"malformed", Limits{}, edit(x + numbered(16, "x%d", ",") + ";;"), ErrExtensions, ""},
		{"no extension more than 2", Limits{Extensions: 2}, edit(x + "a, b"), nil, ""},
		{"an extension more than 2", Limits{Extensions: 2}, edit(x + "a, b, c"), ErrTooManyExtensions, "Limits.Extensions is 2"},
		{"a parameter more than 2", Limits{Params: 2}, edit(x + "a; b; c; d"), ErrTooManyParams, "Limits.Params is 2"},
		{"no limits", longest, edit(x+numbered(40, "x%d;p;q;r", ","), p+numbered(200, "p%d", ",")), nil, ""},
		{"32 subprotocols", Limits{}, edit(p + numbered(32, "p%d", ",")), nil, ""},
		{"33 subprotocols", Limits{}, edit(p + numbered(33, "p%d", ",")), ErrTooManyProtocols, "Limits.Subprotocols is 32"},
		{"33 subprotocols on two lines", Limits{}, edit(p+numbered(32, "p%d", ","), p+"q"), ErrTooManyProtocols, "Limits.Subprotocols is 32"},
		{"34 subprotocols alike", Limits{}, edit(p + strings.Repeat("p,", 33) + "p"), ErrTooManyProtocols, "Limits.Subprotocols is 32"},
		{"a subprotocol more than 1", Limits{Subprotocols: 1}, edit(p + "a, b"), ErrTooManyProtocols, "Limits.Subprotocols is 1"},
		{"the last two alike", longest, edit(p + numbered(200, "p%d", ",") + ",p199"), ErrProtocolTwice, ""},
		{"the first and the last alike", Limits{}, edit(p + numbered(31, "p%d", ",") + ",p0"), ErrProtocolTwice, ""},
		{"the head", Limits{Bytes: 100}, nil, ErrHeadTooLarge, "Limits.Bytes is 100"},
		{"a line", Limits{Line: 40}, edit("+X: " + strings.Repeat("x", 40)), ErrLineTooLong, "Limits.Line is 40"},
		{"lines", Limits{}, slices.Repeat(edit("+X:"), 128), ErrTooManyLines, "Limits.Lines is 128"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, got := parseRequest(t, head(asked, c.edits...), c.limits)
			if c.want == nil && got.err != nil || c.want != nil && (!errors.Is(got.err, c.want) || got.err.(*Error).Status != c.want.Status) {
				t.Errorf("request: %v, want %v", got.err, c.want)
			}
			if got.err != nil && !strings.Contains(got.err.Error(), c.says) {
				t.Errorf("%q does not say %q", got.err, c.says)
			}
			if len(c.edits) > 0 && strings.HasPrefix(c.edits[0], p) || strings.Contains(c.name, "no limits") {
				return // an answer has one subprotocol
			}
			req := offering()
			req.Extensions, _ = ParseExtensions(nil, "a, b, c, x, y, "+numbered(40, "x%d", ","))
			_, got = parseResponse(t, req, head(answered, c.edits...), c.limits)
			if c.want == nil && got.err != nil || c.want != nil && !errors.Is(got.err, c.want) {
				t.Errorf("answer: %v, want %v", got.err, c.want)
			}
			if got.err != nil && !strings.Contains(got.err.Error(), c.says) {
				t.Errorf("%q does not say %q", got.err, c.says)
			}
		})
	}
	// Ordinary clients are far from any limit: the longest offer of a browser, and every
	// alternative of RFC 7692.
	var all []string
	for bits := 8; bits <= 15; bits++ {
		all = append(all, fmt.Sprintf("permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=%d; client_max_window_bits", bits))
	}
	if _, got := parseRequest(t, head(asked, x+strings.Join(all, ", ")), Limits{}); got.err != nil {
		t.Error(got.err)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// costly are the header lines that take most memory per byte, within the default limits
// and beyond them.
var costly = map[string][]string{
	"extensions":             {"+Sec-WebSocket-Extensions: " + numbered(16, "x%d", ",")},
	"extensions on lines":    slices.Repeat([]string{"+Sec-WebSocket-Extensions: x"}, 16),
	"parameters":             {"+Sec-WebSocket-Extensions: x;" + numbered(32, "p%d", ";")},
	"both":                   {"+Sec-WebSocket-Extensions: " + numbered(16, "x%d;p;q", ",")},
	"quoted":                 {"+Sec-WebSocket-Extensions: x;" + numbered(32, `p="\%d"`, ";")},
	"subprotocols":           {"+Sec-WebSocket-Protocol: " + numbered(32, "p%d", ",")},
	"more extensions":        {"+Sec-WebSocket-Extensions: " + strings.Repeat("x,", 450_000)},
	"more parameters":        {"+Sec-WebSocket-Extensions: x;" + strings.Repeat("p;", 450_000) + "p"},
	"more of both":           {"+Sec-WebSocket-Extensions: " + strings.Repeat("x;p,", 225_000)},
	"more subprotocols":      {"+Sec-WebSocket-Protocol: " + numbered(100_000, "p%d", ",")},
	"the same, again":        {"+Sec-WebSocket-Protocol: " + strings.Repeat("p,", 450_000) + "p"},
	"empty elements":         {"+Sec-WebSocket-Protocol: " + strings.Repeat(",", 900_000)},
	"extensions, none":       {"+Sec-WebSocket-Extensions: x" + strings.Repeat(",", 900_000)},
	"words":                  {"+Connection: " + strings.Repeat("x,", 225_000), "+Upgrade: " + strings.Repeat("x,", 225_000)},
	"a long name, 900 times": {"+Sec-WebSocket-Protocol: " + numbered(900, strings.Repeat("p", 1000)+"%d", ",")},
}

// The memory of a request is in proportion to the received bytes, whatever its lists
// have. Bytes is raised so that only the other limits hold.
func TestRequestMemory(t *testing.T) {
	for name, edits := range costly {
		b := head(asked, edits...)
		v := RequestView{Limits: Limits{Bytes: 2 << 20}}
		if got := allocated(func() {
			if _, err := ParseRequest(&v, b); err == nil {
				v.Extensions(nil)
				v.Subprotocol([]string{"a", "b"})
				v.Offered("c")
			}
		}); got > uint64(4<<10+2*min(len(b), 1<<10)) {
			t.Errorf("%s: %d bytes allocated for %d received", name, got, len(b))
		} else {
			t.Logf("%s: %d bytes allocated for %d received", name, got, len(b))
		}
	}
}

// The header of an answer takes a map and a string per line. Before the head is complete
// it takes nothing.
func TestAnswerMemory(t *testing.T) {
	lines := map[string][]string{"lines": strings.Split("+"+numbered(124, "h%d:", "\n+"), "\n"), "lines alike": slices.Repeat([]string{"+h:"}, 124)}
	for name, edits := range costly {
		if !strings.Contains(name, "protocols") {
			lines[name] = edits
		}
	}
	for name, edits := range lines {
		b := head(answered, edits...)
		res, req := Response{Limits: Limits{Bytes: 2 << 20}}, offering()
		if got := allocated(func() { ParseResponse(&res, req, b[:len(b)-1]) }); got > 4<<10 {
			t.Errorf("%s: %d bytes allocated for %d received of a head", name, got, len(b)-1)
		}
		got := allocated(func() { ParseResponse(&res, req, b) })
		if got > uint64(32<<10+2*len(b)) {
			t.Errorf("%s: %d bytes allocated for %d received", name, got, len(b))
		}
		t.Logf("%s: %d bytes allocated for %d received", name, got, len(b))
	}
	interim := strings.Repeat("HTTP/1.1 103 Early Hints\r\n"+numbered(100, "h%d:\r\n", "")+"\r\n", DefaultInterim)
	var res Response
	if got := allocated(func() { ParseResponse(&res, offering(), []byte(interim)) }); got > uint64(len(interim)+4<<10) {
		t.Errorf("%d bytes allocated for %d of interim answers", got, len(interim))
	}
}
