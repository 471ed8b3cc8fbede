package conn_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// worn matches phrases that readers stumbled over. CONTRIBUTING.md has plain words for them.
var worn = regexp.MustCompile(`(?i)\b(behind|but for|whoever|whosever|so much|so many|stands?|stood|is begun|gone on with)\b`)

// plain are the packages whose comments have been rewritten in plain words.
var plain = []string{"asm", "asm/asmtest", "conn", "conn/deflate", "conn/redial", "frame", "frame/buffer", "handshake", "mask", "utf8"}

// commentWidth is the longest line of a comment, with a tab counted as four columns.
const commentWidth = 90

func TestPlainWords(t *testing.T) {
	for _, name := range plain {
		files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(name), "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", name, len(files), err)
		}
		for _, path := range files {
			if !strings.HasSuffix(path, "_test.go") {
				plainFile(t, path)
			}
		}
	}
}

func plainFile(t *testing.T, path string) {
	t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			at := files.Position(c.Pos())
			if m := worn.FindString(c.Text); m != "" {
				t.Errorf("%s:%d: %q", path, at.Line, m)
			}
			indent := source[at.Offset-at.Column+1 : at.Offset]
			if len(bytes.Trim(indent, "\t")) > 0 {
				continue // it follows code
			}
			if n := 4*len(indent) + utf8.RuneCountInString(c.Text); n > commentWidth {
				t.Errorf("%s:%d: a comment of %d columns", path, at.Line, n)
			}
		}
	}
}
