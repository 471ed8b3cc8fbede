package conn_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// Every link of a page to a file, a folder or a heading leads to one.
func TestLinks(t *testing.T) {
	root := os.DirFS("..")
	pages := 0
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if filepath.Ext(name) == ".md" {
			pages++
			for _, wrong := range wrongLinks(root, name) {
				t.Errorf("%s: %s leads nowhere", name, wrong)
			}
		}
		return nil
	})
	if err != nil || pages < 5 {
		t.Errorf("%d pages, %v", pages, err)
	}
}

var (
	linkTarget = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	codeBlock  = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
)

// wrongLinks returns the links of a page that lead nowhere. Those to other machines are
// not followed.
func wrongLinks(root fs.FS, page string) (wrong []string) {
	text, err := fs.ReadFile(root, page)
	if err != nil {
		return []string{err.Error()}
	}
	for _, m := range linkTarget.FindAllStringSubmatch(codeBlock.ReplaceAllString(string(text), ""), -1) {
		file, heading, _ := strings.Cut(m[1], "#")
		if strings.Contains(file, "://") || strings.HasPrefix(file, "mailto:") {
			continue
		}
		target := page
		if file != "" {
			target = path.Join(path.Dir(page), file)
		}
		if _, err := fs.Stat(root, target); err != nil || heading != "" && !slices.Contains(headings(root, target), heading) {
			wrong = append(wrong, m[1])
		}
	}
	return wrong
}

// headings returns the anchors of a page's headings.
func headings(root fs.FS, page string) (anchors []string) {
	text, _ := fs.ReadFile(root, page)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			anchors = append(anchors, anchor(strings.Trim(line, "# \r\n")))
		}
	}
	return anchors
}

// anchor makes what GitHub makes of a heading: lower case, spaces as hyphens, and of all
// else only letters, digits, - and _.
func anchor(heading string) string {
	heading = strings.ReplaceAll(strings.ToLower(heading), " ", "-")
	return regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(heading, "")
}

// What is wrong is found: a file, and a heading here and elsewhere.
func TestWrongLinks(t *testing.T) {
	root := fstest.MapFS{
		"a/page.md": {Data: []byte("# A (page), `code`\n[1](../b.md) [2](../b.md#b-c) [3](#a-page-code) [4](https://example.com/x) [5](../a)\n" +
			"[6](b.md) [7](../b.md#c) [8](#none) `[9](none.md)`\n```\n[10](none.md)\n```\n")},
		"b.md": {Data: []byte("## B: c\n")},
	}
	if got := wrongLinks(root, "a/page.md"); !slices.Equal(got, []string{"b.md", "../b.md#c", "#none"}) {
		t.Errorf("%q", got)
	}
}
