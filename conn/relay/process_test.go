package relay

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// childGateway describes a Gateway in a process of its own.
type childGateway struct {
	Servers string
	Streams []string
}

const childGatewayVariable = "TICKWIRE_RELAY_GATEWAY"

// childGatewayMain runs a Gateway until stdin ends, if this process is to be one.
func childGatewayMain() {
	value := os.Getenv(childGatewayVariable)
	if value == "" {
		return
	}
	var c childGateway
	if err := json.Unmarshal([]byte(value), &c); err != nil {
		panic(err)
	}
	nc, err := Connect(c.Servers)
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	g := &Gateway{Conn: nc, Streams: c.Streams, Upgrader: conn.Upgrader{Origins: []string{"*"}}}
	go http.Serve(l, g)
	go g.Run(context.Background())
	fmt.Println(l.Addr())
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// gatewayProcess is a childGateway that runs.
type gatewayProcess struct {
	*os.Process
	address string
}

// startGateway starts a Gateway in a process of its own, and waits until it is ready.
func startGateway(t testing.TB, c childGateway) *gatewayProcess {
	t.Helper()
	value, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), childGatewayVariable+"="+string(value))
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		command.Process.Kill()
		command.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p := &gatewayProcess{command.Process, strings.TrimSpace(line)}
	waitFor(t, "a gateway's process", func() bool {
		r, err := http.Get("http://" + p.address + "/healthz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return p
}

// balancer passes TCP connections on, each to the first of some addresses that answers.
func balancer(t testing.TB, addresses ...string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	pass := func(from net.Conn) {
		defer from.Close()
		for _, a := range addresses {
			to, err := net.Dial("tcp", a)
			if err != nil {
				continue
			}
			defer to.Close()
			var both sync.WaitGroup
			for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
				both.Go(func() {
					io.Copy(way[0], way[1])
					way[0].Close()
					way[1].Close()
				})
			}
			both.Wait()
			return
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go pass(c)
		}
	}()
	return l.Addr().String()
}
