package websocket

import (
	"encoding/binary"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// The close codes (RFC 6455 §7.4, IANA registry).
const (
	CloseNormalClosure           = 1000
	CloseGoingAway               = 1001
	CloseProtocolError           = 1002
	CloseUnsupportedData         = 1003
	CloseNoStatusReceived        = 1005
	CloseAbnormalClosure         = 1006
	CloseInvalidFramePayloadData = 1007
	ClosePolicyViolation         = 1008
	CloseMessageTooBig           = 1009
	CloseMandatoryExtension      = 1010
	CloseInternalServerErr       = 1011
	CloseServiceRestart          = 1012
	CloseTryAgainLater           = 1013
	CloseTLSHandshake            = 1015
)

// The types of messages (RFC 6455 §11.8).
const (
	TextMessage   = 1
	BinaryMessage = 2
	CloseMessage  = 8
	PingMessage   = 9
	PongMessage   = 10
)

// noFrame is the message type of a failed read call.
const noFrame = -1

func isControl(messageType int) bool {
	return messageType == CloseMessage || messageType == PingMessage || messageType == PongMessage
}

func isData(messageType int) bool {
	return messageType == TextMessage || messageType == BinaryMessage
}

// FormatCloseMessage returns the payload of a Close frame with this code and text. For
// CloseNoStatusReceived it is empty but not nil.
func FormatCloseMessage(closeCode int, text string) []byte {
	if closeCode == CloseNoStatusReceived {
		return []byte{}
	}
	p := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(text)), uint16(closeCode))
	return append(p, text...)
}

// parseCloseMessage is its reverse, for a payload that package frame has checked.
func parseCloseMessage(p []byte) (code int, text string) {
	if len(p) < 2 {
		return CloseNoStatusReceived, ""
	}
	return int(binary.BigEndian.Uint16(p)), string(p[2:])
}

var _ = [1]struct{}{}[frame.Text-TextMessage|frame.Binary-BinaryMessage|frame.Close-CloseMessage|frame.Ping-PingMessage|frame.Pong-PongMessage]
