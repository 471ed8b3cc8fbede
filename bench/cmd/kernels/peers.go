package main

import (
	"unsafe"

	sonic "github.com/bytedance/sonic/utf8"
	_ "github.com/coder/websocket"
	"github.com/gobwas/ws"
	_ "github.com/gorilla/websocket"
	_ "github.com/lxzan/gws"
	segmentio "github.com/segmentio/asm/utf8"

	"github.com/seed-7f57ff33/tickwire/mask"
)

// Maskers that a library does not export are linked by linkname. That needs no flag
// outside the standard library and costs nothing per call. It measures the code that
// these libraries run when they read and write. gobwas/ws exports its masker.

//go:linkname gorillaMask github.com/gorilla/websocket.maskBytes
func gorillaMask(key [4]byte, pos int, b []byte) int

//go:linkname coderMask github.com/coder/websocket.maskGo
func coderMask(b []byte, key uint32) uint32

//go:linkname gwsMask github.com/lxzan/gws/internal.MaskXOR
func gwsMask(b []byte, key []byte)

// xorGeneric is mask.XOR of a build with the tag purego.
//
//go:linkname xorGeneric github.com/seed-7f57ff33/tickwire/mask.xorGeneric
func xorGeneric(p *byte, n int, key mask.Key)

var (
	octets = [4]byte{0x37, 0xFA, 0x21, 0x8D}
	slice  = octets[:]
)

const key = mask.Key(0x8D21FA37)

// masker is a function over many buffers. It has its own loop, so that every masker is
// called directly.
type masker struct {
	name string
	pure bool // Go without assembly
	run  func(views [][]byte)
}

var maskers = []masker{
	{"tickwire", false, func(views [][]byte) {
		for _, b := range views {
			mask.XOR(b, key)
		}
	}},
	{"gorilla", true, func(views [][]byte) {
		for _, b := range views {
			gorillaMask(octets, 0, b)
		}
	}},
	{"gobwas", false, func(views [][]byte) {
		for _, b := range views {
			ws.Cipher(b, octets, 0)
		}
	}},
	{"coder", true, func(views [][]byte) {
		for _, b := range views {
			coderMask(b, uint32(key))
		}
	}},
	{"gws", true, func(views [][]byte) {
		for _, b := range views {
			gwsMask(b, slice)
		}
	}},
}

var twin = masker{"tickwire purego", true, func(views [][]byte) {
	for _, b := range views {
		xorGeneric(unsafe.SliceData(b), len(b), key)
	}
}}

func segmentioValid(p []byte) bool { return segmentio.Valid(p) }

func sonicValid(p []byte) bool { return sonic.Validate(p) }
