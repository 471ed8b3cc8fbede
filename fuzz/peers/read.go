package peers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	coder "github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
)

const limit = frame.DefaultMaxMessage

func readTickwire(role reference.Role, stream []byte) (o Outcome) {
	r := frame.Client
	if role == reference.Server {
		r = frame.Server
	}
	rd := frame.NewReader(bytes.NewReader(stream), r, frame.Options{})
	for {
		m, err := rd.Next()
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return o
		case err != nil:
			o.Refused = err
			return o
		}
		if !m.Opcode.IsControl() {
			o.Messages = append(o.Messages, Message{m.Opcode == frame.Binary, string(m.Data)})
		}
	}
}

func readGorilla(role reference.Role, stream []byte) (o Outcome) {
	conn := newConn(stream)
	var c *gorilla.Conn
	var err error
	if role == reference.Client {
		conn.answer = true
		//lint:ignore SA1019 a Dialer would make the connection itself
		c, _, err = gorilla.NewClient(conn, targetURL, nil, 0, 0)
	} else {
		u := gorilla.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		c, err = u.Upgrade(newResponse(conn), request(), nil)
	}
	if err != nil {
		panic("gorilla/websocket: handshake: " + err.Error())
	}
	c.SetReadLimit(limit)
	for {
		kind, p, err := c.ReadMessage()
		if err != nil {
			var closed *gorilla.CloseError
			if !errors.As(err, &closed) {
				o.Refused = err
			}
			return o
		}
		o.Messages = append(o.Messages, Message{kind == gorilla.BinaryMessage, string(p)})
	}
}

func readCoder(role reference.Role, stream []byte) (o Outcome) {
	conn := newConn(stream)
	var c *coder.Conn
	var err error
	if role == reference.Client {
		c, _, err = coder.Dial(context.Background(), target, &coder.DialOptions{
			HTTPClient: &http.Client{Transport: transport{conn}}, CompressionMode: coder.CompressionDisabled,
		})
	} else {
		c, err = coder.Accept(newResponse(conn), request(), &coder.AcceptOptions{InsecureSkipVerify: true, CompressionMode: coder.CompressionDisabled})
	}
	if err != nil {
		panic("coder/websocket: handshake: " + err.Error())
	}
	defer c.CloseNow()
	c.SetReadLimit(limit)
	for {
		kind, p, err := c.Read(context.Background())
		if err != nil {
			if coder.CloseStatus(err) == -1 && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				o.Refused = err
			}
			return o
		}
		o.Messages = append(o.Messages, Message{kind == coder.MessageBinary, string(p)})
	}
}

func readGobwas(role reference.Role, stream []byte) (o Outcome) {
	state := ws.StateClientSide
	if role == reference.Server {
		state = ws.StateServerSide
	}
	wsutil.SetMaxMessageSize(limit)
	conn := newConn(stream)
	for {
		p, op, err := wsutil.ReadData(conn, state)
		if err != nil {
			var closed wsutil.ClosedError
			if !errors.As(err, &closed) && err != io.EOF && err != io.ErrUnexpectedEOF {
				o.Refused = err
			}
			return o
		}
		o.Messages = append(o.Messages, Message{op == ws.OpBinary, string(p)})
	}
}
