package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// An input is standard input, whose lines are sent as text, each as a message.
type input struct {
	lines chan string // closed when there are no more
	held  []string    // the one that a connection ended with, for the next
}

// maxLine bounds a line. A longer one is an error, not two messages.
const maxLine = 16 << 20

// readInput begins to read. A reader that never returns is left behind.
func readInput(r io.Reader, complain func(format string, args ...any)) *input {
	in := &input{lines: make(chan string)}
	go func() {
		defer close(in.lines)
		lines := bufio.NewReaderSize(r, 64<<10)
		for {
			line, err := readLine(lines)
			if err == nil || line != "" {
				in.lines <- strings.TrimSuffix(line, "\r")
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					complain("standard input: %v", err)
				}
				return
			}
		}
	}()
	return in
}

var errLongLine = fmt.Errorf("a line of more than %d bytes", maxLine)

func readLine(r *bufio.Reader) (string, error) {
	var b []byte
	for {
		part, err := r.ReadSlice('\n')
		b = append(b, part...)
		if len(b) > maxLine {
			return "", errLongLine
		}
		if err != bufio.ErrBufferFull {
			return strings.TrimSuffix(string(b), "\n"), err
		}
	}
}

// send sends lines on c until that ends, or there are no more. One call runs at a time.
func (in *input) send(c *conn.Conn, complain func(format string, args ...any), sent func()) {
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
			return // the next connection has it
		default:
			sent()
		}
		in.held = in.held[:0]
	}
}
