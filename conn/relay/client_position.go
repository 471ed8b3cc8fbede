package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// saveError is an error of Client.Save.
type saveError struct{ err error }

func (e *saveError) Error() string { return "relay: save the position: " + e.err.Error() }
func (e *saveError) Unwrap() error { return e.err }

// save calls Save if there is a new position.
func (c *Client) save() error {
	if c.Save == nil {
		return nil
	}
	c.saving.Lock()
	defer c.saving.Unlock()
	p := c.Position()
	if p.IsZero() || p == c.saved {
		return nil
	}
	if err := c.Save(p); err != nil {
		return &saveError{err}
	}
	c.saved = p
	c.counts.saves.Add(1)
	return nil
}

// saveRegularly saves every SaveEvery until ctx ends. An error ends Run.
func (c *Client) saveRegularly(ctx context.Context, fail func(error)) {
	every := c.SaveEvery
	if every == 0 {
		every = DefaultSaveEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.save(); err != nil {
			fail(err)
			return
		}
	}
}

// FilePosition is the path of a file that keeps a position. Its methods are for the
// fields of the same names of a Client. Two Clients must not use the same file.
type FilePosition string

// Load returns the position in the file, and the zero Position if there is no file. If
// the file has something else the error matches ErrPosition.
func (f FilePosition) Load() (Position, error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return Position{}, nil
	}
	if err != nil {
		return Position{}, err
	}
	p, err := ParsePosition(string(bytes.TrimSuffix(text, []byte("\n"))))
	if err != nil {
		return Position{}, fmt.Errorf("%s: %w", string(f), err)
	}
	return p, nil
}

// Save replaces the file by one with the position p. Whatever ends the program or the
// machine, the file has the old position or the new one. FILE.new is used meanwhile.
func (f FilePosition) Save(p Position) error {
	next := string(f) + ".new"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(p.String() + "\n")
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err := os.Rename(next, string(f)); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(string(f)))
}
