package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// A version is what this program was built from.
type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"` // since the revision
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func readVersion() version {
	v := version{Version: "unknown", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// runVersion prints what this program was built from.
func runVersion(_ context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("version")
	machine := flags.Bool("json", false, "print it as JSON")
	if _, err := parse(flags, std, args, 0); err != nil {
		return err
	}
	v := readVersion()
	if *machine {
		return json.NewEncoder(std.out).Encode(v)
	}
	s := fmt.Sprintf("tickwire %s (%s, %s/%s)", v.Version, v.Go, v.OS, v.Arch)
	if v.Revision != "" {
		s += " " + v.Revision
	}
	if v.Modified {
		s += ", modified"
	}
	_, err := fmt.Fprintln(std.out, s)
	return err
}
