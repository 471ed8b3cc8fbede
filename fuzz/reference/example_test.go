package reference_test

import (
	"fmt"

	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
)

// A client refuses a masked frame at its second byte.
func ExampleParse() {
	good := reference.Parse(reference.Client, reference.Options{}, []byte("\x81\x05hello"))
	for _, e := range good.Events {
		fmt.Printf("%q at byte %d\n", e.Data, e.Offset)
	}
	bad := reference.Parse(reference.Client, reference.Options{}, []byte("\x81\x85\x00\x00\x00\x00hello"))
	fmt.Println("byte", bad.Err.Offset, "is wrong; close with", bad.Err.Rule.Code)
	// Output:
	// "hello" at byte 0
	// "hello" at byte 0
	// byte 1 is wrong; close with 1002
}
