package conn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// Upgrader opens connections as a server. The zero value is ready; an Upgrader may be used by many goroutines.
type Upgrader struct {
	// Subprotocols are the server's own, the preferred one first. The client's first choice among them is taken.
	Subprotocols []string
	// HandshakeTimeout bounds Accept; 0 means DefaultHandshakeTimeout, negative none.
	HandshakeTimeout time.Duration
	// Config is the connection's.
	Config Config
}

// Upgrade answers a request with the zero Upgrader.
func Upgrade(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	return new(Upgrader).Upgrade(w, r)
}

// Upgrade makes a WebSocket connection of the connection of a request. If it returns an error the request has been answered.
func (u *Upgrader) Upgrade(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	head := r.Method + " " + r.URL.RequestURI() + fmt.Sprintf(" HTTP/%d.%d\r\nHost: %s\r\n", r.ProtoMajor, r.ProtoMinor, r.Host)
	b := []byte(head)
	for name, values := range r.Header {
		for _, v := range values {
			b = append(b, name+": "+v+"\r\n"...)
		}
	}
	var req handshake.RequestView
	if _, err := handshake.ParseRequest(&req, append(b, "\r\n"...)); err != nil {
		return nil, u.refuse(w, err)
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		err = fmt.Errorf("conn: upgrade: %w", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	return u.answer(nc, &req, early)
}

func (u *Upgrader) refuse(w http.ResponseWriter, err error) error {
	status := http.StatusBadRequest
	var e *handshake.Error
	if errors.As(err, &e) && e.Status != 0 {
		status = e.Status
	}
	if status == http.StatusUpgradeRequired {
		w.Header().Set("Sec-WebSocket-Version", handshake.Version)
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
	}
	http.Error(w, err.Error(), status)
	return err
}

// Accept does the opening handshake on a connection just accepted. If it returns an error the connection is closed.
func (u *Upgrader) Accept(nc net.Conn) (*Conn, error) {
	timeout := u.HandshakeTimeout
	if timeout == 0 {
		timeout = DefaultHandshakeTimeout
	}
	if timeout > 0 {
		_ = nc.SetDeadline(time.Now().Add(timeout))
	}
	c, err := u.accept(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, c.SetDeadline(time.Time{})
}

func (u *Upgrader) accept(nc net.Conn) (*Conn, error) {
	var req handshake.RequestView
	b := make([]byte, 0, 1024)
	for {
		if cap(b)-len(b) < 512 {
			b = append(make([]byte, 0, 2*cap(b)), b...)
		}
		n, readErr := nc.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		head, err := handshake.ParseRequest(&req, b)
		var refused *handshake.Error
		switch {
		case errors.As(err, &refused):
			_, _ = nc.Write(handshake.AppendError(nil, refused))
			return nil, err
		case head > 0:
			return u.answer(nc, &req, b[head:])
		case readErr == io.EOF && len(b) > 0:
			return nil, fmt.Errorf("conn: handshake: %w", io.ErrUnexpectedEOF)
		case readErr != nil:
			return nil, fmt.Errorf("conn: handshake: %w", readErr)
		}
	}
}

// answer writes the 101. The connection is closed if that fails.
func (u *Upgrader) answer(nc net.Conn, req *handshake.RequestView, early []byte) (*Conn, error) {
	answer := &handshake.Response{Subprotocol: req.Subprotocol(u.Subprotocols)}
	b, err := handshake.AppendResponse(nil, req.Key(), answer)
	if err == nil {
		_, err = nc.Write(b)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("conn: handshake: %w", err)
	}
	return newConn(nc, frame.Server, &u.Config, early, answer.Subprotocol), nil
}
