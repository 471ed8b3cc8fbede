// Package engine runs NATS servers with JetStream: in this process, or as a cluster of
// child processes on loopback that can be killed, stopped and started again.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// nodeVariable is set in the environment of a child process: the node's options.
const nodeVariable = "TICKWIRE_RELAY_NODE"

// Options are those of a node.
type Options struct {
	Name string
	// Dir keeps the streams.
	Dir string
	// Client and Cluster are ports on 127.0.0.1. Without Cluster the node is alone.
	Client, Cluster int
	// Routes are the cluster ports of all nodes.
	Routes []int
	// MaxStore limits the disk space of the streams in bytes; 0 means no limit.
	MaxStore int64
	// Users, if there are any, are who may connect.
	Users []User
}

// User is one who may connect to a node.
type User struct {
	Name, Password string
	// Publish are the subjects that it may publish on; none means all.
	Publish []string
}

// Main runs a node and exits, if this process is to be one. A program that calls Start,
// and a TestMain of such tests, calls it first.
func Main() {
	value := os.Getenv(nodeVariable)
	if value == "" {
		return
	}
	var o Options
	if err := json.Unmarshal([]byte(value), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	s, err := New(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	signal.Ignore(os.Interrupt)   // Ctrl-C reaches every process of a terminal
	io.Copy(io.Discard, os.Stdin) // it ends when the parent does
	s.Shutdown()
	os.Exit(0)
}

// New starts a node in this process. Client 0 means any port; -1 means none, for
// nats.InProcessServer.
func New(o Options) (*server.Server, error) {
	options := &server.Options{
		ServerName: o.Name, Host: "127.0.0.1", Port: o.Client, JetStream: true, StoreDir: o.Dir,
		JetStreamMaxStore: o.MaxStore, NoSigs: true, NoLog: true,
	}
	switch o.Client {
	case 0:
		options.Port = server.RANDOM_PORT
	case -1:
		options.DontListen = true
	}
	if o.Cluster > 0 {
		options.Cluster = server.ClusterOpts{Name: "relay", Host: "127.0.0.1", Port: o.Cluster}
		var routes []string
		for _, port := range o.Routes {
			routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", port))
		}
		options.Routes = server.RoutesFromStr(strings.Join(routes, ","))
	}
	for _, u := range o.Users {
		user := &server.User{Username: u.Name, Password: u.Password}
		if len(u.Publish) > 0 {
			user.Permissions = &server.Permissions{Publish: &server.SubjectPermission{Allow: u.Publish}}
		}
		options.Users = append(options.Users, user)
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, errors.New("engine: the node did not get ready in 10 s")
	}
	return s, nil
}

// Node is a node in a child process.
type Node struct {
	Options
	command *exec.Cmd
	stdin   io.Closer
	used    time.Duration
}

// Cluster is nodes in child processes.
type Cluster struct {
	Nodes []*Node
}

// Start starts a cluster of n nodes that keep their streams in folders of dir, and waits
// until it works. edit, if not nil, changes the options of each node before.
func Start(n int, dir string, edit func(*Options)) (*Cluster, error) {
	ports, err := freePorts(2 * n)
	if err != nil {
		return nil, err
	}
	c := &Cluster{}
	for i := range n {
		o := Options{Name: fmt.Sprintf("node-%d", i+1), Client: ports[i]}
		o.Dir = filepath.Join(dir, o.Name)
		if n > 1 {
			o.Cluster, o.Routes = ports[n+i], ports[n:]
		}
		if edit != nil {
			edit(&o)
		}
		c.Nodes = append(c.Nodes, &Node{Options: o})
	}
	for _, node := range c.Nodes {
		if err := node.Start(); err != nil {
			c.Stop()
			return nil, err
		}
	}
	if err := c.wait(30 * time.Second); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// wait returns when every node answers for JetStream, and a stream of as many replicas
// has room.
func (c *Cluster) wait(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, node := range c.Nodes {
		err := node.until(ctx, func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.AccountInfo(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("engine: %s is not ready after %s: %w", node.Name, limit, err)
		}
	}
	if len(c.Nodes) == 1 {
		return nil
	}
	// A leader that has just begun does not know at once that the others are there.
	err := c.Nodes[0].until(ctx, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: placed, Subjects: []string{placed}, Replicas: len(c.Nodes), Storage: jetstream.MemoryStorage,
		})
		if err != nil {
			return err
		}
		return js.DeleteStream(ctx, placed)
	})
	if err != nil {
		return fmt.Errorf("engine: %d replicas have no room after %s: %w", len(c.Nodes), limit, err)
	}
	return nil
}

// placed is the stream with which wait tries whether replicas have room.
const placed = "tickwire-placed"

// until calls f with a connection to the node until it succeeds, or returns its last
// error when ctx ends. Each call has a second: without a leader nobody answers.
func (n *Node) until(ctx context.Context, f func(context.Context, jetstream.JetStream) error) error {
	for {
		err := n.try(ctx, f)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (n *Node) try(ctx context.Context, f func(context.Context, jetstream.JetStream) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var options []nats.Option
	if len(n.Users) > 0 {
		options = append(options, nats.UserInfo(n.Users[0].Name, n.Users[0].Password))
	}
	nc, err := nats.Connect(n.URL(), options...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return f(ctx, js)
}

// Servers returns the addresses of all nodes, comma-separated.
func (c *Cluster) Servers() string {
	var urls []string
	for _, n := range c.Nodes {
		urls = append(urls, n.URL())
	}
	return strings.Join(urls, ",")
}

// Node returns the node of a name, such as StreamInfo.Leader; nil if there is none.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Stop kills all nodes.
func (c *Cluster) Stop() {
	for _, n := range c.Nodes {
		n.Kill()
	}
}

// URL returns the node's address.
func (n *Node) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.Client) }

// Pid returns the node's process, 0 if it does not run.
func (n *Node) Pid() int {
	if n.command == nil {
		return 0
	}
	return n.command.Process.Pid
}

// Start starts the node's process, again after Kill.
func (n *Node) Start() error {
	value, err := json.Marshal(n.Options)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command(self)
	command.Env = append(os.Environ(), nodeVariable+"="+string(value))
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	n.command, n.stdin = command, stdin
	return nil
}

// Kill kills the node's process, and waits for its end. It does nothing if there is none.
func (n *Node) Kill() {
	if n.command != nil {
		n.command.Process.Kill()
		n.command.Wait()
		n.used += n.command.ProcessState.UserTime() + n.command.ProcessState.SystemTime()
		n.command = nil
	}
}

// CPU returns the CPU time of the node's processes that have ended.
func (n *Node) CPU() time.Duration { return n.used }

// freePorts returns ports on 127.0.0.1 that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
