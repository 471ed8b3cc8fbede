package deflate

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// extension makes an element of a list from "a; b=1; c".
func extension(s string) handshake.Extension {
	x := handshake.Extension{Name: Name}
	for _, part := range strings.Split(s, ";") {
		if part = strings.TrimSpace(part); part != "" {
			name, value, _ := strings.Cut(part, "=")
			x.Params = append(x.Params, handshake.Param{Name: name, Value: value})
		}
	}
	return x
}

func list(elements ...string) (l []handshake.Extension) {
	for _, s := range elements {
		l = append(l, extension(s))
	}
	return l
}

func text(x handshake.Extension) string {
	var parts []string
	for _, p := range x.Params {
		if p.Value != "" {
			p.Name += "=" + p.Value
		}
		parts = append(parts, p.Name)
	}
	return strings.Join(parts, "; ")
}

func TestR69ServerChoosesFirstAcceptableOffer(t *testing.T) {
	for _, c := range []struct {
		name   string
		offers []string
		want   string // the answer; "-" if declined
	}{
		{"bare", []string{""}, ""},
		{"hint without value", []string{"client_max_window_bits"}, ""},
		{"hint with value", []string{"client_max_window_bits=12"}, "client_max_window_bits=12"},
		{"hint of the whole window", []string{"client_max_window_bits=15"}, ""},
		{"server window", []string{"server_max_window_bits=10"}, "server_max_window_bits=10"},
		{"server window of all", []string{"server_max_window_bits=15"}, "server_max_window_bits=15"},
		{"server window of 8", []string{"server_max_window_bits=8"}, "server_max_window_bits=8"},
		{"server alone", []string{"server_no_context_takeover"}, "server_no_context_takeover"},
		{"client alone", []string{"client_no_context_takeover"}, "client_no_context_takeover"},
		{"everything", []string{"client_max_window_bits=9; server_max_window_bits=9; client_no_context_takeover; server_no_context_takeover"},
			"server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=9"},
		{"unknown", []string{"foo"}, "-"},
		{"unknown with value", []string{"foo=1"}, "-"},
		{"known and unknown", []string{"server_no_context_takeover; foo"}, "-"},
		{"wrong case", []string{"Server_no_context_takeover"}, "-"},
		{"server alone twice", []string{"server_no_context_takeover; server_no_context_takeover"}, "-"},
		{"client alone twice", []string{"client_no_context_takeover; client_no_context_takeover"}, "-"},
		{"server window twice", []string{"server_max_window_bits=10; server_max_window_bits=10"}, "-"},
		{"client window twice", []string{"client_max_window_bits; client_max_window_bits=10"}, "-"},
		{"server alone with value", []string{"server_no_context_takeover=1"}, "-"},
		{"client alone with value", []string{"client_no_context_takeover=true"}, "-"},
		{"server window without value", []string{"server_max_window_bits"}, "-"},
		{"server window 7", []string{"server_max_window_bits=7"}, "-"},
		{"server window 16", []string{"server_max_window_bits=16"}, "-"},
		{"client window 7", []string{"client_max_window_bits=7"}, "-"},
		{"client window 16", []string{"client_max_window_bits=16"}, "-"},
		{"bad, good", []string{"foo", "server_no_context_takeover"}, "server_no_context_takeover"},
		{"bad, bad, good", []string{"server_max_window_bits=16", "server_max_window_bits", ""}, ""},
		{"good, bad", []string{"", "foo"}, ""},
		{"good, better", []string{"server_max_window_bits=9", ""}, "server_max_window_bits=9"},
		{"all bad", []string{"foo", "bar", "server_max_window_bits=08"}, "-"},
		{"none", nil, "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			offers := append([]handshake.Extension{{Name: "x-other"}}, list(c.offers...)...)
			_, answer, ok := new(Config).Choose(offers)
			got := text(answer)
			if !ok {
				got = "-"
			}
			if got != c.want {
				t.Errorf("answer %q, want %q", got, c.want)
			}
		})
	}
}

func TestR70R75ClientJudgesAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		answer []string
		want   error
	}{
		{"bare", Config{}, []string{""}, nil},
		{"server alone, not asked", Config{}, []string{"server_no_context_takeover"}, nil},
		{"client alone, not asked", Config{}, []string{"client_no_context_takeover"}, nil},
		{"server window, not asked", Config{}, []string{"server_max_window_bits=9"}, nil},
		{"client window", Config{}, []string{"client_max_window_bits=8"}, nil},
		{"client window of all", Config{}, []string{"client_max_window_bits=15"}, nil},
		{"client window without value", Config{}, []string{"client_max_window_bits"}, ErrParamValue},
		{"client window over the hint", Config{ClientMaxWindowBits: 10}, []string{"client_max_window_bits=11"}, ErrWindowTooLarge},
		{"client window at the hint", Config{ClientMaxWindowBits: 10}, []string{"client_max_window_bits=10"}, nil},
		{"client window not answered", Config{ClientMaxWindowBits: 10}, []string{""}, nil},
		{"unknown", Config{}, []string{"foo"}, ErrUnknownParam},
		{"unknown with value", Config{}, []string{"foo=bar"}, ErrUnknownParam},
		{"duplicate", Config{}, []string{"server_no_context_takeover; server_no_context_takeover"}, ErrDuplicateParam},
		{"value where none belongs", Config{}, []string{"client_no_context_takeover=x"}, ErrParamValue},
		{"no value where one belongs", Config{}, []string{"server_max_window_bits"}, ErrParamValue},
		{"window 16", Config{}, []string{"server_max_window_bits=16"}, ErrParamValue},
		{"server alone asked and left out", Config{ServerNoContextTakeover: true}, []string{""}, ErrNotHonoured},
		{"server alone asked and given", Config{ServerNoContextTakeover: true}, []string{"server_no_context_takeover"}, nil},
		{"server window asked and left out", Config{ServerMaxWindowBits: 12}, []string{""}, ErrNotHonoured},
		{"server window asked and too large", Config{ServerMaxWindowBits: 12}, []string{"server_max_window_bits=13"}, ErrWindowTooLarge},
		{"server window asked and smaller", Config{ServerMaxWindowBits: 12}, []string{"server_max_window_bits=8"}, nil},
		{"answered twice", Config{}, []string{"", ""}, ErrTwoAnswers},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, agreed, err := c.config.Accept(list(c.answer...))
			if !errors.Is(err, c.want) || agreed != (c.want == nil) {
				t.Fatalf("agreed %v, %v; want %v", agreed, err, c.want)
			}
			if err != nil && (p != Params{} || err.Error() == "") {
				t.Errorf("%+v beside an error %q", p, err)
			}
		})
	}
	if _, agreed, err := new(Config).Accept([]handshake.Extension{{Name: "x-other"}}); agreed || err != nil {
		t.Errorf("no answer: %v, %v", agreed, err)
	}
}

func TestR73V9WindowBitsGrammar(t *testing.T) {
	good := map[string]int{"8": 8, "9": 9, "10": 10, "11": 11, "12": 12, "13": 13, "14": 14, "15": 15}
	values := []string{"08", "010", "+9", "-9", "9a", "a9", " 9", "9 ", "0x9", "9.0", "1e1", "15.", "8\x00", "٩", "1", "0", "00", "150", "105",
		"18446744073709551625", "99999999999999999999999999"}
	for n := range 100 {
		values = append(values, fmt.Sprint(n), fmt.Sprintf("%02d", n), fmt.Sprintf("%03d", n), fmt.Sprintf("+%d", n), fmt.Sprintf("-%d", n))
	}
	for _, v := range values {
		want, valid := good[v]
		offer := handshake.Extension{Name: Name, Params: []handshake.Param{{Name: serverMaxWindowBits, Value: v}}}
		if p, _, ok := new(Config).Choose([]handshake.Extension{offer}); ok != valid || ok && p.ServerMaxWindowBits != want {
			t.Errorf("offer of %q: %v, %+v", v, ok, p)
		}
		if p, ok, err := new(Config).Accept([]handshake.Extension{offer}); ok != valid || ok && p.ServerMaxWindowBits != want || (err == nil) != valid {
			t.Errorf("answer of %q: %v, %+v", v, ok, p)
		}
		offer.Params[0].Name = clientMaxWindowBits
		if p, _, ok := new(Config).Choose([]handshake.Extension{offer}); ok != valid || ok && p.ClientMaxWindowBits != want {
			t.Errorf("client's offer of %q: %v, %+v", v, ok, p)
		}
		if p, ok, _ := new(Config).Accept([]handshake.Extension{offer}); ok != valid || ok && p.ClientMaxWindowBits != want {
			t.Errorf("answer for the client of %q: %v, %+v", v, ok, p)
		}
	}
}

// Every pair of configurations agrees, and both sides then hold the same opinion of both directions.
func TestR71R72R74Pairs(t *testing.T) {
	var configs []Config
	for _, serverAlone := range []bool{false, true} {
		for _, clientAlone := range []bool{false, true} {
			for _, serverBits := range []int{0, 8, 12, 15} {
				for _, clientBits := range []int{0, 8, 12, 15} {
					configs = append(configs, Config{ServerNoContextTakeover: serverAlone, ClientNoContextTakeover: clientAlone,
						ServerMaxWindowBits: serverBits, ClientMaxWindowBits: clientBits})
				}
			}
		}
	}
	for _, client := range configs {
		for _, server := range configs {
			sp, answer, ok := server.Choose([]handshake.Extension{client.Offer()})
			if !ok {
				t.Fatalf("%+v declines %+v", server, client)
			}
			cp, ok, err := client.Accept([]handshake.Extension{answer})
			if !ok {
				t.Fatalf("%+v refuses the answer of %+v: %v", client, server, err)
			}
			if sp != cp {
				t.Errorf("client %+v and server %+v agree on %+v and %+v", client, server, cp, sp)
			}
			if cp.ServerNoContextTakeover != (client.ServerNoContextTakeover || server.ServerNoContextTakeover) ||
				cp.ClientNoContextTakeover != (client.ClientNoContextTakeover || server.ClientNoContextTakeover) ||
				cp.ServerMaxWindowBits != min(orMax(client.ServerMaxWindowBits), orMax(server.ServerMaxWindowBits)) ||
				cp.ClientMaxWindowBits != min(orMax(client.ClientMaxWindowBits), orMax(server.ClientMaxWindowBits)) {
				t.Errorf("client %+v and server %+v agree on %+v", client, server, cp)
			}
		}
	}
}

// A server must not bound a client that did not say it can be bound (RFC 7692 §7.1.2.2).
func TestR75ServerDoesNotAnswerWhatWasNotOffered(t *testing.T) {
	server := Config{ClientMaxWindowBits: 9}
	p, answer, ok := server.Choose(list(""))
	if !ok || len(answer.Params) != 0 || p.ClientMaxWindowBits != 15 {
		t.Errorf("%v, %+v, %+v", ok, answer, p)
	}
}

func TestConfigCheck(t *testing.T) {
	for _, c := range []struct {
		config Config
		ok     bool
	}{
		{Config{}, true},
		{Config{Level: HuffmanOnly}, true},
		{Config{Level: 9, ServerMaxWindowBits: 8, ClientMaxWindowBits: 15}, true},
		{Config{Level: -1}, true},
		{Config{Level: Stored}, true},
		{Config{Level: -4}, false},
		{Config{Level: 10}, false},
		{Config{ServerMaxWindowBits: 7}, false},
		{Config{ClientMaxWindowBits: 16}, false},
		{Config{ClientMaxWindowBits: -8}, false},
	} {
		if err := c.config.Check(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.config, err)
		}
	}
	if _, err := NewInflater(InflateOptions{WindowBits: 7}); err == nil {
		t.Error("an Inflater with a window of 7 bits")
	}
	if _, err := NewDeflater(DeflateOptions{WindowBits: 16}); err == nil {
		t.Error("a Deflater with a window of 16 bits")
	}
	if _, err := AppendMessage(nil, nil, 15, 11); err == nil {
		t.Error("a message of level 11")
	}
}
