package redial

import "fmt"

// Error tells what failed, and when.
func (e *Error) Error() string {
	s := "redial: " + e.Op
	if e.Epoch > 0 {
		s += fmt.Sprintf(" in epoch %d after %d messages", e.Epoch, e.Number)
	}
	if e.Attempts > 1 {
		s += fmt.Sprintf(", %d attempts", e.Attempts)
	}
	if e.Limit > 0 {
		s += fmt.Sprintf(", the limit of %d reached (redial.Backoff.MaxAttempts)", e.Limit)
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
