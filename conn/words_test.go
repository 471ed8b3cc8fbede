package conn_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// worn matches phrases that readers stumbled over. CONTRIBUTING.md has plain words for them.
var worn = regexp.MustCompile(`(?i)\b(behind|but for|whoever|whosever|so much|so many|stands?|stood|is begun|gone on with)\b`)

// retired matches names that were replaced by the field's terms. They do not come back.
var retired = regexp.MustCompile(`^(goodbyes?|restQueue|keepsQueue|sweep|swept|takeControls?|takeClose|takePong|patient|kick|lockOr|` +
	`tryLockClear|vectorOutlet|outlet|startDiscarding|partWith|partTime|lowest|tape|moment|coding|codings|packed[A-Z]\w*|` +
	`readPacked|beginPacked|writePacked|queuePacked|busyRead|woken|Midway|LeaveViews|byReference|controlRoom|borrow|` +
	`preLengths|preOrder|tellChange|saidGoodbye)$`)

// commentWidth is the longest line of a comment, with a tab counted as four columns.
const commentWidth = 90

// unbreakable matches commands and lines of go.mod in a comment that cannot be shorter.
var unbreakable = regexp.MustCompile(`^//\t(replace |go mod edit )`)

// All packages are written in plain words, except tests.
func TestPlainWords(t *testing.T) {
	files := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() != ".." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			files++
			plainFile(t, path)
		}
		return nil
	})
	if err != nil || files < 300 {
		t.Errorf("%d files, %v", files, err)
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
	ast.Inspect(file, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && retired.MatchString(id.Name) {
			t.Errorf("%s:%d: the name %s", path, files.Position(id.Pos()).Line, id.Name)
		}
		return true
	})
	for _, group := range file.Comments {
		for _, c := range group.List {
			at := files.Position(c.Pos())
			if m := worn.FindString(c.Text); m != "" {
				t.Errorf("%s:%d: %q", path, at.Line, m)
			}
			indent := source[at.Offset-at.Column+1 : at.Offset]
			if len(bytes.Trim(indent, "\t")) > 0 || unbreakable.MatchString(c.Text) {
				continue // it follows code, or cannot be wrapped
			}
			if n := 4*len(indent) + utf8.RuneCountInString(c.Text); n > commentWidth {
				t.Errorf("%s:%d: a comment of %d columns", path, at.Line, n)
			}
		}
	}
}
