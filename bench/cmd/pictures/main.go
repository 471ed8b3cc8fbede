// The command pictures draws frame/doc/*.txt into SVG files beside them. With -check it
// only compares, and fails if a file would change.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-7f57ff33/tickwire/bench/report"
)

func main() {
	check := flag.Bool("check", false, "write nothing, and fail if a picture is not up to date")
	flag.Parse()
	if err := draw(filepath.Join("..", "frame", "doc"), *check); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

// draw draws or checks all pictures of a folder.
func draw(dir string, check bool) error {
	sources, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(sources) == 0 {
		return fmt.Errorf("no picture in %s", dir)
	}
	for _, source := range sources {
		path := strings.TrimSuffix(source, ".txt") + ".svg"
		if !check {
			if err := report.DrawPicture(source, path); err != nil {
				return err
			}
			continue
		}
		if err := compare(source, path); err != nil {
			return err
		}
	}
	return nil
}

// compare fails if the picture of source is not what path has.
func compare(source, path string) error {
	temporary, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	fresh := filepath.Join(temporary, "picture.svg")
	if err := report.DrawPicture(source, fresh); err != nil {
		return err
	}
	want, err := os.ReadFile(fresh)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s is not what %s draws: run go -C bench run ./cmd/pictures", path, source)
	}
	return nil
}
