package relay

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

const mountVariable = "TICKWIRE_RELAY_MAY_MOUNT"

// mayMount reports whether the test may mount file systems. It runs the test again in a
// mount namespace of its own, where it may.
func mayMount(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountVariable) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), mountVariable+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	switch err := cmd.Run(); {
	case errors.Is(err, os.ErrPermission):
		t.Skip("namespaces are not permitted here: ", err)
	case err != nil:
		t.Errorf("%v\n%s", err, &out)
	case !bytes.Contains(out.Bytes(), []byte("--- PASS")):
		t.Skipf("skipped in the namespace:\n%s", &out)
	}
	return false
}

// smallDisk returns a folder on a file system of size bytes.
func smallDisk(t *testing.T, size int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	switch err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", size)); {
	case errors.Is(err, os.ErrPermission):
		t.Skip("a mount is not permitted here: ", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// The disk under SpoolDir is full before the spool's limit. That is told by name, a gap has
// the numbers that were dropped, and the rest is in the stream.
func TestIngestSpoolDiskFull(t *testing.T) {
	t.Parallel()
	if !mayMount(t) {
		return
	}
	const total = 40_000
	in := &Ingester{SpoolBytes: 100 << 10, BatchBytes: 8 << 10, SpoolDir: smallDisk(t, 1<<20)}
	feed, r, node, nc := away(t, in)
	feed.to(total)
	eventually(t, "everything is received", func() bool { return in.Counts().Received == total })
	c := in.Counts()
	t.Logf("away: %+v", c)
	if c.SpoolDiskBytes == 0 || c.SpoolDiskBytes > 1<<20 {
		t.Errorf("%d bytes in files", c.SpoolDiskBytes)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the spool is appended", func() bool { return in.Counts().SpoolRecords < 50 })
	feed.to(total + 100)
	eventually(t, "it goes on", func() bool { return in.Counts().Number == total+100 })
	r.stop()
	records, _ := readStream(t, nc, "S")
	c = in.Counts()
	kept := total - c.Dropped
	want := fmt.Sprintf("1-%d overflowed(%d-%d) %d-%d", kept, kept+1, total, total+1, total+100)
	if got := describeRecords(records); got != want || c.Dropped < total/10 {
		t.Errorf("got %s\nwant %s\n%+v", got, want, c)
	}
	if !r.saw(func(s IngestState) bool {
		return s.SpoolFull && errors.Is(s.Spool, ErrSpool) && errors.Is(s.Spool, syscall.ENOSPC)
	}) {
		t.Error("OnState was not told that the disk is full")
	}
}

// The disk of the engine's only node is full. The engine then answers nothing until the node
// is started again. The ingester tells that, keeps the feed, and goes on.
func TestIngestEngineDiskFull(t *testing.T) {
	t.Parallel()
	if !mayMount(t) {
		return
	}
	const total = 50_000
	feed, r, cluster, nc := onSmallDisks(t, 1)
	in, node := r.Ingester, cluster.Nodes[0]
	filler := fill(t, node)
	feed.to(total)
	eventually(t, "OnState is told", func() bool {
		return r.saw(func(s IngestState) bool { return errors.Is(s.Engine, ErrNoLeader) })
	})
	eventually(t, "everything is received", func() bool { return in.Counts().Received == total })
	if c := in.Counts(); c.Number != 1000 || c.SpoolRecords != total-1000 {
		t.Errorf("counts: %+v", c)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	node.Kill()
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room", func() bool { return in.Counts().Number == total })
	r.stop()
	records, _ := readStream(t, nc, "S")
	checkFeed(t, records, 1, total)
}

// The disk of one of three nodes is full, that of the leader. The others go on.
func TestIngestLeaderDiskFull(t *testing.T) {
	if !mayMount(t) {
		return
	}
	const total = 50_000
	feed, r, cluster, nc := onSmallDisks(t, 3)
	leader := leaderOf(t, nc)
	fill(t, cluster.Node(leader))
	feed.to(total)
	eventually(t, "everything is there", func() bool { return r.Counts().Number == total })
	if now := leaderOf(t, nc); now == leader {
		t.Errorf("%s, whose disk is full, is the leader", now)
	}
	r.stop()
	records, _ := readStream(t, nc, "S")
	checkFeed(t, records, 1, total)
}

// onSmallDisks starts an engine of n nodes with a small disk each, a stream, and an ingester
// that has appended 1,000 messages.
func onSmallDisks(t *testing.T, n int) (*ingestFeed, *runningIngester, *engine.Cluster, *nats.Conn) {
	cluster, err := engine.Start(n, t.TempDir(), func(o *engine.Options) {
		o.Dir, o.MaxStore = smallDisk(t, 32<<20), 1<<30 // the engine's limit does not tell
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	nc := connectTo(t, cluster.Servers())
	makeStream(t, nc, StreamConfig{Name: "S", Replicas: n, MaxBytes: 1 << 29})
	feed := newIngestFeed(t)
	r := startIngester(t, &Ingester{Conn: nc, Stream: "S", Number: feedNumber, Clients: []*redial.Client{feed.client("")}})
	feed.await(t, 1)
	feed.to(1000)
	eventually(t, "it is appended", func() bool { return r.Counts().Appended == 1000 })
	return feed, r, cluster, nc
}

// fill fills the disk of a node with a file.
func fill(t *testing.T, node *engine.Node) (name string) {
	t.Helper()
	f, err := os.Create(filepath.Join(node.Dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 4096); err == nil; {
		_, err = f.Write(chunk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return f.Name()
}
