package conn

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// networks are faults of a network, made by nftables between the two ends of a connection.
// Each runs over ws and wss, in a namespace of its own.
var networks = []struct {
	name string
	run  func(t *testing.T, secure bool)
}{
	{"loss and reordering", lossy},
	{"reset after 64 KiB", resetAfter},
	{"black hole after 64 KiB", holeAfter},
	{"black hole that ends", holeThatEnds},
}

// TestPeerF41F43F44F45F46Network needs Debian's nftables and iproute2. The test runs itself
// in namespaces of user and network.
func TestPeerF41F43F44F45F46Network(t *testing.T) {
	for _, x := range networks {
		for _, scheme := range []string{"ws", "wss"} {
			name := x.name + ", " + scheme
			t.Run(name, func(t *testing.T) {
				switch inFault() {
				case "":
					t.Parallel()
					nftHere(t)
					rerun(t, "TestPeerF41F43F44F45F46Network", name, inNamespace)
				case name:
					ip(t, "link", "set", "lo", "up")
					nft(t, "add table inet faults")
					nft(t, "add chain inet faults input { type filter hook input priority 0; }")
					x.run(t, scheme == "wss")
				}
			})
		}
	}
}

// inNamespace has a command run in namespaces of user and network.
func inNamespace(cmd *exec.Cmd) {
	a := cmd.SysProcAttr
	a.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
}

// nftHere skips the test where nftables is not, or may not be used.
func nftHere(t *testing.T) {
	t.Helper()
	path, err := nftPath()
	if err != nil {
		t.Skip("nftables is not installed")
	}
	probe := exec.Command("sh", "-c", `ip link set lo up && "$0" add table inet faults`, path)
	probe.SysProcAttr = new(syscall.SysProcAttr)
	inNamespace(probe)
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("nftables is not permitted here: %v, %s", err, out)
	}
}

// nftPath finds nft, which Debian keeps where only root looks.
func nftPath() (string, error) {
	if path, err := exec.LookPath("nft"); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/nft")
}

func nft(t *testing.T, command string) {
	t.Helper()
	if err := runNFT(command); err != nil {
		t.Fatal(err)
	}
}

func runNFT(command string) error {
	path, err := nftPath()
	if err != nil {
		return err
	}
	if out, err := exec.Command(path, command).CombinedOutput(); err != nil {
		return fmt.Errorf("nft %s: %w\n%s", command, err, out)
	}
	return nil
}

// portOf is the port of the server of a connection.
func portOf(client *Conn) int { return client.RemoteAddr().(*net.TCPAddr).Port }

// counter returns a counter of /proc/net/netstat, such as TcpExt's TCPOFOQueue.
func counter(t *testing.T, name string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/net/netstat")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j, n := range names {
			if n == name && j < len(values) {
				v, err := strconv.Atoi(values[j])
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
		}
	}
	t.Fatalf("the kernel has no counter %s", name)
	return 0
}

// lossy loses a tenth of all packets of both directions. What follows a lost packet comes
// before it, so the kernel also reorders.
func lossy(t *testing.T, secure bool) {
	client, server := connected(t, Dialer{Config: Config{KeepAlive: -1}}, secure)
	nft(t, "add rule inet faults input numgen random mod 10 == 0 drop")
	talk(t, client, server, 1000)
	if n := counter(t, "TCPOFOQueue"); n == 0 {
		t.Error("no packet came out of order")
	} else {
		t.Logf("%d packets came out of order", n)
	}
}

// burst writes numbered messages of 1 KiB until that fails.
func burst(c *Conn) {
	for i := 0; ; i++ {
		if c.WriteMessage(Text, fmt.Appendf(nil, "%01024d", i)) != nil {
			return
		}
	}
}

// readBurst reads the messages of burst, and returns how many came whole and in order, and
// the error after them.
func readBurst(t *testing.T, c *Conn) (n int, err error) {
	t.Helper()
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return n, err
		}
		if want := fmt.Sprintf("%01024d", n); string(m.Data) != want {
			t.Fatalf("message %d is %.40q…", n, m.Data)
		}
		n++
	}
}

// resetAfter has a machine between both ends refuse what the server sends after 64 KiB, and
// what the client sends after that.
func resetAfter(t *testing.T, secure bool) {
	client, server := connected(t, Dialer{Config: Config{KeepAlive: time.Minute}}, secure)
	roundTripWith(t, client, server)
	nft(t, fmt.Sprintf("add rule inet faults input tcp sport %d tcp flags & rst != rst quota over 64 kbytes reject with tcp reset", portOf(client)))
	refused := make(chan error, 1)
	go func() {
		burst(server)
		refused <- runNFT(fmt.Sprintf("add rule inet faults input tcp dport %d tcp flags & rst != rst reject with tcp reset", portOf(client)))
		writeOut(client)
	}()
	n, err := readBurst(t, client)
	t.Logf("%d messages before %v", n, err)
	if err := <-refused; err != nil {
		t.Fatal(err)
	}
	wantTransport(t, err, syscall.ECONNRESET)
	var lost *TransportError
	if err := server.WriteMessage(Text, nil); !errors.As(err, &lost) || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server: %v", err)
	}
}

// holeAfter has the network swallow everything after 64 KiB.
func holeAfter(t *testing.T, secure bool) {
	client, server := connected(t, Dialer{Config: Config{KeepAlive: time.Second}}, secure)
	roundTripWith(t, client, server)
	nft(t, fmt.Sprintf("add rule inet faults input tcp sport %d quota over 64 kbytes drop", portOf(client)))
	go burst(server)
	n, err := readBurst(t, client)
	t.Logf("%d messages before %v", n, err)
	wantClock(t, err, ClockTransport)
	server.Close()
}

// holeThatEnds swallows everything for a while: nothing is lost, and nothing comes twice.
func holeThatEnds(t *testing.T, secure bool) {
	client, server := connected(t, Dialer{Config: Config{ReadTimeout: 300 * time.Millisecond}}, secure)
	silenceThenData(t, client, server,
		func() { nft(t, "add rule inet faults input drop") },
		func() { nft(t, "flush chain inet faults input") })
}
