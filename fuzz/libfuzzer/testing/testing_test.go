package testing

import (
	"reflect"
	"testing"
)

// decode returns the arguments that encode has encoded. Missing bytes are zero.
func TestArguments(t *testing.T) {
	args := []any{uint8(7), []byte("stream"), int16(-3), true, "text", uint64(1 << 60), []byte("the rest")}
	input := encode(args)
	for i, want := range args {
		var got any
		got, input = decode(reflect.TypeOf(want), input, i == len(args)-1)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("argument %d is %v, want %v", i, got, want)
		}
	}
	for _, want := range []any{uint8(0), []byte(nil), int16(0), false, "", uint64(0)} {
		if got, rest := decode(reflect.TypeOf(want), nil, false); !reflect.DeepEqual(got, want) || len(rest) > 0 {
			t.Errorf("without input: %#v, want %#v", got, want)
		}
	}
	if got, _ := decode(reflect.TypeOf(int32(0)), []byte{0xfe, 0xff, 0xff, 0xff}, true); got != int32(-2) {
		t.Errorf("got %v, want -2", got)
	}
}

// A target is run once, and its function for each input; its failure is a panic.
func TestStart(t *testing.T) {
	starts := 0
	var got []byte
	input := Start("FuzzIt", func(f *F) {
		starts++
		f.Add(uint8(1), []byte("a"))
		f.Fuzz(func(t *T, n uint8, data []byte) {
			if got = data; n == 9 {
				t.Fatalf("%s: nine", t.Name())
			}
		})
	})
	input([]byte("\x01one"))
	input([]byte("\x02two"))
	if starts != 1 || string(got) != "two" {
		t.Errorf("%d starts, got %q", starts, got)
	}
	defer func() {
		if r := recover(); r != "FuzzIt: nine" {
			t.Errorf("recovered %v", r)
		}
	}()
	input([]byte("\x09"))
}
