package conformance

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

// A Verdict is the result of a case.
type Verdict int

// The verdicts, from best to worst.
const (
	OK            Verdict = iota // as required, at the byte that decides
	Unimplemented                // permessage-deflate was not agreed: nothing was tried
	Informational                // several ways are right; the note says which was taken
	NonStrict                    // allowed, or harmless, but not strict
	Failed
)

var verdictNames = [...]string{"OK", "unimplemented", "informational", "non-strict", "failed"}

func (v Verdict) String() string { return verdictNames[v] }

// MarshalText returns the name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText takes a name.
func (v *Verdict) UnmarshalText(name []byte) error {
	i := slices.Index(verdictNames[:], string(name))
	if i < 0 {
		return fmt.Errorf("%q is no verdict", name)
	}
	*v = Verdict(i)
	return nil
}

// A Role is the role of the agent.
type Role int

// The roles.
const (
	Both Role = iota
	Server
	Client
)

func (r Role) String() string { return [...]string{"both", "server", "client"}[r] }

// How a case ends.
type ending int

const (
	endClean ending = iota // the suite closes after all wanted events
	endFails               // the agent fails the connection (RFC 6455 §7.1.7)
	endClose               // the steps send a Close frame, which must be answered
	endAny                 // the agent must end it in any way
)

// An event is a message or a control frame from the agent.
type event struct {
	op   byte
	data []byte
}

func (e event) String() string {
	names := map[byte]string{opText: "text", opBinary: "binary", opPing: "ping", opPong: "pong"}
	s := fmt.Sprintf("%s of %d bytes", names[e.op], len(e.data))
	if n := len(e.data); n > 0 && n <= 16 {
		s += fmt.Sprintf(" (% x)", e.data)
	}
	return s
}

func echoed(op byte, s string) event { return event{op, []byte(s)} }

// An outcome is a verdict for these events, in this order.
type outcome struct {
	verdict Verdict
	note    string
	events  []event
}

// A Case is one numbered check.
type Case struct {
	ID    string // the public suite's number, or a requirement and a number within it
	Title string
	// Covers are the requirements that the case tests, such as "R8".
	Covers []string
	Role   Role

	offer  string // of permessage-deflate, to a server; may be ""
	grant  string // the answer to a client that offers it
	steps  []step
	want   []event
	others []outcome // also right, or nearly
	end    ending
	codes  []int          // of the agent's Close frame; nil: any code that may be sent
	fails  Verdict        // verdict if the agent does not do what the case wants; 0 is Failed
	lax    Verdict        // verdict if the agent goes on where it must fail; 0 is Failed
	bulk   func(*session) // replaces the steps, and judges messages as they come
	// lingers keeps TCP open for a while after the close handshake.
	lingers bool

	request *requestCase   // about a server's handshake
	answer  *answerCase    // about a client's handshake
	check   func(*session) // judges what no event shows
}

// Cases returns the cases for a role, family by family. They are shared: do not change
// them.
func Cases(role Role, v Volume) []*Case {
	made.Lock()
	defer made.Unlock()
	key := [2]int{int(role), int(v)}
	if made.cases[key] == nil {
		made.cases[key] = makeCases(role, v)
	}
	return made.cases[key]
}

var made = struct {
	sync.Mutex
	cases map[[2]int][]*Case
}{cases: map[[2]int][]*Case{}}

func makeCases(role Role, v Volume) []*Case {
	var all []*Case
	for _, family := range []func(Volume) []*Case{
		framingCases, pingCases, reservedCases, opcodeCases, fragmentCases, textCases, closeCases,
		performanceCases, autoFragmentCases, compressionCases,
		frameRequirements, requestCases, answerCases, deflateRequirements,
	} {
		for _, c := range family(v) {
			if c.Role == Both || c.Role == role {
				all = append(all, c)
			}
		}
	}
	return all
}

// Select returns the cases whose ID matches a pattern such as "7.*", "R8.*" or "6.4.3". A
// number without a wildcard also selects all cases below it. Cases that match exclude are
// left out.
func Select(all []*Case, include, exclude []string) []*Case {
	var some []*Case
	for _, c := range all {
		if (len(include) == 0 || c.matches(include)) && !c.matches(exclude) {
			some = append(some, c)
		}
	}
	return some
}

func (c *Case) matches(patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(p, c.ID) // a malformed pattern matches nothing
		return ok || strings.HasPrefix(c.ID, p+".")
	})
}

// Family returns the first part of the number.
func (c *Case) Family() string {
	family, _, _ := strings.Cut(c.ID, ".")
	return family
}

// A Volume is how much the cases about performance and compression send.
type Volume int

// The volumes.
const (
	Small  Volume = iota // for tests
	Normal               // all sizes, with fewer messages than the public suite
	Full                 // the public suite's own
)

// unseen are the requirements that no peer can observe, with the reason.
var unseen = map[string]string{
	"R29": "what a program is told at the end; the wire shows no 1005 or 1006",
	"R34": "a call of the API with bad text; the wire shows only text that is right",
	"R37": "the URLs that a client takes; the wire shows one",
	"R52": "certificates: the client that refuses one is not seen to have read it",
	"R53": "proxies",
	"R54": "the times between connections of one program",
	"R55": "a call that is cancelled",
	"R66": "the time limits that a server had for its requests",
	"R68": "header lines that a program adds",
	"R89": "documentation",
}

// Unseen returns the requirements that no case covers, with the reason.
func Unseen() map[string]string { return unseen }

func (c *Case) worst() Verdict {
	if c.fails == OK {
		return Failed
	}
	return c.fails
}

func sameEvent(x, y event) bool { return x.op == y.op && bytes.Equal(x.data, y.data) }

// split separates messages from pongs, because either may overtake the other.
func split(events []event) (messages, pongs []event) {
	for _, e := range events {
		if e.op == opPong {
			pongs = append(pongs, e)
		} else {
			messages = append(messages, e)
		}
	}
	return messages, pongs
}

// sameEvents compares messages with messages and pongs with pongs. Only the last pong is
// required: it may answer all earlier pings (RFC 6455 §5.5.3). The pongs must be in
// order.
func sameEvents(got, want []event) bool {
	messages, pongs := split(got)
	wantMessages, wantPongs := split(want)
	if !slices.EqualFunc(messages, wantMessages, sameEvent) || (len(pongs) == 0) != (len(wantPongs) == 0) {
		return false
	}
	i := 0
	for _, e := range wantPongs {
		if i < len(pongs) && sameEvent(pongs[i], e) {
			i++
		}
	}
	return i == len(pongs) && (i == 0 || sameEvent(pongs[i-1], wantPongs[len(wantPongs)-1]))
}

// complete reports whether all wanted events have come, or as many others.
func complete(got, want []event) bool {
	messages, pongs := split(got)
	wantMessages, wantPongs := split(want)
	if len(messages) < len(wantMessages) {
		return false
	}
	return len(wantPongs) == 0 || len(pongs) >= len(wantPongs) ||
		len(pongs) > 0 && sameEvent(pongs[len(pongs)-1], wantPongs[len(wantPongs)-1])
}

func listed(events []event) string {
	if len(events) == 0 {
		return "nothing"
	}
	var s []string
	for i, e := range events {
		if i == 6 {
			s = append(s, fmt.Sprintf("and %d more", len(events)-i))
			break
		}
		s = append(s, e.String())
	}
	return strings.Join(s, ", ")
}
