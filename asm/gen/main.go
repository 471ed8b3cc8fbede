// Command gen writes the amd64 assembly of mask/, utf8/ and conn/deflate/. Run it from
// the repository's root:
//
//	GOWORK=off go -C asm/gen run .          # write the files
//	GOWORK=off go -C asm/gen run . -check   # fail if a file is not what gen writes
//
// The kernels repeat a few blocks with different registers and offsets. A program that
// prints text keeps them readable without macros in the assembly. The files are
// committed; users never run this.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

// outputs maps each generated file, relative to the repository's root, to the function
// that prints it.
var outputs = []struct {
	path  string
	print func(*Source)
}{
	{"mask/kernel_amd64.s", maskKernels},
	{"utf8/kernel_amd64.s", utf8Kernels},
	{"conn/deflate/kernel_amd64.s", deflateKernels},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("gen: ")
	check := flag.Bool("check", false, "write nothing; fail if a file differs from what would be written")
	root := flag.String("root", "../..", "the repository's root")
	flag.Parse()
	stale := false
	for _, out := range outputs {
		var src Source
		out.print(&src)
		path := filepath.Join(*root, filepath.FromSlash(out.path))
		if !*check {
			if err := os.WriteFile(path, src.Bytes(), 0o644); err != nil {
				log.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			log.Fatal(err)
		}
		if line := firstDifference(have, src.Bytes()); line > 0 {
			fmt.Printf("%s:%d: not what gen writes\n", out.path, line)
			stale = true
		}
	}
	if stale {
		os.Exit(1)
	}
}

// firstDifference returns the first line, from 1, in which a and b differ, or 0.
func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return 0
	}
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return bytes.Count(a[:n], []byte("\n")) + 1
}
