package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// A host is what the checks inspect: this host, or that of a test.
type host struct {
	root         fs.FS // with proc, sys and dev
	goos, goarch string
	kernel       kernel

	maxProcs, cpus int
	memLimit       int64 // of the Go runtime; math.MaxInt64 means none
	cpu            string
	available      []asm.Tier
	active         asm.Tier
	wish           string               // TICKWIRE_TIER
	clock          func() time.Duration // the duration of a time.Now
}

// A kernel answers questions that no file answers.
type kernel struct {
	gro      func(name string) (bool, error)
	coalesce func(name string) (coalescing, error)
	stamps   func() error                       // the result of SO_TIMESTAMPNS on a socket
	routes   func() (quick, all int, err error) // routes with the attribute quickack, and all
}

// coalescing says when a network card interrupts.
type coalescing struct {
	usecs, frames uint32
	adaptive      bool
}

func thisHost() *host {
	return &host{
		root: os.DirFS("/"), goos: runtime.GOOS, goarch: runtime.GOARCH, kernel: thisKernel(),
		maxProcs: runtime.GOMAXPROCS(0), cpus: runtime.NumCPU(), memLimit: debug.SetMemoryLimit(-1),
		cpu: asm.CPU(), available: asm.Available(), active: asm.Active(), wish: asm.Wish(), clock: clockCost,
	}
}

// clockCost returns the duration of time.Now: the minimum of some measurements, as other
// threads may run meanwhile.
func clockCost() time.Duration {
	const turns, calls = 20, 500
	least := time.Duration(math.MaxInt64)
	for range turns {
		start := time.Now()
		end := start
		for range calls {
			end = time.Now()
		}
		least = min(least, end.Sub(start)/calls)
	}
	return least
}

// maxRead bounds the read of one file. /proc/interrupts of some hundred processors fits.
const maxRead = 8 << 20

// bytes returns the content of a file.
func (h *host) bytes(path string) ([]byte, error) {
	f, err := h.root.Open(strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxRead))
}

// file returns the content of a text file, without surrounding space.
func (h *host) file(path string) (string, error) {
	b, err := h.bytes(path)
	return strings.TrimSpace(string(b)), err
}

// more reads an optional file. If there is none, nothing is recorded.
func (h *host) more(f *finding, path string) (string, bool) {
	s, err := h.file(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", false
	case err != nil:
		f.Read = append(f.Read, reading{Path: path, Error: reason(err)})
		return "", false
	}
	f.read(path, s)
	return s, true
}

// word reads a file with one name, or with several and brackets around the current one.
func (h *host) word(f *finding, path string, choice bool) (string, bool) {
	s, err := h.file(path)
	word := s
	if choice {
		_, after, _ := strings.Cut(s, "[")
		word, _, _ = strings.Cut(after, "]")
	}
	if err == nil && !isWord(word) {
		err = &garbage{map[bool]string{true: "a choice in brackets", false: "a name"}[choice], s}
	}
	if err != nil {
		f.failed(path, err)
		return "", false
	}
	f.read(path, s)
	return word, true
}

// number reads a file that contains one integer.
func (h *host) number(f *finding, path string) (int64, bool) {
	s, err := h.file(path)
	if err != nil {
		f.failed(path, err)
		return 0, false
	}
	n, err := whole(s)
	if err != nil {
		f.failed(path, err)
		return 0, false
	}
	f.read(path, s)
	return n, true
}

// garbage reports an unexpected value in a file.
type garbage struct{ want, got string }

func (g *garbage) Error() string { return fmt.Sprintf("want %s, got %q", g.want, oneValue(g.got)) }

func whole(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, &garbage{"a number", s}
	}
	return n, nil
}

// dir returns the names in a directory.
func (h *host) dir(path string) ([]string, error) {
	entries, err := fs.ReadDir(h.root, strings.TrimPrefix(path, "/"))
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// exists reports whether there is such a file. A file that may not be looked at exists.
func (h *host) exists(path string) bool {
	_, err := fs.Stat(h.root, strings.TrimPrefix(path, "/"))
	return err == nil || !errors.Is(err, fs.ErrNotExist)
}

// reason returns the cause of an error in a few words. The path is printed next to it.
func reason(err error) string {
	var pathError *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "not there"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied; try as root"
	case errors.As(err, &pathError):
		return oneValue(pathError.Err.Error())
	}
	return oneValue(err.Error())
}

// oneValue makes a value fit on a line: without control characters, and not too long.
func oneValue(s string) string {
	s = cli.Printable(strings.Join(strings.Fields(s), " "))
	const most = 160
	for i := range s {
		if i > most {
			return s[:i] + " ..."
		}
	}
	return s
}

// A perCPU is the value of one processor, queue or interrupt.
type perCPU struct {
	cpu   int
	value string
	err   error
}

const cpuDir = "/sys/devices/system/cpu"

// online returns the online processors. If that list cannot be read, it returns those
// with a directory.
func (h *host) online() []int {
	if s, err := h.file(cpuDir + "/online"); err == nil {
		if list, err := parseList(s); err == nil && len(list) > 0 {
			return list
		}
	}
	names, _ := h.dir(cpuDir)
	var list []int
	for _, name := range names {
		if n, ok := strings.CutPrefix(name, "cpu"); ok {
			if i, err := strconv.Atoi(n); err == nil && i >= 0 {
				list = append(list, i)
			}
		}
	}
	slices.Sort(list)
	return list
}

// each reads the same file of each processor and records a summary. It returns the values
// that it could read.
func (h *host) each(f *finding, name string, read func(cpu int) (string, error)) []perCPU {
	pattern := cpuDir + "/cpu*/" + name
	var good, bad []perCPU
	for _, cpu := range h.online() {
		if value, err := read(cpu); err != nil {
			bad = append(bad, perCPU{cpu, reason(err), err})
		} else {
			good = append(good, perCPU{cpu, value, nil})
		}
	}
	switch {
	case len(good) == 0 && len(bad) == 0:
		f.failed(pattern, errors.New("no processors are listed in "+cpuDir))
	case len(good) == 0 && len(groups(bad)) == 1:
		f.failed(pattern, bad[0].err)
	case len(bad) > 0:
		f.Read = append(f.Read, reading{Path: pattern, Value: oneValue(inGroups(good, "cpu")), Error: oneValue(inGroups(bad, "cpu"))})
		f.settle(verdictUnread)
	default:
		f.read(pattern, inGroups(good, "cpu"))
	}
	return good
}

// A group is the processors that have the same value.
type group struct {
	value string
	cpus  []int
}

// groups returns the groups, ordered by their first processors.
func groups(values []perCPU) []group {
	var all []group
	at := map[string]int{}
	for _, v := range values {
		i, ok := at[v.value]
		if !ok {
			i = len(all)
			at[v.value] = i
			all = append(all, group{value: v.value})
		}
		all[i].cpus = append(all[i].cpus, v.cpu)
	}
	return all
}

// inGroups returns a text such as "cpu0-7: performance, cpu8-15: powersave", for
// processors or other numbered things.
func inGroups(values []perCPU, of string) string {
	var parts []string
	all := groups(values)
	const most = 4
	for _, g := range all[:min(most, len(all))] {
		parts = append(parts, of+formatList(g.cpus)+": "+oneValue(g.value))
	}
	if n := len(all) - most; n > 0 {
		parts = append(parts, fmt.Sprintf("and %d other values", n))
	}
	return strings.Join(parts, ", ")
}

// parseList parses the kernel's lists of processors, such as 0-3,8.
func parseList(s string) ([]int, error) {
	const most = 1 << 16
	var list []int
	if s == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 31)
		b, err2 := strconv.ParseUint(to, 10, 31)
		if err1 != nil || err2 != nil || b < a || b-a >= most || len(list) >= most {
			return nil, &garbage{"a list of processors", s}
		}
		for i := a; i <= b; i++ {
			list = append(list, int(i))
		}
	}
	return list, nil
}

// formatList is the reverse of parseList. A list of many ranges is shortened.
func formatList(list []int) string {
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		part := strconv.Itoa(list[i])
		if j > i {
			part += "-" + strconv.Itoa(list[j])
		}
		if parts = append(parts, part); len(parts) == 8 && j+1 < len(list) {
			return strings.Join(parts, ",") + fmt.Sprintf(",... (%d)", len(list))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}
