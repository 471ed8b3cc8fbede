package fuzz_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The table of targets in README.md has every target with its package, and no other.
func TestReadmeHasEveryTarget(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(Fuzz\\w+)` \\| `([^`]+)` \\|").FindAllStringSubmatch(string(b), -1) {
		listed[m[2]+" "+m[1]] = true
	}
	target := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range target.FindAllSubmatch(b, -1) {
			folder, _ := filepath.Rel("..", filepath.Dir(path))
			name := filepath.ToSlash(folder) + " " + string(m[1])
			if !listed[name] {
				t.Errorf("README.md does not list %s", name)
			}
			delete(listed, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range listed {
		t.Errorf("README.md lists %s, which does not exist", name)
	}
}
