//go:build !unix

package relay

// syncFolder does nothing: the system has no call for it.
func syncFolder(string) error { return nil }
