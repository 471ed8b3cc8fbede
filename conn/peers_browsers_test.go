package conn

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// browserPage is a program of TestPeerInterop as a page: it gets commands and prints
// lines by fetch.
const browserPage = `<!doctype html>
<script>
const say = line => fetch("/line", { method: "POST", body: line })

async function tell(data) {
  const text = typeof data === "string"
  const bytes = text ? new TextEncoder().encode(data) : new Uint8Array(data)
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))
  const hex = Array.from(sum, b => b.toString(16).padStart(2, "0")).join("")
  await say((text ? "text " : "binary ") + bytes.length + " " + hex)
}

const dial = url => new Promise(done => {
  const ws = new WebSocket(url)
  ws.binaryType = "arraybuffer"
  let before = Promise.resolve() // events are dealt with one after the other
  const then = f => (before = before.then(f))
  ws.onmessage = ({ data }) => then(async () => {
    await tell(data)
    const close = typeof data === "string" && /^close (\d+) (.*)$/.exec(data.slice(0, 200))
    if (!close) ws.send(data)
    else if (close[1] === "1005") ws.close()
    else ws.close(+close[1], close[2])
  })
  ws.onerror = () => then(() => say("error of the browser's, which does not tell more"))
  ws.onclose = ({ code, reason }) => then(() => say("closed " + code + " " + reason)).then(done)
})

async function main() {
  await say("version " + /(Chrome|Firefox)\/[\d.]+/.exec(navigator.userAgent)[0])
  for (;;) {
    const [, scheme, port] = (await (await fetch("/command")).text()).split(" ")
    await dial(scheme + "://127.0.0.1:" + port + "/")
  }
}
main()
</script>
`

// browse serves the page, and has a browser show it until the test ends. It runs with the
// folder as its home, where trust put the root certificate.
func browse(t *testing.T, home string, command ...string) *partnerProgram {
	t.Helper()
	lines, commands := make(chan string, 1000), make(chan string, 10)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, browserPage)
	})
	mux.HandleFunc("GET /command", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		select {
		case c := <-commands:
			io.WriteString(w, c)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /line", func(_ http.ResponseWriter, r *http.Request) {
		if line, err := io.ReadAll(r.Body); err == nil {
			lines <- string(line)
		}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	path, err := exec.LookPath(command[0])
	if err != nil {
		t.Fatalf("%s is not installed: %v", command[0], err)
	}
	cmd := exec.Command(path, append(command[1:], s.URL+"/")...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	log := new(tail)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = time.Second // others of its processes may keep the pipe
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		cmd.Process.Signal(os.Interrupt) // so that it ends its own processes
		ended := make(chan struct{})
		go func() {
			cmd.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
	})
	return &partnerProgram{lines: lines, said: log.String, command: func(c string) { commands <- c }}
}

// trust makes a folder, and in it a database of NSS that trusts the root certificate.
func trust(t *testing.T, folder, database string) (home string) {
	t.Helper()
	// Not t.TempDir: a browser may still write when it is killed.
	home, err := os.MkdirTemp("", "tickwire-browser")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	database = filepath.Join(home, database)
	if err := os.MkdirAll(database, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"-N", "--empty-password"},
		{"-A", "-n", "tickwire test root", "-t", "C,,", "-i", filepath.Join(folder, "ca.pem")},
	} {
		if out, err := exec.Command("certutil", append(args, "-d", "sql:"+database)...).CombinedOutput(); err != nil {
			t.Fatalf("certutil %s: %v\n%s", args[0], err, out)
		}
	}
	return home
}

func chromium(t *testing.T, _, folder string) *partnerProgram {
	home := trust(t, folder, ".pki/nssdb")
	return browse(t, home, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "--user-data-dir="+home+"/profile")
}

func firefox(t *testing.T, _, folder string) *partnerProgram {
	home := trust(t, folder, "profile")
	const prefs = `// Nothing is asked of hosts outside.
user_pref("app.normandy.enabled", false);
user_pref("app.update.auto", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("extensions.getAddons.cache.enabled", false);
user_pref("extensions.systemAddon.update.enabled", false);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.proxy.type", 0);
user_pref("services.settings.server", "data:,");
user_pref("toolkit.telemetry.enabled", false);
user_pref("toolkit.telemetry.unified", false);
`
	if err := os.WriteFile(filepath.Join(home, "profile", "user.js"), []byte(prefs), 0o644); err != nil {
		t.Fatal(err)
	}
	return browse(t, home, "firefox-esr", "--headless", "--no-remote", "--profile", home+"/profile")
}
