package relay_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"html"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
)

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The programs in the README are the compiled examples, letter for letter.
func TestReadmeShowsTheExamples(t *testing.T) {
	source := readText(t, "example_test.go")
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "example_test.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Example") {
			body := source[fset.Position(f.Body.Lbrace).Offset+1 : fset.Position(f.Body.Rbrace).Offset]
			bodies[f.Name.Name] = strings.TrimSpace(strings.ReplaceAll(body, "\n\t", "\n"))
		}
	}
	shown := map[string]bool{}
	readme := readText(t, "README.md")
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)\n```").FindAllStringSubmatch(readme, -1) {
		name := ""
		for n, body := range bodies {
			if block[1] == body {
				name = n
			}
		}
		if shown[name] = true; name == "" {
			t.Errorf("no example has this body:\n%s", block[1])
		}
	}
	for _, name := range []string{"ExampleIngester_venue", "ExampleGateway_http", "ExampleClient", "ExampleGateway_bearer"} {
		if !shown[name] {
			t.Errorf("%s is not shown", name)
		}
	}
	for _, m := range regexp.MustCompile("`(Example[A-Za-z_]+)`").FindAllStringSubmatch(readme, -1) {
		if bodies[m[1]] == "" {
			t.Errorf("there is no %s", m[1])
		}
	}
}

// The limits in the README are the constants.
func TestReadmeLimits(t *testing.T) {
	want := map[string]string{
		"Ingester.BatchBytes":      size(relay.DefaultBatchBytes),
		"Ingester.BatchCount":      count(relay.DefaultBatchCount),
		"Ingester.BatchTime":       "1 ms; 3 ms with replicas",
		"Ingester.InFlight":        count(relay.DefaultInFlight),
		"Ingester.SpoolBytes":      size(relay.DefaultSpoolBytes),
		"Ingester.SpoolDiskBytes":  size(relay.DefaultSpoolDiskBytes),
		"Ingester.Patience":        length(relay.DefaultPatience),
		"Ingester.ShutdownTimeout": length(relay.DefaultShutdownTimeout),
		"StreamConfig.MaxAge":      length(relay.DefaultMaxAge),
		"StreamConfig.MaxBytes":    size(relay.DefaultMaxBytes),
		"MaxRecords":               count(relay.MaxRecords),
		"Gateway.RingBytes":        size(relay.DefaultRingBytes),
		"Gateway.CacheBytes":       size(relay.DefaultCacheBytes),
		"Gateway.Fetches":          count(relay.DefaultFetches),
		"Gateway.MaxClients":       count(relay.DefaultMaxClients),
		"Gateway.MaxReplays":       count(relay.DefaultMaxReplays),
		"Gateway.GroupLag":         size(conn.DefaultGroupLag),
		"Gateway.ShutdownTimeout":  length(relay.DefaultShutdownTimeout),
		"MaxHello":                 size(relay.MaxHello),
		"Client.SaveEvery":         length(relay.DefaultSaveEvery),
	}
	_, table, _ := strings.Cut(readText(t, "README.md"), "## Limits")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+?) \\|").FindAllStringSubmatch(table, -1) {
		if want[row[1]] != row[2] {
			t.Errorf("%s is %q, the README says %q", row[1], want[row[1]], row[2])
		}
		delete(want, row[1])
	}
	for name := range want {
		t.Errorf("the README does not tell %s", name)
	}
}

func size(n int64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if n < 1<<10 {
			return fmt.Sprintf("%d %s", n, unit)
		}
		n >>= 10
	}
	return fmt.Sprintf("%d GiB", n)
}

func count(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

func length(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Second:
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return fmt.Sprintf("%d ms", d/time.Millisecond)
}

// The engine takes the configuration in the README.
func TestReadmeConfiguration(t *testing.T) {
	block := regexp.MustCompile("(?s)```\n(server_name.*?)```").FindStringSubmatch(readText(t, "README.md"))
	if block == nil {
		t.Fatal("there is none")
	}
	name := t.TempDir() + "/nats.conf"
	if err := os.WriteFile(name, []byte(block[1]), 0o644); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !o.JetStream || len(o.Routes) != 3 || o.Cluster.Name == "" || o.Port != 4222 || o.StoreDir == "" {
		t.Errorf("%+v", o)
	}
}

// The picture is made of its text.
func TestPicture(t *testing.T) {
	want := drawParts(t, readText(t, "parts.txt"))
	if os.Getenv("TICKWIRE_UPDATE_PICTURE") != "" {
		if err := os.WriteFile("parts.svg", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if readText(t, "parts.svg") != want {
		t.Error("parts.svg is not what parts.txt says: run this test with TICKWIRE_UPDATE_PICTURE=1")
	}
}

// The measures of the picture, in its units.
const (
	boxWidth, boxHeight = 132, 64
	columnStep, rowStep = 172, 96
	margin              = 12
)

// drawParts draws what parts.txt describes.
func drawParts(t *testing.T, text string) string {
	t.Helper()
	type box struct{ x, y, height int }
	boxes := map[string]box{}
	var b, arrows bytes.Buffer
	right, bottom := 0, 0
	label := func(x, y int, class, text string) {
		fmt.Fprintf(&b, "<text class=%q x=\"%d\" y=\"%d\">%s</text>\n", class, x, y, html.EscapeString(text))
	}
	for line := range strings.Lines(text) {
		head, rest, _ := strings.Cut(strings.TrimSpace(line), " | ")
		f := strings.Fields(head)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		var column, row, rows int
		switch {
		case f[0] == "box" && len(f) == 5:
			if _, err := fmt.Sscan(strings.Join(f[2:], " "), &column, &row, &rows); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			x := box{margin + column*columnStep, margin + row*rowStep, boxHeight + (rows-1)*rowStep}
			boxes[f[1]] = x
			right, bottom = max(right, x.x+boxWidth), max(bottom, x.y+x.height)
			fmt.Fprintf(&b, "<rect class=\"box\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", x.x, x.y, boxWidth, x.height)
			titles := strings.Split(rest, " | ")
			for i, title := range titles {
				class := "title"
				if i > 0 {
					class = "line"
				}
				label(x.x+boxWidth/2, x.y+x.height/2+5+i*18-(len(titles)-1)*9, class, title)
			}
		case f[0] == "arrow" && len(f) >= 3:
			from, to := boxes[f[1]], boxes[f[2]]
			if from.height == 0 || to.height == 0 {
				t.Fatalf("%q: no such box", line)
			}
			y1, y2 := from.y+from.height/2, to.y+to.height/2
			if from.height > boxHeight { // a tall box has its arrows beside those of the others
				y1 = y2
			} else if to.height > boxHeight {
				y2 = y1
			}
			class := strings.Join(append([]string{"arrow"}, f[3:]...), " ")
			fmt.Fprintf(&arrows, "<path class=%q d=\"M%d %dL%d %d\" marker-end=\"url(#head)\"/>\n", class, from.x+boxWidth+3, y1, to.x-4, y2)
		case f[0] == "note" && len(f) == 2:
			if _, err := fmt.Sscan(f[1], &column); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			label(margin+column*columnStep+boxWidth/2, bottom+22, "line", rest)
		default:
			t.Fatalf("%q is neither a box nor an arrow nor a note", line)
		}
	}
	right, bottom = right+margin, bottom+22+margin
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">
<title>The parts of a relay: lines of a venue, ingesters, a stream, gateways, clients</title>
<style>
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,Arial,"DejaVu Sans",sans-serif;text-anchor:middle}
.bg{fill:#ffffff}.box{fill:#f6f8fa;stroke:#59636e}.title{fill:#1f2328;font-weight:600}.line{fill:#59636e}
.arrow{stroke:#59636e;stroke-width:1.5;fill:none}.dashed{stroke-dasharray:4 4}.head{fill:#59636e}
@media (prefers-color-scheme:dark){.bg{fill:#0d1117}.box{fill:#151b23;stroke:#9198a1}.title{fill:#f0f6fc}.line{fill:#9198a1}.arrow{stroke:#9198a1}.head{fill:#9198a1}}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>
<rect class="bg" width="%d" height="%d" rx="6"/>
%s%s</svg>
`, right, bottom, right, bottom, right, bottom, arrows.String(), b.String())
}
