package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

// ingestFeed is a server of a numbered feed. Everyone gets the same messages, from the one
// after the head at the time of connecting. A line is a path of its URL.
type ingestFeed struct {
	url    string
	server *conn.Server
	skip   func(line string, n uint64) bool // messages that a line does not get
	lag    func(line string) uint64         // how far behind the head a line is
	size   func(n uint64) int               // bytes of a message, about; nil means 60

	mu    sync.Mutex
	head  uint64
	moved chan struct{} // closed when head moves
	era   int           // changes when the numbers restart
	conns int           // of this era
}

func newIngestFeed(t testing.TB) *ingestFeed {
	f := &ingestFeed{moved: make(chan struct{})}
	f.server = &conn.Server{RequestHandler: f.serve}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.url = "ws://" + l.Addr().String() + "/"
	go f.server.Serve(l)
	t.Cleanup(func() { f.server.Close() })
	return f
}

func (f *ingestFeed) state() (head uint64, era int, moved chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head, f.era, f.moved
}

// await waits until n connections get what comes.
func (f *ingestFeed) await(t testing.TB, n int) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " lines"), func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.conns == n
	})
}

// to moves the head.
func (f *ingestFeed) to(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head = n
	close(f.moved)
	f.moved = make(chan struct{})
}

// restart ends all connections, and begins with number n+1 again.
func (f *ingestFeed) restart(n uint64) {
	f.mu.Lock()
	f.head, f.conns = n, 0
	f.era++
	close(f.moved)
	f.moved = make(chan struct{})
	f.mu.Unlock()
}

// run moves the head up to n at a rate of messages a second.
func (f *ingestFeed) run(ctx context.Context, n uint64, rate float64) {
	first, _, _ := f.state()
	began := time.Now()
	for ctx.Err() == nil {
		time.Sleep(time.Millisecond)
		head := min(n, first+uint64(rate*time.Since(began).Seconds()))
		f.to(head)
		if head == n {
			return
		}
	}
}

func (f *ingestFeed) serve(c *conn.Conn, r *http.Request) {
	f.mu.Lock()
	head, era := f.head, f.era
	f.conns++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.era == era {
			f.conns--
		}
	}()
	go func() {
		for {
			if _, err := c.ReadMessage(); err != nil {
				return
			}
		}
	}()
	line := strings.TrimPrefix(r.URL.Path, "/")
	var p []byte
	for next := head + 1; ; {
		head, now, moved := f.state()
		if now != era {
			return
		}
		if f.lag != nil {
			head -= min(head, f.lag(line))
		}
		for ; next <= head; next++ {
			if f.skip != nil && f.skip(line, next) {
				continue
			}
			size := 60
			if f.size != nil {
				size = f.size(next)
			}
			p = appendFeedMessage(p[:0], next, size)
			if c.AppendMessage(conn.Text, p) != nil {
				return
			}
		}
		if c.Flush() != nil {
			return
		}
		select {
		case <-moved:
		case <-c.Done():
			return
		}
	}
}

// appendFeedMessage makes message n: its number, a checksum, and filling.
func appendFeedMessage(p []byte, n uint64, length int) []byte {
	p = strconv.AppendUint(p, n, 10)
	p = append(p, ' ')
	for i := 0; len(p) < length-8; i++ {
		p = append(p, 'a'+byte((uint64(i)+n)%26))
	}
	return fmt.Appendf(p, "%08x", crc32.ChecksumIEEE(p))
}

// feedNumber is an Ingester.Number of the feed.
func feedNumber(data []byte) (from, to uint64, ok bool) {
	n := uint64(0)
	for i, c := range data {
		if c == ' ' && i > 0 {
			return n, n, true
		}
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + uint64(c-'0')
	}
	return 0, 0, false
}

// checkFeedMessage verifies a message, and returns its number.
func checkFeedMessage(data []byte) (uint64, error) {
	n, _, ok := feedNumber(data)
	if !ok || len(data) < 8 {
		return 0, fmt.Errorf("not a message of the feed: %.40q", data)
	}
	body := data[:len(data)-8]
	if sum := fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)); sum != string(data[len(data)-8:]) {
		return 0, fmt.Errorf("message %d: checksum", n)
	}
	return n, nil
}

func (f *ingestFeed) client(line string) *redial.Client {
	return &redial.Client{URL: f.url + line, Backoff: fastBackoff}
}

// oneNode starts an engine of one node in this process, and connects to it.
func oneNode(t testing.TB, edit func(*engine.Options)) *nats.Conn {
	o := engine.Options{Name: "n", Dir: t.TempDir()}
	if edit != nil {
		edit(&o)
	}
	s, err := engine.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	var options []nats.Option
	if len(o.Users) > 0 {
		options = append(options, nats.UserInfo(o.Users[0].Name, o.Users[0].Password))
	}
	return connectTo(t, s.ClientURL(), options...)
}

func connectTo(t testing.TB, servers string, options ...nats.Option) *nats.Conn {
	nc, err := Connect(servers, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func makeStream(t testing.TB, nc *nats.Conn, c StreamConfig) StreamInfo {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	info, err := CreateStream(ctx, nc, c)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// runningIngester is an Ingester whose Run is in progress.
type runningIngester struct {
	*Ingester
	cancel context.CancelFunc
	done   chan error
	mu     sync.Mutex
	states []IngestState
}

func startIngester(t testing.TB, in *Ingester) *runningIngester {
	ctx, cancel := context.WithCancel(context.Background())
	r := &runningIngester{Ingester: in, cancel: cancel, done: make(chan error, 1)}
	in.OnState = func(s IngestState) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.states = append(r.states, s)
	}
	go func() { r.done <- in.Run(ctx) }()
	t.Cleanup(func() { r.stop() })
	return r
}

// stop ends Run, and returns its error.
func (r *runningIngester) stop() error {
	r.cancel()
	return r.wait()
}

func (r *runningIngester) wait() error {
	err := <-r.done
	r.done <- err
	return err
}

// saw reports whether OnState was told of such a state.
func (r *runningIngester) saw(is func(IngestState) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.states {
		if is(s) {
			return true
		}
	}
	return false
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 60 s: %s", what)
		}
	}
}

// readStream returns the records of a stream.
func readStream(t testing.TB, nc *nats.Conn, stream string) (records []Record, headers []BatchHeader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	info, err := LookupStream(ctx, nc, stream)
	if err != nil {
		t.Fatal(err)
	}
	for next := info.First; next <= info.Last; {
		batches, err := directGet(ctx, nc, stream, next, 100, 8<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range batches {
			if m.sequence != next {
				t.Fatalf("batch %d comes after %d", m.sequence, next-1)
			}
			next++
			b, err := ParseBatch(m.data)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(headers); n > 0 && b.Era == headers[n-1].Era && b.First > 0 && b.First <= headers[n-1].Last {
				t.Logf("batch %d: %+v\nafter %+v", m.sequence, b.BatchHeader, headers[n-1])
			}
			headers = append(headers, b.BatchHeader)
			for _, r := range b.Records() {
				records = append(records, r)
			}
		}
	}
	return records, headers
}

// checkFeed fails unless the records are the messages from..to of the feed, each once and
// in order, without a gap.
func checkFeed(t testing.TB, records []Record, from, to uint64) {
	t.Helper()
	lost, doubled, disordered := 0, 0, 0
	next := from
	seen := map[uint64]bool{}
	for _, r := range records {
		if r.Kind == Gap {
			t.Errorf("a gap: %v %d..%d", r.Reason, r.From, r.To)
			continue
		}
		n, err := checkFeedMessage(r.Data)
		if err != nil || n != r.From || n != r.To {
			t.Fatalf("record %d..%d: %v", r.From, r.To, err)
		}
		switch {
		case seen[n]:
			doubled++
		case n < next:
			disordered++
		}
		seen[n] = true
		next = max(next, n+1)
	}
	for n := from; n <= to; n++ {
		if !seen[n] {
			lost++
		}
	}
	t.Logf("%d records: lost %d, doubled %d, out of order %d", len(records), lost, doubled, disordered)
	if lost+doubled+disordered > 0 || len(records) != int(to-from+1) {
		t.Errorf("want the %d messages %d to %d, each once and in order", to-from+1, from, to)
	}
}

// numbered sets the numbers of messages of the feed that the ingester did not know.
func numbered(t testing.TB, records []Record) []Record {
	t.Helper()
	for i := range records {
		if r := &records[i]; r.Kind != Gap {
			n, err := checkFeedMessage(r.Data)
			if err != nil || r.From != 0 || r.To != 0 {
				t.Fatalf("record %d..%d: %v", r.From, r.To, err)
			}
			r.From, r.To = n, n
		}
	}
	return records
}

// describeRecords returns the records as text: ranges of messages, and gaps.
func describeRecords(records []Record) string {
	var parts []string
	for i := 0; i < len(records); {
		r := records[i]
		i++
		if r.Kind == Gap {
			parts = append(parts, fmt.Sprintf("%v(%d-%d)", r.Reason, r.From, r.To))
			continue
		}
		last := r
		for i < len(records) && records[i].Kind != Gap && records[i].From == last.To+1 {
			last = records[i]
			i++
		}
		parts = append(parts, fmt.Sprintf("%d-%d", r.From, last.To))
	}
	return strings.Join(parts, " ")
}

// childIngester describes an Ingester in a process of its own.
type childIngester struct {
	Servers, Stream, URL string
	Verbose              bool
}

const childVariable = "TICKWIRE_RELAY_INGESTER"

// childMain runs an Ingester and exits, if this process is to be one.
func childMain() {
	value := os.Getenv(childVariable)
	if value == "" {
		return
	}
	var c childIngester
	if err := json.Unmarshal([]byte(value), &c); err != nil {
		panic(err)
	}
	nc, err := Connect(c.Servers)
	if err != nil {
		panic(err)
	}
	in := &Ingester{
		Conn: nc, Stream: c.Stream, Number: feedNumber,
		Clients: []*redial.Client{{URL: c.URL, Backoff: fastBackoff}},
		OnState: func(s IngestState) {
			fmt.Println(s.Active)
			if c.Verbose {
				fmt.Fprintln(os.Stderr, time.Now().Format("15:04:05.000"), "ingester", os.Getpid(), s)
			}
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // it ends when the parent does, or says so
		os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	if err := in.Run(ctx); !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "ingester:", err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "ingester: %+v\n", in.Counts())
	os.Exit(0)
}

// ingesterProcess is a childIngester that runs.
type ingesterProcess struct {
	command *exec.Cmd
	stdin   interface{ Close() error }
	active  atomic.Bool
}

func startChild(t testing.TB, c childIngester) *ingesterProcess {
	t.Helper()
	value, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &ingesterProcess{command: exec.Command(os.Args[0])}
	p.command.Env = append(os.Environ(), childVariable+"="+string(value))
	p.command.Stderr = os.Stderr
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		var active bool
		for {
			if _, err := fmt.Fscan(stdout, &active); err != nil {
				p.active.Store(false)
				return
			}
			p.active.Store(active)
		}
	}()
	t.Cleanup(p.kill)
	return p
}

// kill kills the process.
func (p *ingesterProcess) kill() {
	p.command.Process.Kill()
	p.command.Wait()
	p.active.Store(false)
}

// end lets it end by itself.
func (p *ingesterProcess) end() error {
	p.stdin.Close()
	return p.command.Wait()
}

// fastBackoff is that of the clients of the tests.
var fastBackoff = redial.Backoff{Floor: 10 * time.Millisecond, Base: 10 * time.Millisecond, Cap: 100 * time.Millisecond}
