// Command peers builds the programs in other languages for `compare -languages`, in the
// user's cache folder. It says for each whether it is there:
//
//	GOWORK=off go -C bench run ./cmd/peers
//
// It installs nothing on the system. It needs cargo, g++ with Debian's libboost-dev,
// libwebsocketpp-dev and libssl-dev, python3 with venv, node and npm. If one is missing
// it says so and ends with exit status 1.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-7f57ff33/tickwire/bench/peers"
)

func main() {
	source, err := filepath.Abs("peers")
	if err == nil {
		_, err = os.Stat(filepath.Join(source, "rust", "Cargo.toml"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers: not run in the folder bench:", err)
		os.Exit(2)
	}
	all, err := peers.Build(source, func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	status := 0
	for _, p := range all {
		state := "there"
		if p.Missing != "" {
			state, status = "missing: "+p.Missing, 1
		}
		fmt.Printf("%-28s %s\n", p.Name(), state)
	}
	os.Exit(status)
}
