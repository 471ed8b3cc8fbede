package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An invalid text of a picture is an error. A valid one is drawn in whole.
func TestPicture(t *testing.T) {
	for _, x := range []struct{ text, want string }{
		{"", "needs a title and rows"},
		{"title: a\n", "needs a title and rows"},
		{"one | two\n", "needs a title and rows"},
		{"title: a\none: 1 | : 2\n", "a box without a name"},
		{"title: a\none | 1\nv " + strings.Repeat("long ", 30) + "\n", "is too long"},
		{"title: a\none | 1\nv down\ntwo: <2> | three: 3\n^\nfour | 4\n", ""},
	} {
		dir := t.TempDir()
		source, path := filepath.Join(dir, "a.txt"), filepath.Join(dir, "a.svg")
		if err := os.WriteFile(source, []byte(x.text), 0o666); err != nil {
			t.Fatal(err)
		}
		err := DrawPicture(source, path)
		if x.want != "" {
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%q: %v, want %q", x.text, err, x.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"a: one (1); two (&lt;2&gt;), three (3); four (4)", ">down</text>", ">&lt;2&gt;</text>"} {
			if !strings.Contains(string(b), want) {
				t.Errorf("the picture has no %q", want)
			}
		}
	}
}
