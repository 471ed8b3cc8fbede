package main

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/mask"
	"github.com/seed-7f57ff33/tickwire/utf8"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/internal/probe"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

const key = mask.Key(0x9A3C5E71)

// timeCases are the cases of the statistical part: each is one message or one call.
func timeCases() ([]probe.Case, error) {
	shiftHeap()
	var cases []probe.Case
	add := func(name string, run func(n int)) {
		cases = append(cases, probe.Case{Name: name, Run: run, Before: asmtest.CleanUpper})
	}
	for _, size := range corpus.Sizes {
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			shiftHeap()
			run, err := decoding(corpus.ASCII, size, role, frame.Options{})
			if err != nil {
				return nil, err
			}
			add(fmt.Sprintf("decode %d B, %v", size, role), run)
			if run, err = encoding(size, role); err != nil {
				return nil, err
			}
			add(fmt.Sprintf("encode %d B, %v", size, role), run)
		}
	}
	run, err := decoding(corpus.CJK, 200, frame.Client, frame.Options{})
	if err != nil {
		return nil, err
	}
	add("decode 200 B with 13 % CJK, client", run)
	if run, err = decoding(corpus.ASCII, 200, frame.Client, frame.Options{SkipUTF8: true}); err != nil {
		return nil, err
	}
	add("decode 200 B unchecked, client", run)
	if run, err = connReading(); err != nil {
		return nil, err
	}
	add("conn.ReadMessage 200 B", run)
	if run, err = connWriting(); err != nil {
		return nil, err
	}
	add("conn.WriteMessage 200 B", run)
	for _, c := range kernelCases() {
		add(c.Name, c.Run)
	}
	return cases, nil
}

// shiftHeap moves the heap by another distance in each process. The distance of two
// buffers changes the speed of a copy by up to a third. So it must differ between the
// processes of a side.
func shiftHeap() {
	for range 40 {
		shifted = append(shifted, make([]byte, 1+rand.IntN(48<<10)))
	}
}

var shifted [][]byte

func memory(kind corpus.Kind, size int, masked bool) (*wire.Memory, error) {
	m := wire.NewMemory(corpus.NewStream(corpus.Messages(kind, size, 64<<10/size), masked).Bytes, true)
	return m, wire.Open(m)
}

func decoding(kind corpus.Kind, size int, role frame.Role, o frame.Options) (func(n int), error) {
	m, err := memory(kind, size, role == frame.Server)
	if err != nil {
		return nil, err
	}
	r := frame.NewReader(m, role, o)
	return func(n int) {
		for range n {
			if _, err := r.Next(); err != nil {
				panic(err)
			}
		}
	}, nil
}

func encoding(size int, role frame.Role) (func(n int), error) {
	m, err := memory(corpus.ASCII, size, false)
	if err != nil {
		return nil, err
	}
	w, all := frame.NewWriter(m, role), corpus.Messages(corpus.ASCII, size, 64)
	return func(n int) {
		for i := range n {
			if err := w.Write(frame.Text, all[i%64]); err != nil {
				panic(err)
			}
		}
	}, nil
}

func connReading() (func(n int), error) {
	m, err := memory(corpus.ASCII, 200, false)
	if err != nil {
		return nil, err
	}
	c := conn.New(m, frame.Client, nil)
	return func(n int) {
		for range n {
			if _, err := c.ReadMessage(); err != nil {
				panic(err)
			}
		}
	}, nil
}

func connWriting() (func(n int), error) {
	m, err := memory(corpus.ASCII, 200, false)
	if err != nil {
		return nil, err
	}
	c, all := conn.New(m, frame.Client, nil), corpus.Messages(corpus.ASCII, 200, 64)
	return func(n int) {
		for i := range n {
			if err := c.WriteMessage(conn.Text, all[i%64]); err != nil {
				panic(err)
			}
		}
	}, nil
}

// kernelCases are one kernel call each, on unaligned payloads as in a read buffer.
func kernelCases() []probe.Case {
	var cases []probe.Case
	for _, size := range []int{32, 125, 1024, 16 << 10} {
		ascii := unaligned(corpus.Messages(corpus.ASCII, size, 1)[0], size)
		cjk := unaligned([]byte("深度行情快照成交价格数量买卖盘口更新时间序号合约标记指数资金费率"), size/3*3)
		work, dst := unaligned(nil, size), unalignedAt(destinationOffset, nil, size)
		each := func(name string, f func()) {
			cases = append(cases, probe.Case{Name: fmt.Sprintf("%s %d B", name, size), Before: asmtest.CleanUpper, Run: func(n int) {
				for range n {
					f()
				}
			}})
		}
		each("mask.XOR", func() { mask.XOR(work, key) })
		each("mask.Copy", func() { mask.Copy(dst, work, key) })
		each("utf8.Valid ASCII", func() { good = utf8.Valid(ascii) })
		each("utf8.Valid CJK", func() { good = utf8.Valid(cjk) })
		// With the key zero the payload stays text.
		each("utf8.Unmask ASCII", func() { good = utf8.Unmask(ascii, 0) })
	}
	return cases
}

//lint:ignore U1000 it keeps the calls from being left out
var good bool

// unaligned returns size bytes of repeated text, 6 bytes after an aligned address.
func unaligned(text []byte, size int) []byte { return unalignedAt(6, text, size) }

// destinationOffset is the offset of a destination in its page. With the source's offset,
// the processor could take the two for the same memory.
const destinationOffset = 1094

func unalignedAt(at int, text []byte, size int) []byte {
	b := make([]byte, size+at+64)[at : at+size : at+size]
	for n := 0; len(text) > 0 && n < size; {
		n += copy(b[n:], text)
	}
	return b
}

// sample is the measurement of one process.
type sample struct {
	Probe time.Duration      `json:"probe"` // the shortest speed probe
	NS    map[string]float64 `json:"ns"`
}

// times measures the cases that match, for about limit.
func times(limit time.Duration, match *regexp.Regexp) (sample, error) {
	cases, err := timeCases()
	if err != nil {
		return sample{}, err
	}
	if cases = picked(cases, match); len(cases) == 0 {
		return sample{}, fmt.Errorf("no case matches %v", match)
	}
	probe.Calibrate(100 * time.Millisecond)
	ns := make(map[string]float64)
	for _, r := range probe.Measure(cases, probe.Options{Batch: 30 * time.Microsecond, Batches: 15, Limit: limit, Slack: 0.05}) {
		ns[r.Name] = r.NS
	}
	return sample{probe.Best(), ns}, nil
}

func picked(cases []probe.Case, match *regexp.Regexp) []probe.Case {
	return slices.DeleteFunc(cases, func(c probe.Case) bool { return !match.MatchString(c.Name) })
}

// ratios measures the kernels that match, at this machine's tier over the generic code,
// and over memmove. It leaves out what it could not measure at full speed.
func ratios(match *regexp.Regexp) map[string]float64 {
	fast := picked(kernelCases(), match)
	var cases []probe.Case
	for _, c := range fast {
		cases = append(cases, c, probe.Case{Name: c.Name + " generic", Before: asmtest.CleanUpper, Run: func(n int) {
			defer asm.Force(asm.Generic)()
			c.Run(n)
		}})
	}
	for _, size := range []int{1024, 16 << 10} {
		dst, src := unalignedAt(destinationOffset, nil, size), unaligned(nil, size)
		cases = append(cases, probe.Case{Name: fmt.Sprintf("memmove %d B", size), Before: asmtest.CleanUpper, Run: func(n int) {
			for range n {
				copy(dst, src)
			}
		}})
	}
	ns := make(map[string]float64)
	probe.Calibrate(100 * time.Millisecond)
	for _, r := range probe.Measure(cases, probe.Options{Batches: 25, Limit: 20 * time.Second}) {
		if !r.Forced {
			ns[r.Name] = r.NS
		}
	}
	out := make(map[string]float64)
	for _, c := range fast {
		if ns[c.Name] == 0 {
			continue
		}
		if generic := ns[c.Name+" generic"]; generic > 0 {
			out[c.Name+": "+asm.Active().String()+" / generic"] = ns[c.Name] / generic
		}
		for _, size := range []int{1024, 16 << 10} {
			if move := ns[fmt.Sprintf("memmove %d B", size)]; move > 0 && strings.HasSuffix(c.Name, fmt.Sprintf(" %d B", size)) {
				out[c.Name+" / memmove"] = ns[c.Name] / move
			}
		}
	}
	return out
}
