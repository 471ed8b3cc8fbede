package metrics

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strconv"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// A peer chooses the Close code and the status, so neither is a label as it is. Otherwise
// a hostile peer could create a series for each value.

// codeNames are the values of LabelCode: the registered codes from 1000 to 1015 except
// 1004, then the classes.
var codeNames = func() (names [numCodes]string) {
	for i := range names[:code3xxx] {
		names[i] = strconv.Itoa(int(frame.CodeNormal) + i)
	}
	names[codeOther] = "other"
	names[code3xxx], names[code4xxx] = "3xxx", "4xxx"
	return names
}()

const (
	codeOther = 4 // 1004, which is reserved
	code3xxx  = 16
	code4xxx  = 17
	numCodes  = 18
)

func codeIndex(c frame.CloseCode) int {
	switch {
	case c >= frame.CodeNormal && c <= frame.CodeTLSHandshake:
		return int(c - frame.CodeNormal) // 1004 is codeOther
	case c >= 3000 && c <= 3999:
		return code3xxx
	case c >= 4000 && c <= 4999:
		return code4xxx
	}
	return codeOther
}

const numSides = int(redial.ByClock) + 1

func sideIndex(s redial.Side) int {
	if int(s) < numSides {
		return int(s)
	}
	return int(redial.Unknown)
}

// endOf returns how a connection without a Client has ended, by the rules of
// redial.Change.
func endOf(err error) (redial.Side, frame.CloseCode) {
	var closed *conn.CloseError
	var broken *frame.ProtocolError
	var dead *conn.TimeoutError
	var lost *conn.TransportError
	switch {
	case errors.As(err, &closed):
		if closed.Local {
			return redial.ByUs, closed.Code
		}
		return redial.ByPeer, closed.Code
	case errors.As(err, &broken):
		return redial.ByPeer, frame.CodeAbnormal
	case errors.As(err, &dead):
		if dead.Clock == conn.ClockClose {
			return redial.ByUs, frame.CodeAbnormal
		}
		return redial.ByClock, frame.CodeAbnormal
	case errors.As(err, &lost):
		return redial.ByNetwork, frame.CodeAbnormal
	case errors.Is(err, conn.ErrClosed), errors.Is(err, conn.ErrTooSlow):
		return redial.ByUs, frame.CodeAbnormal
	}
	return redial.Unknown, frame.CodeAbnormal
}

// reasons are the values of LabelReason.
var reasons = [...]string{"timeout", "refused_3xx", "refused_4xx", "refused_5xx", "handshake", "tls", "network", "canceled", "other"}

const (
	reasonTimeout = iota
	reasonRefused // 3xx, 4xx, 5xx
	_
	_
	reasonHandshake
	reasonTLS
	reasonNetwork
	reasonCanceled
	reasonOther
)

// reasonOf returns why an attempt failed.
func reasonOf(err error) int {
	var timeout *redial.TimeoutError
	var refused *handshake.Error
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var lost *conn.TransportError
	var network net.Error
	var closed *conn.CloseError
	switch {
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return reasonTimeout
	case errors.As(err, &refused):
		if class := refused.Status / 100; class >= 3 && class <= 5 {
			return reasonRefused + class - 3
		}
		return reasonHandshake
	case errors.As(err, &certificate), errors.As(err, &record), errors.As(err, &alert):
		return reasonTLS
	case errors.Is(err, context.Canceled):
		return reasonCanceled
	case errors.As(err, &closed):
		return reasonOther
	case errors.As(err, &lost), errors.As(err, &network):
		return reasonNetwork
	}
	return reasonOther
}
