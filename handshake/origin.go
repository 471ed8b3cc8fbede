package handshake

// CheckOrigin checks the origin of a request, because browsers send requests on behalf of
// any page (RFC 6455 §10.2). It accepts a request without an Origin, from the same origin
// ([SameOrigin]), or from one that a pattern of allowed matches ([MatchOrigin]). For all
// others it returns [ErrOrigin]. secure says that the request came over TLS that ends in
// this process.
//
// CheckOrigin trusts Host, so a page whose name resolves to this server passes (DNS
// rebinding). A server for browsers on its own machine or network must also compare
// [RequestView.Host] with its own names.
func CheckOrigin(r *RequestView, secure bool, allowed []string) error {
	origin, ok := r.Origin()
	if !ok || SameOrigin(origin, r.Host(), secure) {
		return nil
	}
	for _, pattern := range allowed {
		if MatchOrigin(pattern, origin) {
			return nil
		}
	}
	return ErrOrigin
}

// SameOrigin reports whether an Origin value names the host that the request was sent to.
// The name must be the same in any letter case. The port must be the same, with the
// default of the scheme filled in. With secure the scheme must be https. Without secure
// both http and https pass, because TLS may have ended at a proxy.
//
// SameOrigin is false for "null" and for an origin that is not scheme "://" host [":"
// port], such as one with userinfo or a path. It is false for bytes outside ASCII, and
// for a trailing dot on one side only.
func SameOrigin[A, B ~string | ~[]byte](origin A, host B, secure bool) bool {
	o, ok := splitOrigin(origin)
	if !ok || !equalFold(o.scheme, "https") && (secure || !equalFold(o.scheme, "http")) || !validHost(host) {
		return false
	}
	name, port := splitPort(host)
	return sameFold(o.name, name) && portOf(o.port, o.scheme) == portOf(port, o.scheme)
}

// MatchOrigin reports whether an Origin value matches a pattern. A pattern is an origin,
// such as "https://example.com:8443". "*." before its name matches one or more labels
// ("https://*.example.com"). A port of "*" matches any port. "null" matches the origin of
// sandboxed pages. "*" alone matches everything.
func MatchOrigin[A ~string | ~[]byte](pattern string, origin A) bool {
	if pattern == "*" {
		return true
	}
	if pattern == "null" {
		return equal(origin, "null")
	}
	o, ok := splitOrigin(origin)
	p, valid := splitOrigin(pattern)
	if !ok || !valid || !sameFold(o.scheme, p.scheme) {
		return false
	}
	if p.port != "*" && portOf(o.port, o.scheme) != portOf(p.port, p.scheme) {
		return false
	}
	if len(p.name) > 2 && p.name[:2] == "*." {
		suffix := p.name[1:]
		return len(o.name) > len(suffix) && sameFold(o.name[len(o.name)-len(suffix):], suffix)
	}
	return sameFold(o.name, p.name)
}

type originParts[T text] struct{ scheme, name, port T }

// splitOrigin parses scheme "://" host [":" port] and nothing else (RFC 6454 §6.2).
func splitOrigin[T text](v T) (o originParts[T], ok bool) {
	i := 0
	for i < len(v) && v[i] != ':' {
		c := lower(v[i])
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return o, false
		}
		i++
	}
	if i == 0 || len(v) < i+3 || !equal(v[i:i+3], "://") {
		return o, false
	}
	o.scheme = v[:i]
	o.name, o.port = splitPort(v[i+3:])
	if len(o.port) == 0 && len(v) != i+3+len(o.name) { // a colon without a port
		return o, false
	}
	return o, validHost(o.name) && (validPort(o.port) || equal(o.port, "*"))
}

// splitPort cuts host [":" port]; port is empty if there is none.
func splitPort[T text](v T) (name, port T) {
	i := 0
	if len(v) > 0 && v[0] == '[' {
		for i < len(v) && v[i] != ']' {
			i++
		}
	}
	for i < len(v) && v[i] != ':' {
		i++
	}
	if i == len(v) {
		return v, v[i:]
	}
	return v[:i], v[i+1:]
}

// portOf returns the port as a number. Without a port it is the scheme's default, or 0 if
// the scheme has none. It is −1 for "*".
func portOf[T text, S text](port T, scheme S) int {
	if len(port) == 0 {
		switch {
		case equalFold(scheme, "http"):
			return 80
		case equalFold(scheme, "https"):
			return 443
		}
		return 0
	}
	n := 0
	for i := 0; i < len(port); i++ {
		if port[i] == '*' {
			return -1
		}
		n = n*10 + int(port[i]-'0')
	}
	return n
}

func sameFold[A, B text](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}
