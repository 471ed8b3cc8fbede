package main

import (
	"path/filepath"
	"testing"
)

// The committed pictures match their texts.
func TestPicturesAreUpToDate(t *testing.T) {
	if err := draw(filepath.Join("..", "..", "..", "frame", "doc"), true); err != nil {
		t.Error(err)
	}
}
