package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// An input is standard input. Each line is sent as a text message.
type input struct {
	lines chan string // closed after the last line
	held  []string    // the line that was not sent when a connection ended; the next one gets it

	left atomic.Int64 // lines that were read but not sent
	done atomic.Bool  // all of it was read
}

// A lineCounter counts the line ends that it reads.
type lineCounter struct {
	r     io.Reader
	count *atomic.Int64
}

func (l *lineCounter) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.count.Add(int64(bytes.Count(p[:n], []byte{'\n'})))
	return n, err
}

// unsent returns an error with the number of lines that were read and not sent, or nil if
// there are none. Call it after send has returned.
func (in *input) unsent() error {
	if in == nil {
		return nil
	}
	n := in.left.Load()
	switch {
	case n <= 0:
		return nil
	case in.done.Load():
		return fmt.Errorf("%d lines were not sent", n)
	}
	return fmt.Errorf("%d lines were not sent, and standard input may have more", n)
}

// maxLine bounds a line. A longer one is not sent.
const maxLine = 16 << 20

// readInput starts to read. It does not wait for a reader that never returns. next is
// called after each complaint, and over when all was read.
func readInput(r io.Reader, complain func(format string, args ...any), next, over func()) *input {
	in := &input{lines: make(chan string)}
	go func() {
		defer close(in.lines)
		lines := bufio.NewReaderSize(&lineCounter{r, &in.left}, 64<<10)
		for {
			line, long, err := readLine(lines)
			if err != nil && (long || line != "") {
				in.left.Add(1) // without a line end
			}
			if err == io.EOF {
				in.done.Store(true)
			}
			switch {
			case long:
				complain("a line of more than %d bytes is not sent", maxLine)
				next()
			case err == nil || line != "":
				in.lines <- strings.TrimSuffix(line, "\r")
			}
			if err != nil {
				if err != io.EOF {
					complain("standard input: %v", err)
				}
				over()
				return
			}
		}
	}()
	return in
}

// readLine returns the next line without its end. long reports that it was too long. The
// last line comes with an error.
func readLine(r *bufio.Reader) (line string, long bool, err error) {
	var b []byte
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(b)+len(part) > maxLine; long {
			b = nil
		} else {
			b = append(b, part...)
		}
		if err != bufio.ErrBufferFull {
			return strings.TrimSuffix(string(b), "\n"), long, err
		}
	}
}

// send sends lines on c until the connection ends or there are no more lines. next is
// called after each line. One call runs at a time.
func (in *input) send(c *conn.Conn, complain func(format string, args ...any), next func()) {
	for {
		if len(in.held) == 0 {
			select {
			case line, ok := <-in.lines:
				if !ok {
					return
				}
				in.held = append(in.held, line)
			case <-c.Done():
				return
			}
		}
		err := c.WriteMessage(frame.Text, []byte(in.held[0]))
		switch {
		case errors.Is(err, conn.ErrNotUTF8):
			complain("a line that is not UTF-8 is not sent")
		case err != nil:
			return // the next connection sends it
		default:
			in.left.Add(-1)
		}
		in.held = in.held[:0]
		next()
	}
}
