package handshake

// text is the input of the grammar: views of received bytes on the server's side, strings
// on the client's.
type text interface{ ~string | ~[]byte }

// Classes of bytes, RFC 9110 §5.6.2 (token) and §5.5 (field-value).
const (
	classToken  = 1 << iota // tchar
	classValue              // VCHAR, obs-text, SP, HTAB
	classTarget             // VCHAR without '#': the bytes of a request target
	classHost               // the bytes of a name or an address: unreserved, '%', sub-delims except the comma
)

var class = makeClasses()

func makeClasses() (t [256]uint8) {
	for c := range 256 {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		if letter || digit || contains("!#$%&'*+-.^_`|~", byte(c)) {
			t[c] |= classToken
		}
		if c > ' ' && c != 0x7f || c == ' ' || c == '\t' {
			t[c] |= classValue
		}
		if c > ' ' && c < 0x7f && c != '#' {
			t[c] |= classTarget
		}
		if letter || digit || contains("-._~!$&'()*+;=%", byte(c)) { // a comma joins two lines (RFC 9110 §5.3)
			t[c] |= classHost
		}
	}
	return t
}

func contains(set string, c byte) bool {
	for i := 0; i < len(set); i++ {
		if set[i] == c {
			return true
		}
	}
	return false
}

// all reports whether every byte of v is of the class.
func all[T text](v T, of uint8) bool {
	for i := 0; i < len(v); i++ {
		if class[v[i]]&of == 0 {
			return false
		}
	}
	return true
}

// isToken reports whether v is a token: one byte or more of tchar (RFC 9110 §5.6.2).
func isToken[T text](v T) bool { return len(v) > 0 && all(v, classToken) }

// equal reports whether v == want, without a conversion that allocates.
func equal[T text](v T, want string) bool {
	if len(v) != len(want) {
		return false
	}
	for i := 0; i < len(v); i++ {
		if v[i] != want[i] {
			return false
		}
	}
	return true
}

// equalFold compares without regard to case, in ASCII only. (strings.EqualFold folds the
// Kelvin sign to k.)
func equalFold[T text](v T, want string) bool {
	if len(v) != len(want) {
		return false
	}
	for i := 0; i < len(v); i++ {
		if lower(v[i]) != lower(want[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// trim cuts optional white space (SP, HTAB) at both ends.
func trim[T text](v T) T {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

// element cuts the first element off a comma-separated list without quotes (RFC 9110
// §5.6.1), trimmed. Empty elements are returned as empty. more is false after the last
// one.
func element[T text](list T) (first, rest T, more bool) {
	for i := 0; i < len(list); i++ {
		if list[i] == ',' {
			return trim(list[:i]), list[i+1:], true
		}
	}
	return trim(list), list[len(list):], false
}

// hasToken reports whether a comma-separated list has the token, in any letter case.
func hasToken[T text](list T, token string) bool {
	for more := true; more; {
		var e T
		e, list, more = element(list)
		if equalFold(e, token) {
			return true
		}
	}
	return false
}

// validHost reports whether v is a valid Host header, host [":" port] (RFC 9110 §7.2).
// host is a name, an IPv4 address or an IPv6 literal in brackets. Userinfo is refused. So
// is a zone, which has no meaning for the peer (RFC 6874 §4).
func validHost[T text](v T) bool {
	end := 0
	if len(v) > 0 && v[0] == '[' {
		colons := 0
		for end = 1; end < len(v) && v[end] != ']'; end++ {
			c := v[end]
			if c == ':' {
				colons++
			} else if c != '.' && !isHex(c) {
				return false
			}
		}
		if end == len(v) || colons < 2 || colons > 7 {
			return false
		}
		end++
	} else {
		for end < len(v) && class[v[end]]&classHost != 0 {
			end++
		}
		if end == 0 {
			return false
		}
	}
	if end == len(v) {
		return true
	}
	return v[end] == ':' && validPort(v[end+1:])
}

// validPort reports whether v is a decimal port of 1 to 65535, or empty, which means the
// default port (RFC 3986 §3.2.3).
func validPort[T text](v T) bool {
	if len(v) == 0 {
		return true
	}
	n := 0
	for i := 0; i < len(v); i++ {
		if v[i] < '0' || v[i] > '9' {
			return false
		}
		if n = n*10 + int(v[i]-'0'); n > 65535 {
			return false
		}
	}
	return n > 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}
