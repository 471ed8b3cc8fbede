package utf8_test

import (
	"fmt"

	"github.com/seed-7f57ff33/tickwire/mask"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

func ExampleValidString() {
	for _, s := range []string{"price", "価格", "\xed\xa0\x80", "\xe4\xbe"} {
		fmt.Printf("%q %v\n", s, utf8.ValidString(s))
	}
	// Output:
	// "price" true
	// "価格" true
	// "\xed\xa0\x80" false
	// "\xe4\xbe" false
}

// Unmask unmasks and checks the payload of a client's frame in one pass.
func ExampleUnmask() {
	key := mask.Key(0x3d21fa37)
	p := []byte("価格 42")
	mask.XOR(p, key)
	fmt.Println(utf8.Unmask(p, key), string(p))
	// Output: true 価格 42
}

// A Validator does the same for a payload in pieces. A character may be cut between them.
func ExampleValidator_Unmask() {
	key := mask.Key(0x3d21fa37)
	p := []byte("価格 42")
	mask.XOR(p, key)
	var v utf8.Validator
	next, wrong := v.Unmask(p[:4], key)
	fmt.Println(wrong)
	_, wrong = v.Unmask(p[4:], next)
	fmt.Println(wrong, v.Done(), string(p))
	// Output:
	// -1
	// -1 true 価格 42
}

// Push returns the index of the first byte that no valid text can have there.
func ExampleValidator_Push() {
	var v utf8.Validator
	fmt.Println(v.Push([]byte("ab\xc0\x80")))
	v.Reset()
	fmt.Println(v.Push([]byte("ab\xe4\xbe")), v.Done()) // no error yet, but not a whole text
	// Output:
	// 2
	// -1 false
}
