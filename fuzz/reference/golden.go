package reference

import "bytes"

// Vector is an example of the RFCs: the bytes, their meaning, and the section.
type Vector struct {
	Section string
	Meaning string
	To      Role // the roles that may receive it
	Options Options
	Wire    []byte
	Frames  []Event // complete frames
	Message string  // the message of the frames, for data frames
}

// Golden returns the examples of RFC 6455 §5.7 and RFC 7692 §7.2.3.
func Golden() []Vector {
	deflate := Options{Compression: true}
	kilo := bytes.Repeat([]byte{0xC3, 0x28, 0x00, 0xFF}, 64) // any 256 bytes
	large := bytes.Repeat(kilo, 256)                         // any 64 KiB
	hello := fromHex("48 65 6c 6c 6f")
	frame := func(offset uint64, op byte, fin, rsv1 bool, data []byte) Event {
		return Event{Kind: FrameEvent, Offset: offset, Opcode: op, Fin: fin, RSV1: rsv1, Data: string(data)}
	}
	one := func(op byte, rsv1 bool, data []byte) []Event { return []Event{frame(0, op, true, rsv1, data)} }
	return []Vector{
		{"RFC 6455 §5.7", "a single-frame unmasked text message", Client, Options{},
			fromHex("81 05 48 65 6c 6c 6f"), one(1, false, hello), "Hello"},
		{"RFC 6455 §5.7", "a single-frame masked text message", Server, Options{},
			fromHex("81 85 37 fa 21 3d 7f 9f 4d 51 58"), one(1, false, hello), "Hello"},
		{"RFC 6455 §5.7", "a fragmented unmasked text message", Client, Options{},
			fromHex("01 03 48 65 6c 80 02 6c 6f"),
			[]Event{frame(0, 1, false, false, hello[:3]), frame(5, 0, true, false, hello[3:])}, "Hello"},
		{"RFC 6455 §5.7", "an unmasked Ping", Client, Options{},
			fromHex("89 05 48 65 6c 6c 6f"), one(9, false, hello), ""},
		{"RFC 6455 §5.7", "a masked Pong", Server, Options{},
			fromHex("8a 85 37 fa 21 3d 7f 9f 4d 51 58"), one(10, false, hello), ""},
		{"RFC 6455 §5.7", "256 bytes of binary in one unmasked frame", Client, Options{},
			append(fromHex("82 7E 0100"), kilo...), one(2, false, kilo), string(kilo)},
		{"RFC 6455 §5.7", "64 KiB of binary in one unmasked frame", Client, Options{},
			append(fromHex("82 7F 0000000000010000"), large...), one(2, false, large), string(large)},
		{"RFC 7692 §7.2.3.1", "a message compressed with one fixed block", Client, deflate,
			fromHex("c1 07 f2 48 cd c9 c9 07 00"), one(1, true, fromHex("f2 48 cd c9 c9 07 00")), "\xf2\x48\xcd\xc9\xc9\x07\x00"},
		{"RFC 7692 §7.2.3.1", "the same message in two frames", Client, deflate,
			fromHex("41 03 f2 48 cd 80 04 c9 c9 07 00"),
			[]Event{frame(0, 1, false, true, fromHex("f2 48 cd")), frame(5, 0, true, false, fromHex("c9 c9 07 00"))},
			"\xf2\x48\xcd\xc9\xc9\x07\x00"},
		{"RFC 7692 §7.2.3.2", "a second message that uses the window of the first", Client, deflate,
			fromHex("c1 05 f2 00 11 00 00"), one(1, true, fromHex("f2 00 11 00 00")), "\xf2\x00\x11\x00\x00"},
		{"RFC 7692 §7.2.3.3", "a stored block", Client, deflate,
			fromHex("c1 0b 00 05 00 fa ff 48 65 6c 6c 6f 00"), one(1, true, fromHex("00 05 00 fa ff 48 65 6c 6c 6f 00")),
			"\x00\x05\x00\xfa\xffHello\x00"},
		{"RFC 7692 §7.2.3.4", "a block with BFINAL set", Client, deflate,
			fromHex("c1 08 f3 48 cd c9 c9 07 00 00"), one(1, true, fromHex("f3 48 cd c9 c9 07 00 00")),
			"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"},
		{"RFC 7692 §7.2.3.5", "two blocks in one message", Client, deflate,
			fromHex("c1 0d f2 48 05 00 00 00 ff ff ca c9 c9 07 00"), one(1, true, fromHex("f2 48 05 00 00 00 ff ff ca c9 c9 07 00")),
			"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"},
		{"RFC 7692 §7.2.3.6", "an empty compressed message", Client, deflate,
			fromHex("c1 01 00"), one(1, true, fromHex("00")), "\x00"},
	}
}
