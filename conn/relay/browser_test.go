package relay

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// browser is a Chromium without a window.
type browser struct {
	t       *testing.T
	address string // of its DevTools
}

// tab is a page in it.
type tab struct {
	t  *testing.T
	c  *conn.Conn
	id int
}

// startBrowser starts Chromium, and skips the test where that is not.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	// Not t.TempDir: the browser may still write when it is killed.
	home, err := os.MkdirTemp("", "tickwire-relay-browser")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	command := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--window-size=1100,760", "--remote-debugging-port=0", "--user-data-dir="+home+"/profile", "about:blank")
	command.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	command.WaitDelay = time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Signal(os.Interrupt) // so that it ends its own processes
		ended := make(chan struct{})
		go func() {
			command.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			command.Process.Kill()
			<-ended
		}
	})
	b := &browser{t: t}
	waitFor(t, "chromium", func() bool {
		text, _ := os.ReadFile(filepath.Join(home, "profile", "DevToolsActivePort"))
		port, _, complete := strings.Cut(string(text), "\n")
		b.address = "127.0.0.1:" + port
		return complete
	})
	return b
}

// open shows a page.
func (b *browser) open(url string) *tab {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPut, "http://"+b.address+"/json/new?"+url, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	var target struct{ WebSocketDebuggerURL string }
	if err := json.NewDecoder(answer.Body).Decode(&target); err != nil {
		b.t.Fatal(err)
	}
	c, err := conn.Dial(b.t.Context(), target.WebSocketDebuggerURL)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	return &tab{t: b.t, c: c}
}

// call calls a method of the DevTools.
func (p *tab) call(method string, params map[string]any) json.RawMessage {
	p.t.Helper()
	p.id++
	request, err := json.Marshal(map[string]any{"id": p.id, "method": method, "params": params})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.c.WriteMessage(conn.Text, request); err != nil {
		p.t.Fatal(err)
	}
	p.c.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		m, err := p.c.ReadMessage()
		if err != nil {
			p.t.Fatal(err)
		}
		var answer struct {
			ID     int
			Result json.RawMessage
			Error  json.RawMessage
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil || answer.Error != nil {
			p.t.Fatalf("%s: %v %s", method, err, answer.Error)
		}
		if answer.ID == p.id {
			return answer.Result
		}
	}
}

// text evaluates an expression in the page. An exception, as of a page that is still
// loading, is no text.
func (p *tab) text(expression string) string {
	p.t.Helper()
	var result struct{ Result struct{ Value any } }
	data := p.call("Runtime.evaluate", map[string]any{"expression": "String(" + expression + ")", "returnByValue": true})
	if err := json.Unmarshal(data, &result); err != nil {
		p.t.Fatalf("%s: %v", data, err)
	}
	text, _ := result.Result.Value.(string)
	return text
}

// await waits until an expression has a text.
func (p *tab) await(expression, want string) {
	p.t.Helper()
	waitFor(p.t, expression+" to be "+want, func() bool { return p.text(expression) == want })
}

// picture keeps a picture of the page in $TICKWIRE_PICTURES, if that is set.
func (p *tab) picture(name string) {
	p.t.Helper()
	folder := os.Getenv("TICKWIRE_PICTURES")
	if folder == "" {
		return
	}
	var result struct{ Data string }
	if err := json.Unmarshal(p.call("Page.captureScreenshot", map[string]any{"format": "png"}), &result); err != nil {
		p.t.Fatal(err)
	}
	data, err := base64.StdEncoding.DecodeString(result.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), data, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// browserPage counts what relay.js delivers.
const browserPage = `<!doctype html>
<script type="module">
import {RelayClient} from "http://ADDRESS/relay.js";
const seen = window.seen = {number: 0, faults: 0, gaps: 0, connections: 0, text: ""};
new RelayClient("ws://ADDRESS/", "browser", {start: "oldest", base: 50,
  onrecord({data}) { if (Number(data.split(" ")[0]) !== ++seen.number) seen.faults++; },
  ongap() { seen.gaps++; },
  onstate({state, text}) { if (state === "live") seen.connections++; seen.text = state + " " + text; },
});
</script>
`

// Chromium shows the status page of a gateway, which moves, and then the clients of
// another gateway that is killed. One of them is relay.js in the browser: it goes on
// without a gap.
func TestBrowser(t *testing.T) {
	const clients = 12
	b := startBrowser(t)
	servers := soloEngine(t)
	nc := connectTo(t, servers)
	s := newSource(t, nc, StreamConfig{Name: "browser"})
	s.publish(20)
	child := childGateway{servers, []string{"browser"}}
	first, second := startGateway(t, child), startGateway(t, child)
	address := balancer(t, first.address, second.address)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, strings.ReplaceAll(browserPage, "ADDRESS", address))
	}))
	defer page.Close()

	status, script := b.open("http://"+second.address+"/"), b.open(page.URL+"/")
	const text = `document.getElementById("%s").textContent`
	status.await(fmt.Sprintf(text, "state"), "ready")
	status.await(fmt.Sprintf(text, "clients"), "0")
	script.await("seen.number", fmt.Sprint(s.number))

	const batches = 1200
	var following sync.WaitGroup
	for i := range clients {
		c := clientOf("browser", "ws://"+address)
		following.Go(func() {
			if err := follow(t.Context(), c, 1, 20*perBatch+batches*perBatch); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	kill, killed := make(chan struct{}), make(chan struct{})
	publishing := make(chan struct{})
	go func() { // at a pace at which a page can be looked at
		defer close(publishing)
		for i := range batches - 1 { // with the last one the clients leave
			s.publish(1)
			time.Sleep(5 * time.Millisecond)
			if i == batches/2 {
				close(kill)
				<-killed
			}
		}
	}()
	points := `document.querySelector("polyline").getAttribute("points").trim().split(" ").length > 3`
	status.await(points, "true")
	place := status.text(`document.querySelector("section code").textContent`)
	if at, err := ParsePosition(place); err != nil || at.Sequence <= 20 || at.Incarnation != s.stream.Incarnation {
		t.Errorf("the page shows position %q, %v", place, err)
	}
	<-kill
	if n := status.text(fmt.Sprintf(text, "clients")); n != "0" {
		t.Errorf("%s clients before the other gateway was killed", n)
	}
	before := script.text("seen.number")
	if err := first.Kill(); err != nil {
		t.Error(err)
	}
	close(killed)
	status.await(fmt.Sprintf(text, "clients"), fmt.Sprint(clients+1))
	<-publishing
	status.picture("status")
	s.publish(1)
	following.Wait()
	script.await("seen.number", fmt.Sprint(s.number))
	if n := script.text("[seen.faults, seen.gaps, seen.connections]"); n != "0,0,2" {
		t.Errorf("faults, gaps and connections: %s, at first %s records; %s", n, before, script.text("seen.text"))
	}
}
