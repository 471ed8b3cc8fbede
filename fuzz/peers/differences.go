package peers

import "strings"

// Difference is a measured difference between tickwire and another library on a stream,
// with the sentence of the RFC that decides.
type Difference struct {
	Peer    string
	Rule    string // the rule by which tickwire refuses, "" if it accepts
	Refusal string // a part of the library's error, "" if it accepts
	Found   string // what was measured
	RFC     string // the sentence and its section
}

const (
	minimalLength = `"Note that in all cases, the minimal number of bytes MUST be used to encode the length, for example, the length of a ` +
		`124-byte-long string can't be encoded as the sequence 126, 0, 124." (RFC 6455 §5.2)`
	validText = `"When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact, a valid UTF-8 stream, ` +
		`that endpoint MUST _Fail the WebSocket Connection_." (RFC 6455 §8.1)`
	sizeLimit = `"Implementations that have implementation- and/or platform-specific limitations regarding the frame size or total message size ` +
		`after reassembly from multiple frames MUST protect themselves against exceeding those limits." (RFC 6455 §10.4)`
	maskedFrame = `"A client MUST close a connection if it detects a masked frame." (RFC 6455 §5.1)`
	closeBody   = `"If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer (in network byte order) representing a ` +
		`status code with value /code/ defined in Section 7.4." (RFC 6455 §5.5.1)`
	codeRanges = `"Status codes in the range 1000-2999 are reserved for definition by this protocol, its future revisions, and extensions ` +
		`specified in a permanent and readily available public specification." (RFC 6455 §7.4.2; 1012 to 1014 stand in IANA's registry)`
	codesEnd = `"Status codes in the range 4000-4999 are reserved for private use and thus can't be registered." (RFC 6455 §7.4.2, the last range)`
	finalBit = `"A fragmented message consists of a single frame with the FIN bit clear and an opcode other than 0, followed by zero or more ` +
		`frames with the FIN bit clear and the opcode set to 0, and terminated by a single frame with the FIN bit set and an opcode of 0." (RFC 6455 §5.4)`
)

// Differences are the expected differences. The versions are those of go.mod.
var Differences = []Difference{
	{"gorilla/websocket", "length not minimal", "", "longer forms of the length are read", minimalLength},
	{"gorilla/websocket", "invalid UTF-8", "", "text is handed out unchecked; Close reasons are checked", validText},
	{"gorilla/websocket", "truncated UTF-8", "", "text is handed out unchecked; Close reasons are checked", validText},
	{"gorilla/websocket", "close body of one byte", "", "read as a Close without code", closeBody},
	{"gorilla/websocket", "", "bad close code 1014", "1014 is refused", codeRanges},

	{"coder/websocket", "length not minimal", "", "longer forms of the length are read", minimalLength},
	{"coder/websocket", "invalid UTF-8", "", "text and Close reasons are handed out unchecked", validText},
	{"coder/websocket", "truncated UTF-8", "", "text and Close reasons are handed out unchecked", validText},
	{"coder/websocket", "masked server frame", "", "unmasked and read", maskedFrame},
	{"coder/websocket", "frame too large", "", "the limit is met while the payload is read, not at the header", sizeLimit},
	{"coder/websocket", "", "previous message not read to completion", "where a stream ends between fragments, Read returns what came", finalBit},
	{"coder/websocket", "", "", "where a stream ends between a header and its payload, Read returns what came", finalBit},

	{"gobwas/ws", "length not minimal", "", "longer forms of the length are read", minimalLength},
	{"gobwas/ws", "invalid close code", "", "codes from 5000 up are read", codesEnd},
	{"gobwas/ws", "", "", "where a stream ends inside a Close frame between fragments, ReadData returns what came", finalBit},
	{"gobwas/ws", "", "status code is not defined in spec", "1012 to 1014 are refused", codeRanges},
}

// Expected returns the row for a peer where tickwire applies rule, or where tickwire
// refuses nothing and the peer fails with refusal. It returns nil if there is none.
func Expected(peer, rule string, refusal error) *Difference {
	for i := range Differences {
		d := &Differences[i]
		if d.Peer != peer || d.Rule != rule {
			continue
		}
		switch {
		case rule != "",
			refusal == nil && d.Refusal == "",
			refusal != nil && d.Refusal != "" && strings.Contains(refusal.Error(), d.Refusal):
			return d
		}
	}
	return nil
}
