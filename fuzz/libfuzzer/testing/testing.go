// Package testing replaces the standard library's testing in fuzz targets of package fuzz
// that are built as programs of libFuzzer. build.sh, in the folder above, has them import
// it. It has what the targets call, and nothing else.
package testing

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
)

// F collects the seeds of a target and takes its function.
type F struct {
	T
	seeds    int
	function reflect.Value
}

// SeedFolder is the environment variable with the folder that seeds are written to.
// Without it they are not kept.
const SeedFolder = "TICKWIRE_SEEDS"

// Start runs a target once, and returns the function to call for each input.
func Start(name string, target func(*F)) func(input []byte) {
	f := &F{T: T{name}}
	target(f)
	return f.call
}

// Add adds a seed.
func (f *F) Add(args ...any) {
	dir := os.Getenv(SeedFolder)
	if dir == "" {
		return
	}
	f.seeds++
	path := filepath.Join(dir, fmt.Sprintf("seed-%05d", f.seeds))
	if err := os.WriteFile(path, encode(args), 0o666); err != nil {
		panic(err)
	}
}

// Fuzz takes the function of the target.
func (f *F) Fuzz(function any) { f.function = reflect.ValueOf(function) }

// call calls the function with an input.
func (f *F) call(input []byte) {
	in := []reflect.Value{reflect.ValueOf(&f.T)}
	t := f.function.Type()
	for i := 1; i < t.NumIn(); i++ {
		var v any
		v, input = decode(t.In(i), input, i == t.NumIn()-1)
		in = append(in, reflect.ValueOf(v))
	}
	f.function.Call(in)
}

// encode is the inverse of call. An integer has the bytes of its type. A text or byte
// slice follows its length in two bytes; the last one has no length.
func encode(args []any) (out []byte) {
	for i, arg := range args {
		var data []byte
		switch v := arg.(type) {
		case []byte:
			data = v
		case string:
			data = []byte(v)
		default:
			out, _ = binary.Append(out, binary.LittleEndian, integer(arg))
			continue
		}
		if i < len(args)-1 {
			data = data[:min(len(data), 1<<16-1)]
			out = binary.LittleEndian.AppendUint16(out, uint16(len(data)))
		}
		out = append(out, data...)
	}
	return out
}

// integer returns an argument as a value of known size.
func integer(arg any) any {
	switch v := arg.(type) {
	case int:
		return int64(v)
	case uint:
		return uint64(v)
	}
	return arg
}

// decode takes an argument from the input. Missing bytes are zero.
func decode(t reflect.Type, input []byte, last bool) (arg any, rest []byte) {
	switch t.Kind() {
	case reflect.Slice, reflect.String:
		n := len(input)
		if !last {
			var length [2]byte
			input = input[copy(length[:], input):]
			n = min(len(input), int(binary.LittleEndian.Uint16(length[:])))
		}
		return reflect.ValueOf(input[:n:n]).Convert(t).Interface(), input[n:]
	case reflect.Bool:
		if len(input) == 0 {
			return false, nil
		}
		return input[0]&1 == 1, input[1:]
	}
	size := int(t.Size())
	var bytes [8]byte
	n := copy(bytes[:size], input)
	v := reflect.New(t).Elem()
	bits := binary.LittleEndian.Uint64(bytes[:])
	switch {
	case v.CanInt():
		v.SetInt(int64(bits) << (64 - 8*size) >> (64 - 8*size))
	case v.CanUint():
		v.SetUint(bits)
	default:
		panic("no input for " + t.String())
	}
	return v.Interface(), input[n:]
}

// T fails by a panic, which libFuzzer reports as a crash.
type T struct{ name string }

// Name returns the name of the target.
func (t *T) Name() string { return t.name }

// Helper does nothing.
func (t *T) Helper() {}

// Log and Logf print nothing.
func (t *T) Log(...any) {}

// Logf prints nothing.
func (t *T) Logf(string, ...any) {}

// Fatal panics.
func (t *T) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// Fatalf panics.
func (t *T) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Error panics.
func (t *T) Error(args ...any) { t.Fatal(args...) }

// Errorf panics.
func (t *T) Errorf(format string, args ...any) { t.Fatalf(format, args...) }

// TB is the argument of helpers.
type TB interface {
	Name() string
	Helper()
	Log(...any)
	Logf(string, ...any)
	Fatal(...any)
	Fatalf(string, ...any)
	Error(...any)
	Errorf(string, ...any)
}
