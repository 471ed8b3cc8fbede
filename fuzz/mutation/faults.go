package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed faults.txt
var list string

// fault is a small change of one file that the tests must find.
type fault struct {
	file     string // relative to the module's root
	name     string
	old, new string // whole lines
}

// parse reads a list of faults.
func parse(list string) ([]fault, error) {
	var faults []fault
	for i, line := range strings.Split(list, "\n") {
		bad := func(what string) error { return fmt.Errorf("line %d: %s: %q", i+1, what, line) }
		if line == "" || line[0] == '#' {
			continue
		}
		if head, ok := strings.CutPrefix(line, "== "); ok {
			file, name, ok := strings.Cut(head, ": ")
			if !ok {
				return nil, bad("no name")
			}
			faults = append(faults, fault{file: file, name: name})
			continue
		}
		if len(faults) == 0 {
			return nil, bad("no fault has begun")
		}
		switch f := &faults[len(faults)-1]; line[0] {
		case '-':
			if f.new != "" {
				return nil, bad("a line of the file after one of the fault")
			}
			f.old += line[1:] + "\n"
		case '+':
			f.new += line[1:] + "\n"
		default:
			return nil, bad("neither - nor +")
		}
	}
	return faults, nil
}

// mutated returns the text of the fault's file with the fault.
func (f *fault) mutated(root string) (string, error) {
	src, err := os.ReadFile(filepath.Join(root, f.file))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(src), f.old); f.old == "" || n != 1 {
		return "", fmt.Errorf("%s: %s: the file has its lines %d times, not once", f.file, f.name, n)
	}
	if f.old == f.new {
		return "", fmt.Errorf("%s: %s: nothing changes", f.file, f.name)
	}
	return strings.Replace(string(src), f.old, f.new, 1), nil
}
