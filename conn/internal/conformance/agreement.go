package conformance

import (
	"fmt"
	"strconv"
	"strings"
)

const extensionName = "permessage-deflate"

// An agreement is what a server's answer says about permessage-deflate.
type agreement struct {
	serverNoContextTakeover, clientNoContextTakeover bool
	serverBits, clientBits                           int
}

// parseAgreement reads the extension in an answer; there may be one. offered is the
// client's offer, or "" (RFC 7692 §7.1).
func parseAgreement(answer, offered string) (*agreement, error) {
	a := &agreement{serverBits: 15, clientBits: 15}
	elements := strings.Split(answer, ",")
	if len(elements) != 1 {
		return nil, fmt.Errorf("%d extensions are agreed to, of one that was offered", len(elements))
	}
	parts := strings.Split(elements[0], ";")
	if strings.TrimSpace(parts[0]) != extensionName || offered == "" {
		return nil, fmt.Errorf("an extension that was not offered: %s", answer)
	}
	seen := map[string]bool{}
	for _, part := range parts[1:] {
		name, value, valued := strings.Cut(strings.TrimSpace(part), "=")
		value = strings.Trim(value, `"`)
		if seen[name] {
			return nil, fmt.Errorf("%s twice (RFC 7692 §7.1)", name)
		}
		seen[name] = true
		var err error
		switch name {
		case "server_no_context_takeover":
			a.serverNoContextTakeover = true
		case "client_no_context_takeover":
			a.clientNoContextTakeover = true
		case "server_max_window_bits":
			a.serverBits, err = windowBits(value)
		case "client_max_window_bits":
			if !strings.Contains(offered, name) {
				return nil, fmt.Errorf("%s, which was not offered (RFC 7692 §7.1.2.2)", name)
			}
			a.clientBits, err = windowBits(value)
		default:
			err = fmt.Errorf("the unknown parameter %q", name)
		}
		if strings.HasSuffix(name, "takeover") && valued {
			err = fmt.Errorf("%s with a value", name)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

func windowBits(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 8 || n > 15 || strconv.Itoa(n) != v {
		return 0, fmt.Errorf("%q is no window size (RFC 7692 §7.1.2)", v)
	}
	return n, nil
}

// honours returns an error for a parameter of the offer that the answer ignores.
func (a *agreement) honours(offer string) error {
	if strings.Contains(offer, "server_no_context_takeover") && !a.serverNoContextTakeover {
		return fmt.Errorf("server_no_context_takeover was asked for, and is not in the answer (RFC 7692 §7.1.1.1)")
	}
	for _, part := range strings.Split(offer, ";") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(part), "server_max_window_bits="); ok {
			if n, err := windowBits(strings.Trim(v, `"`)); err == nil && a.serverBits > n {
				return fmt.Errorf("a window of %d bits, where %d were offered (RFC 7692 §7.1.2.1)", a.serverBits, n)
			}
		}
	}
	return nil
}
