package main

import (
	"path/filepath"
	"testing"
)

// The committed pictures are what their texts draw.
func TestPicturesAreUpToDate(t *testing.T) {
	if err := draw(filepath.Join("..", "..", "..", "frame", "doc"), true); err != nil {
		t.Error(err)
	}
}
