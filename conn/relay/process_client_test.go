package relay

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// childClient describes a Client in a process of its own. It keeps a line for each
// message in a file: the number and the position. Killed and started again, it goes on
// after the last line.
type childClient struct {
	URLs         []string
	Stream, File string
	Last         uint64 // the number after which it ends
}

const childClientVariable = "TICKWIRE_RELAY_CLIENT"

// childClientMain runs a Client and exits, if this process is to be one.
func childClientMain() {
	value := os.Getenv(childClientVariable)
	if value == "" {
		return
	}
	var c childClient
	if err := json.Unmarshal([]byte(value), &c); err != nil {
		panic(err)
	}
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (c childClient) run() error {
	numbers, at, err := readLines(c.File)
	if err != nil || len(numbers) > 0 && numbers[len(numbers)-1] == c.Last {
		return err
	}
	file, err := os.OpenFile(c.File, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	client := clientOf(c.Stream, c.URLs...)
	client.After = at
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = client.Run(ctx, func(_ context.Context, m Message) error {
		var number uint64
		if _, err := fmt.Sscan(string(m.Data), &number); err != nil || string(m.Data) != string(payload(number)) {
			return fmt.Errorf("at %v: %v %.30q", m.Position, m.Kind, m.Data)
		}
		if _, err := fmt.Fprintf(file, "%d %v\n", number, m.Position); err != nil {
			return err
		}
		if number == c.Last {
			cancel()
		}
		return nil
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// readLines returns the numbers of a file, and the position of the last one.
func readLines(name string) (numbers []uint64, at Position, err error) {
	file, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, at, nil
	} else if err != nil {
		return nil, at, err
	}
	defer file.Close()
	last := ""
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var number uint64
		text, place, _ := strings.Cut(lines.Text(), " ")
		if _, err := fmt.Sscan(text, &number); err != nil {
			return nil, at, err
		}
		numbers, last = append(numbers, number), place
	}
	if last != "" {
		at, err = ParsePosition(last)
	}
	return numbers, at, err
}

func startClient(t testing.TB, c childClient) *exec.Cmd {
	t.Helper()
	value, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), childClientVariable+"="+string(value))
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if command.ProcessState == nil {
			command.Process.Kill()
			command.Wait()
		}
	})
	return command
}
