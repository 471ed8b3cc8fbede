package mask_test

import (
	"encoding/binary"
	"fmt"

	"github.com/seed-7f57ff33/tickwire/mask"
)

// The example of RFC 6455 §5.7. The lowest byte of a key masks the first octet; it is the
// key's first byte on the wire.
func ExampleXOR() {
	key := mask.Key(binary.LittleEndian.Uint32([]byte{0x37, 0xfa, 0x21, 0x3d}))
	b := []byte("Hello")
	mask.XOR(b, key)
	fmt.Printf("% x\n", b)
	mask.XOR(b, key) // masking twice restores the original
	fmt.Printf("%s\n", b)
	// Output:
	// 7f 9f 4d 51 58
	// Hello
}

// A payload that comes in pieces: XOR returns the key for the next one.
func ExampleXOR_pieces() {
	key := mask.Key(binary.LittleEndian.Uint32([]byte{0x37, 0xfa, 0x21, 0x3d}))
	b := []byte{0x7f, 0x9f, 0x4d, 0x51, 0x58}
	key = mask.XOR(b[:2], key)
	mask.XOR(b[2:], key)
	fmt.Printf("%s\n", b)
	// Output: Hello
}

// Copy leaves the caller's bytes as they are.
func ExampleCopy() {
	src := []byte("Hello")
	dst := make([]byte, len(src))
	mask.Copy(dst, src, mask.Key(binary.LittleEndian.Uint32([]byte{0x37, 0xfa, 0x21, 0x3d})))
	fmt.Printf("% x, of %s\n", dst, src)
	// Output: 7f 9f 4d 51 58, of Hello
}

func ExampleKey_Rotate() {
	key := mask.Key(binary.LittleEndian.Uint32([]byte{1, 2, 3, 4}))
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(key.Rotate(5)))
	fmt.Println(b)
	// Output: [2 3 4 1]
}

// A Source gives a fresh key to each frame, from crypto/rand.
func ExampleSource() {
	var keys mask.Source
	seen := map[mask.Key]bool{}
	for range 1000 {
		seen[keys.Next()] = true
	}
	fmt.Println(len(seen) > 990)
	// Output: true
}
