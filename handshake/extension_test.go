package handshake

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// R62, R63: the exact grammar of extensions. want is "" for a list that is refused.
var extensionTable = []struct{ in, want string }{
	{"a", "a"},
	{" a ", "a"},
	{"\ta\t", "a"},
	{"a,b", "a, b"},
	{"a , b", "a, b"},
	{"a,,b", "a, b"},
	{",a,", "a"},
	{" , ,a", "a"},
	{"a;b", "a; b"},
	{"a ; b", "a; b"},
	{"a;b=c", "a; b=c"},
	{"a;b = c", "a; b=c"},
	{"a; b=c; d, e; f=g", "a; b=c; d, e; f=g"},
	{`a; b="c"`, "a; b=c"},
	{`a; b = "c" ; d`, "a; b=c; d"},
	{`a; b="\c"`, "a; b=c"},
	{`a; b="\c\d", e`, "a; b=cd, e"},
	{"a, a; b, a; b=1", "a, a; b, a; b=1"},
	{"a; b; b", "a; b; b"},
	{"permessage-deflate; client_max_window_bits; server_max_window_bits=10", "permessage-deflate; client_max_window_bits; server_max_window_bits=10"},
	{"!#$%&'*+-.^_`|~09azAZ", "!#$%&'*+-.^_`|~09azAZ"},

	{"", ""},
	{" ", ""},
	{",", ""},
	{" , ,\t", ""},
	{";", ""},
	{";;", ""},
	{"a;", ""},
	{"a;;b", ""},
	{"a; ;b", ""},
	{"a;,b", ""},
	{";a", ""},
	{"a b", ""},
	{"a\tb", ""},
	{"a; b c", ""},
	{"a=b", ""},
	{"a; b=", ""},
	{"a; b=;c", ""},
	{"a; b=,c", ""},
	{"a; =b", ""},
	{"a; b==c", ""},
	{"a; b=c=d", ""},
	{`"a"`, ""},
	{`a; "b"`, ""},
	{`a; "b"=c`, ""},
	{`a; b=""`, ""},
	{`a; b="c`, ""},
	{`a; b="`, ""},
	{`a; b="\`, ""},
	{`a; b="\"`, ""},
	{`a; b="\""`, ""},
	{`a; b="c\`, ""},
	{`a; b="c d"`, ""},
	{`a; b="c,d"`, ""},
	{`a; b="c;d"`, ""},
	{`a; b="c=d"`, ""},
	{`a; b="\ "`, ""},
	{`a; b="c"d`, ""},
	{`a; b="c" "d"`, ""},
	{`a; b=c"d"`, ""},
	{`a; b='c d'`, ""},
	{`x; y=",permessage-deflate; client_max_window_bits,"`, ""},
	{`x; y="\",permessage-deflate; client_max_window_bits,"`, ""},
	{"a(b)", ""},
	{"a/b", ""},
	{"a@b", ""},
	{"a\x00", ""},
	{"a\x7f", ""},
	{"a\xff", ""},
	{"\xc3\xa4", ""},
	{"a; b=\xc3\xa4", ""},
	{"a; b=\"\xc3\xa4\"", ""},
	{"a\r\n b", ""},
	{"a,\r\n b", ""},
}

func TestR62R63ExtensionGrammar(t *testing.T) {
	prior := []Extension{{Name: "prior"}}
	for _, c := range extensionTable {
		got, err := ParseExtensions(prior, c.in)
		fromBytes, errBytes := ParseExtensions(prior, []byte(c.in))
		if fmt.Sprint(got, err) != fmt.Sprint(fromBytes, errBytes) {
			t.Errorf("%q: %v, %v of a string; %v, %v of bytes", c.in, got, err, fromBytes, errBytes)
		}
		if c.want == "" {
			if !errors.Is(err, ErrExtensions) || len(got) != 1 {
				t.Errorf("%q: %v, %v, want it refused", c.in, got, err)
			}
			continue
		}
		if err != nil || len(got) < 2 || got[0].Name != "prior" {
			t.Errorf("%q: %v, %v", c.in, got, err)
			continue
		}
		b, err := AppendExtensions(nil, got[1:])
		if err != nil || string(b) != c.want {
			t.Errorf("%q: %q, %v, want %q", c.in, b, err, c.want)
		}
		var n, want extensionCount
		for _, e := range got[1:] {
			want.elements++
			want.params += len(e.Params)
		}
		if countExtensions(&n, c.in); n != want {
			t.Errorf("%q: counted %+v, want %+v", c.in, n, want)
		}
	}
}

func TestAppendExtensionsRefuses(t *testing.T) {
	for _, bad := range []string{"", "a b", "a,b", "a;b", "a=b", `"a"`, "a\r\nX: y", "a\x00", "\xc3\xa4"} {
		for i, list := range [][]Extension{
			{{Name: bad}},
			{{Name: "a"}, {Name: bad}},
			{{Name: "a", Params: []Param{{Name: bad}}}},
			{{Name: "a", Params: []Param{{Name: "b", Value: bad}}}},
		} {
			if i == 3 && bad == "" {
				continue
			}
			if b, err := AppendExtensions([]byte("x"), list); !errors.Is(err, ErrValue) || string(b) != "x" {
				t.Errorf("%q at place %d: %q, %v", bad, i, b, err)
			}
		}
	}
}

// ParseExtensions reuses the memory of the elements after the length of dst. None of
// their old content is left.
func TestParseExtensionsUsesMemoryAgain(t *testing.T) {
	list, _ := ParseExtensions(nil, "a; b=1; c=2, d; e")
	again, err := ParseExtensions(list[:0], "x; y, z")
	if err != nil || fmt.Sprint(again) != "[{x [{y }]} {z []}]" {
		t.Errorf("%v %v", again, err)
	}
	scratch := make([]Extension, 0, 4)
	offer := []byte(`permessage-deflate; client_max_window_bits; server_max_window_bits="15", permessage-deflate; server_no_context_takeover`)
	scratch, _ = ParseExtensions(scratch, offer)
	if n := testing.AllocsPerRun(1000, func() { scratch, _ = ParseExtensions(scratch[:0], offer) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// V19: each byte of a list is looked at once, whatever the list has.
func TestV19ExtensionsAreReadOnce(t *testing.T) {
	for _, unit := range []string{" ", "\t", ",", ";", "=", "\"", "\\", "a", "a,", "a;", "a;b,", "a;b=c,", `a;b="c",`, `a;b="\c";`, ", ", "a; "} {
		for _, front := range []string{"", "a; b=\"", "a;", "a; b="} {
			in := front + strings.Repeat(unit, 40_000)
			if looked := countExtensions(new(extensionCount), in); looked > len(in) {
				t.Errorf("%q %q…: %d bytes looked at for %d", front, unit, looked, len(in))
			}
		}
	}
}

func BenchmarkParseExtensions(b *testing.B) {
	offer := []byte("permessage-deflate; client_max_window_bits; server_max_window_bits=15")
	var scratch []Extension
	b.SetBytes(int64(len(offer)))
	b.ReportAllocs()
	for b.Loop() {
		scratch, _ = ParseExtensions(scratch[:0], offer)
	}
}
