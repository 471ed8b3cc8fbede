package handshake

import (
	"net/http"
	"strconv"
)

// AppendError appends the answer that refuses a request, with Connection: close. The
// answer has the status, the valid header lines and the body of e. It adds the headers
// that the status requires: Allow for 405; Upgrade and Sec-WebSocket-Version: 13 for 426
// (RFC 6455 §4.4). Without a body the rule is sent as text. A status outside 300 to 599
// is sent as 500.
func AppendError(dst []byte, e *Error) []byte {
	status := e.Status
	if status < 300 || status > 599 {
		status = http.StatusInternalServerError
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(status)...)
	switch status {
	case http.StatusUpgradeRequired:
		dst = append(dst, "\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: "+Version+"\r\n"...)
	case http.StatusMethodNotAllowed:
		dst = append(dst, "\r\nAllow: GET\r\nConnection: close\r\n"...)
	default:
		dst = append(dst, "\r\nConnection: close\r\n"...)
	}
	dst = appendHeader(dst, sendable(e.Header, status))
	body := e.Body
	if len(body) == 0 {
		body = append([]byte(e.text()), '\n')
	}
	if !hasKey(e.Header, "Content-Type") {
		dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"...)
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

// sendable returns the lines of a header that a refusal may have besides those that
// AppendError sets.
func sendable(h http.Header, status int) http.Header {
	if len(h) == 0 {
		return nil
	}
	out := make(http.Header, len(h))
	for name, values := range h {
		if checkHeader(http.Header{name: values}) != nil || status == http.StatusMethodNotAllowed && equalFold(name, "Allow") {
			continue
		}
		out[name] = values
	}
	return out
}
