package conn

import (
	"errors"
	"io"
)

// anyConn is a Conn as its own transport, over what is no socket and no tls.Conn over records.
type anyConn Conn

const maxEmptyReads = 100 // reads of (0, nil) in a row before io.ErrNoProgress

var errReadCount = errors.New("the transport returned an impossible count from Read")

// Fill reads from any net.Conn.
func (a *anyConn) Fill(dst []byte) (int, error) {
	(*Conn)(a).restQueue()
	for range maxEmptyReads {
		space := a.r.WaitSpace(dst)
		n, err := a.stream.Read(space)
		a.stats.reads.Add(1)
		if n < 0 || n > len(space) {
			return 0, errReadCount
		}
		if n > 0 {
			a.r.Filled(n)
			return n, err
		}
		if err != nil {
			a.r.Release()
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}
