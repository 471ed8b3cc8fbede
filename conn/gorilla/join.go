package websocket

import (
	"io"
	"strings"
)

// JoinMessages returns a reader of all messages, with term after each. Only one goroutine
// may use it.
func JoinMessages(c *Conn, term string) io.Reader {
	return &joinReader{c: c, term: term}
}

type joinReader struct {
	c       *Conn
	term    string
	message io.Reader // nil between messages
	end     strings.Reader
}

// Read implements io.Reader.
func (r *joinReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.end.Len() > 0 {
		return r.end.Read(p)
	}
	if r.message == nil {
		var err error
		if _, r.message, err = r.c.NextReader(); err != nil {
			return 0, err
		}
	}
	n, err := r.message.Read(p)
	if err == io.EOF {
		err, r.message = nil, nil
		r.end.Reset(r.term)
	}
	return n, err
}
