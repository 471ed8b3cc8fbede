package conformance

import (
	"fmt"
	"strings"
)

// closes returns a case in which the steps send a Close frame that the agent must answer.
func closes(id, title, covers string, codes []int, want []event, steps ...step) *Case {
	c := show(id, title, covers, want, steps...)
	c.end, c.codes = endClose, codes
	return c
}

func informational(c *Case, note string, others ...[]event) *Case {
	c.fails = Informational
	for _, events := range others {
		c.others = append(c.others, outcome{Informational, note, events})
	}
	return c
}

var (
	validCodes   = []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999}
	invalidCodes = []int{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999}
	normal       = []int{0, 1000}
)

// closeCases are family 7: the close handshake.
func closeCases(Volume) []*Case {
	bye, hello := closing(1000, ""), text("Hello World!")
	large := payload(256 << 10)
	largeEcho := []event{echoed(opText, large)}
	helloEcho := []event{echoed(opText, "Hello World!")}
	first := closes("7.1.1", "a message, then Close", "R26", normal, helloEcho, together(hello, bye))
	first.others = []outcome{{NonStrict, "a message before the Close is not answered", none()}}
	all := []*Case{
		first,
		closes("7.1.2", "two Closes", "R27", normal, none(), together(bye, bye)),
		closes("7.1.3", "a ping after Close", "R27", normal, none(), together(bye, ping(""))),
		closes("7.1.4", "text after Close", "R27", normal, none(), together(bye, hello)),
		closes("7.1.5", "Close within a message, and the rest of that", "R27", normal, none(), together(begin(opText, "fragment1"), bye, last("fragment2"))),
		informational(closes("7.1.6", "256 KiB, a message, Close and a ping", "R26 R27", normal, append(largeEcho[:1:1], helloEcho...), together(text(large), hello, bye, ping(""))),
			"messages before the Close are not all answered", none(), largeEcho),
		closes("7.3.1", "Close without a body", "R22 R26", normal, none(), together(closeBody(""))),
		broken("7.3.2", "Close with one byte", "R22", protocolError, none(), together(closeBody("a"))),
		closes("7.3.3", "Close with a code", "R23", normal, none(), together(bye)),
		closes("7.3.4", "Close with a code and a reason", "R25", normal, none(), together(closing(1000, "Hello World!"))),
		closes("7.3.5", "Close with a reason of 123 bytes", "R25", normal, none(), together(closing(1000, payload(123)))),
		broken("7.3.6", "Close with a reason of 124 bytes", "R19", protocolError, none(), together(closing(1000, payload(124)))),
		broken("7.5.1", "a reason that is not UTF-8", "R25", []int{1007, 1002}, none(), together(closing(1000, "\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited"))),
	}
	for i, code := range validCodes {
		all = append(all, closes(fmt.Sprintf("7.7.%d", i+1), fmt.Sprintf("code %d", code), "R23", []int{0, 1000, code}, none(), together(closing(code, ""))))
	}
	for i, code := range invalidCodes {
		all = append(all, broken(fmt.Sprintf("7.9.%d", i+1), fmt.Sprintf("code %d", code), "R23", protocolError, none(), together(closing(code, ""))))
	}
	for i, code := range []int{5000, 65535} {
		c := broken(fmt.Sprintf("7.13.%d", i+1), fmt.Sprintf("code %d", code), "R23", protocolError, none(), together(closing(code, "")))
		c.fails = Informational
		all = append(all, c)
	}
	return all
}

// closeRequirements are R22 to R28 where the public suite has no case.
func closeRequirements() []*Case {
	var all []*Case
	for i, code := range []int{1012, 1013, 1014, 3001, 4001} {
		c := closes(fmt.Sprintf("R23.%d", i+1), fmt.Sprintf("code %d", code), "R23", []int{0, 1000, code}, none(), together(closing(code, "r")))
		if code < 3000 {
			c.fails = NonStrict // registered after RFC 6455
		}
		all = append(all, c)
	}
	for i, code := range []int{1, 256, 998, 1004, 1005, 1006, 1015, 1017, 1999, 2500, 2999, 5000, 5001, 32768, 65535} {
		c := broken(fmt.Sprintf("R23.%d", i+11), fmt.Sprintf("code %d with a reason", code), "R23", protocolError, none(), together(closing(code, "r"), text("late")))
		if code >= 5000 {
			c.fails = Informational // no RFC defines such a code
		}
		all = append(all, c)
	}
	for i, reason := range []string{"\xFF", "f\xC3\xBCr \xE2\x82", "\xED\xA0\x80", strings.Repeat("x", 122) + "\xC3"} {
		all = append(all, broken(fmt.Sprintf("R25.%d", i+1), fmt.Sprintf("a reason that ends in % x", reason[len(reason)-1]), "R25", []int{1007, 1002}, none(), together(closing(1000, reason))))
	}
	bye, empty := closing(1000, ""), closeBody("")
	garbage := []byte{0xFF, 0xFF, 0xFF, 0x00, 0x70, 0x81}
	after := func(id, title string, steps ...step) *Case {
		return closes(id, title, "R26 R27", normal, none(), steps...)
	}
	all = append(all,
		after("R27.1", "garbage after Close", together(bye), rawBytes(garbage)),
		after("R27.2", "half a frame after Close", together(bye), rawBytes([]byte{0x81})),
		after("R27.3", "a frame that breaks a rule after Close", together(bye, piece{op: opText, rsv: 7, data: []byte("x")})),
		after("R27.4", "another Close with another code", together(bye, closing(1001, "really"), closing(0, ""))),
		after("R27.5", "Close without a body, then text", together(empty, text("late"))),
	)
	echo := closes("R26.1", "the answer to a Close has its code, or 1000, or none", "R24 R26", []int{0, 1000, 3003}, none(), together(closing(3003, "why")))
	first := closes("R28.1", "the server closes TCP when both sides have said goodbye", "R28", normal, none(), together(bye))
	first.Role = Server
	first.check = func(s *session) {
		if !s.endedByAgent() {
			s.deferred, s.why = Failed, "TCP is left open (RFC 6455 §7.1.1)"
		}
	}
	waits := closes("R28.2", "the client leaves closing TCP to the server", "R28", normal, none(), together(bye))
	waits.Role, waits.lingers = Client, true
	queued := broken("R30.1", "nothing after a broken frame is answered", "R30", protocolError, []event{echoed(opText, "before")},
		together(text("before"), piece{op: 3}, text("after"), ping("after"), text("after")))
	return append(all, echo, first, waits, queued)
}
