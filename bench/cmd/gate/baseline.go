package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-7f57ff33/tickwire/asm"
)

// A ratio fails if it is worse than the baseline by this factor in each of ratioTries
// processes. No statistics are used.
const (
	worseFactor = 1.25
	ratioTries  = 3
)

// ratioFile returns the file with the ratios of this CPU model.
func ratioFile(root string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, asm.CPU()+" "+asm.Active().String())
	return filepath.Join(root, "bench", "baseline", "ratios-"+name+".json")
}

func exactFile(root string) string { return filepath.Join(root, "bench", "baseline", "exact.json") }

// checkExact compares counts with the committed ones.
func checkExact(root string, after map[string]count) (ok bool, err error) {
	var before map[string]count
	if err := load(exactFile(root), &before); err != nil {
		return false, err
	}
	ok = judgeExact("bench/baseline", before, after)
	if ok && lower(before, after) {
		fmt.Println("less than is committed: -update writes it into bench/baseline, so that it stays so")
	}
	return ok, nil
}

// lower reports whether a count is lower than before.
func lower(before, after map[string]count) bool {
	for name, n := range after {
		if old, known := before[name]; known && old.above(n) {
			return true
		}
	}
	return false
}

// checkRatios compares ratios with those committed for this CPU, if there are any.
func checkRatios(root, program string) (ok bool, err error) {
	var old map[string]float64
	if err := load(ratioFile(root), &old); errors.Is(err, fs.ErrNotExist) {
		fmt.Printf("\nno ratios are known for %s at tier %v\n", asm.CPU(), asm.Active())
		return true, nil
	} else if err != nil {
		return false, err
	}
	now, err := runChild[map[string]float64](program, "ratios")
	if err != nil {
		return false, err
	}
	for try := 1; try < ratioTries && len(worseRatios(old, now)) > 0; try++ {
		again, err := runChild[map[string]float64](program, "ratios", casesOf(worseRatios(old, now)))
		if err != nil {
			return false, err
		}
		for name, v := range again {
			if before, known := now[name]; !known || v < before {
				now[name] = v
			}
		}
	}
	slow := worseRatios(old, now)
	fmt.Printf("\n%-44s %10s %10s\n", "ratios, "+asm.CPU(), "baseline", "now")
	for _, name := range slices.Sorted(maps.Keys(old)) {
		verdict := ""
		if _, known := now[name]; !known {
			verdict = "  the machine is too busy"
		} else if slices.Contains(slow, name) {
			verdict = "  WORSE"
		}
		fmt.Printf("%-44s %10.3f %10.3f%s\n", name, old[name], now[name], verdict)
	}
	return len(slow) == 0, nil
}

// worseRatios returns the ratios that are worse by more than a quarter.
func worseRatios(old, now map[string]float64) (names []string) {
	for name, v := range now {
		if before, known := old[name]; known && v > before*worseFactor {
			names = append(names, name)
		}
	}
	return names
}

// casesOf returns the expression for the cases of these ratios.
func casesOf(ratios []string) string {
	var names []string
	for _, r := range ratios {
		r, _, _ = strings.Cut(r, " / memmove")
		r, _, _ = strings.Cut(r, ": ")
		names = append(names, r)
	}
	return anyOf(names)
}

// updateBaseline writes the files that checkBaseline reads.
func updateBaseline(root, head string) error {
	counts, err := runChild[map[string]count](head, "exact")
	if err != nil {
		return err
	}
	if err := save(exactFile(root), counts); err != nil {
		return err
	}
	r, err := runChild[map[string]float64](head, "ratios")
	if err != nil {
		return err
	}
	for name, v := range r {
		r[name] = float64(int(v*1000+0.5)) / 1000
	}
	return save(ratioFile(root), r)
}

func load(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func save(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o666)
}
