package main

import (
	"io"
	"sync"
)

// An output is standard output. It keeps the first write error, and ends the command
// after it.
type output struct {
	w      io.Writer
	failed func()

	mu  sync.Mutex
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		o.mu.Lock()
		if o.err == nil {
			o.err = err
		}
		o.mu.Unlock()
		o.failed()
	}
	return n, err
}

// Err returns the first write error.
func (o *output) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *output) under() io.Writer { return o.w }

// unwrap returns the writer that w wraps, or w itself if it wraps none.
func unwrap(w io.Writer) io.Writer {
	if u, ok := w.(interface{ under() io.Writer }); ok {
		return u.under()
	}
	return w
}
