package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// runTier prints which kernels are used, and why.
func runTier(_ context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("tier")
	machine := flags.Bool("json", false, "print it as JSON")
	if _, err := parse(flags, std, args, 0); err != nil {
		return err
	}
	names := make([]string, 0, len(asm.Available()))
	for _, t := range asm.Available() {
		names = append(names, t.String())
	}
	if *machine {
		e := json.NewEncoder(std.out)
		e.SetEscapeHTML(false)
		return e.Encode(tiers{asm.CPU(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), names, asm.Active().String(), asm.Wish(), wish()})
	}
	fmt.Fprintf(std.out, "cpu        %s (%s/%s, %d)\n", asm.CPU(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	fmt.Fprintf(std.out, "available  %s\n", strings.Join(names, " "))
	fmt.Fprintf(std.out, "active     %s\n", asm.Active())
	fmt.Fprintf(std.out, "wish       %s\n", wish())
	return nil
}

// tiers is the output of -json.
type tiers struct {
	CPU       string   `json:"cpu"`
	OS        string   `json:"os"`
	Arch      string   `json:"arch"`
	CPUs      int      `json:"cpus"`
	Available []string `json:"available"`
	Active    string   `json:"active"`
	Wish      string   `json:"wish,omitempty"` // TICKWIRE_TIER
	Granted   string   `json:"wish_result"`
}

// wish describes TICKWIRE_TIER and its effect.
func wish() string {
	w := asm.Wish()
	if w == "" {
		return "none (TICKWIRE_TIER is not set)"
	}
	switch t, ok := asm.Parse(w); {
	case !ok:
		return fmt.Sprintf("%q is no tier: ignored", w)
	case t != asm.Active():
		return fmt.Sprintf("%s is not available here: ignored", t)
	default:
		return fmt.Sprintf("%s: granted", t)
	}
}
