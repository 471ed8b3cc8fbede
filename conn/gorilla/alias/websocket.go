// Package websocket is tickwire's conn/gorilla under the import path of
// gorilla/websocket, for a replace line in go.mod: see package conn/gorilla.
package websocket

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"

	websocket "github.com/seed-7f57ff33/tickwire/conn/gorilla"
)

// The close codes.
const (
	CloseNormalClosure           = websocket.CloseNormalClosure
	CloseGoingAway               = websocket.CloseGoingAway
	CloseProtocolError           = websocket.CloseProtocolError
	CloseUnsupportedData         = websocket.CloseUnsupportedData
	CloseNoStatusReceived        = websocket.CloseNoStatusReceived
	CloseAbnormalClosure         = websocket.CloseAbnormalClosure
	CloseInvalidFramePayloadData = websocket.CloseInvalidFramePayloadData
	ClosePolicyViolation         = websocket.ClosePolicyViolation
	CloseMessageTooBig           = websocket.CloseMessageTooBig
	CloseMandatoryExtension      = websocket.CloseMandatoryExtension
	CloseInternalServerErr       = websocket.CloseInternalServerErr
	CloseServiceRestart          = websocket.CloseServiceRestart
	CloseTryAgainLater           = websocket.CloseTryAgainLater
	CloseTLSHandshake            = websocket.CloseTLSHandshake
)

// The types of messages.
const (
	TextMessage   = websocket.TextMessage
	BinaryMessage = websocket.BinaryMessage
	CloseMessage  = websocket.CloseMessage
	PingMessage   = websocket.PingMessage
	PongMessage   = websocket.PongMessage
)

// The errors that are compared with ==.
var (
	ErrCloseSent    = websocket.ErrCloseSent
	ErrReadLimit    = websocket.ErrReadLimit
	ErrBadHandshake = websocket.ErrBadHandshake
)

// DefaultDialer uses the proxies of the environment.
var DefaultDialer = websocket.DefaultDialer

// The types.
type (
	BufferPool      = websocket.BufferPool
	CloseError      = websocket.CloseError
	Conn            = websocket.Conn
	Dialer          = websocket.Dialer
	HandshakeError  = websocket.HandshakeError
	Options         = websocket.Options
	PreparedMessage = websocket.PreparedMessage
	Upgrader        = websocket.Upgrader
)

// FormatCloseMessage returns the payload of a Close frame.
func FormatCloseMessage(closeCode int, text string) []byte {
	return websocket.FormatCloseMessage(closeCode, text)
}

// IsCloseError reports whether err is a *CloseError with one of the codes.
func IsCloseError(err error, codes ...int) bool { return websocket.IsCloseError(err, codes...) }

// IsUnexpectedCloseError reports whether err is a *CloseError with none of the codes.
func IsUnexpectedCloseError(err error, expectedCodes ...int) bool {
	return websocket.IsUnexpectedCloseError(err, expectedCodes...)
}

// IsWebSocketUpgrade reports whether a request asks for a WebSocket.
func IsWebSocketUpgrade(r *http.Request) bool { return websocket.IsWebSocketUpgrade(r) }

// JoinMessages returns a reader of all messages, with term after each.
func JoinMessages(c *Conn, term string) io.Reader { return websocket.JoinMessages(c, term) }

// NewClient does the handshake on an existing connection.
//
// Deprecated: Use Dialer.
func NewClient(netConn net.Conn, u *url.URL, requestHeader http.Header, readBufSize, writeBufSize int) (c *Conn, response *http.Response, err error) {
	return websocket.NewClient(netConn, u, requestHeader, readBufSize, writeBufSize)
}

// NewPreparedMessage returns a message that is encoded once.
func NewPreparedMessage(messageType int, data []byte) (*PreparedMessage, error) {
	return websocket.NewPreparedMessage(messageType, data)
}

// ReadJSON is Conn.ReadJSON.
//
// Deprecated: Use Conn.ReadJSON.
func ReadJSON(c *Conn, v any) error { return c.ReadJSON(v) }

// Subprotocols returns the subprotocols that a request offers.
func Subprotocols(r *http.Request) []string { return websocket.Subprotocols(r) }

// Upgrade is Upgrader.Upgrade without the comparison of Origin.
//
// Deprecated: Use Upgrader.
func Upgrade(w http.ResponseWriter, r *http.Request, responseHeader http.Header, readBufSize, writeBufSize int) (*Conn, error) {
	return websocket.Upgrade(w, r, responseHeader, readBufSize, writeBufSize)
}

// WithOptions returns a context that carries o to DialContext and Upgrade.
func WithOptions(ctx context.Context, o Options) context.Context {
	return websocket.WithOptions(ctx, o)
}

// WriteJSON is Conn.WriteJSON.
//
// Deprecated: Use Conn.WriteJSON.
func WriteJSON(c *Conn, v any) error { return c.WriteJSON(v) }
