package frame_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// The frame of RFC 6455 §5.7: "Hello", masked.
var hello = []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}

// ParseHeader reads a whole header in place. It checks no rules.
func ExampleParseHeader() {
	h, n := frame.ParseHeader(hello)
	fmt.Println(n, h.Opcode, h.Fin, h.Masked, h.Length)
	_, n = frame.ParseHeader(hello[:5])
	fmt.Println(n) // more bytes are needed
	// Output:
	// 6 text true true 5
	// 0
}

func ExampleAppendHeader() {
	for _, length := range []uint64{125, 126, 65536} {
		fmt.Printf("% x\n", frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.Binary, Length: length}))
	}
	// Output:
	// 82 7d
	// 82 7e 00 7e
	// 82 7f 00 00 00 00 00 01 00 00
}

func ExampleAppendFrame() {
	h, _ := frame.ParseHeader(hello)
	fmt.Printf("% x\n", frame.AppendFrame(nil, h, []byte("Hello")))
	// Output: 81 85 37 fa 21 3d 7f 9f 4d 51 58
}

// AppendClose makes the body of a Close frame, and ParseClose splits it.
func ExampleAppendClose() {
	body, err := frame.AppendClose(nil, frame.Server, frame.CodeGoingAway, "maintenance")
	if err != nil {
		fmt.Println(err)
		return
	}
	code, reason, err := frame.ParseClose(body)
	fmt.Println(code, string(reason), err)
	_, err = frame.AppendClose(nil, frame.Server, frame.CodeAbnormal, "")
	fmt.Println(err)
	// Output:
	// 1001 (going away) maintenance <nil>
	// frame: this close code must not be sent (RFC 6455 §7.4.1)
}

// A Decoder takes the bytes of a stream in portions of any size. The joined pieces of
// each frame do not depend on the portions.
func ExampleDecoder() {
	d := frame.NewDecoder(frame.Server, frame.Options{})
	for _, piece := range [][]byte{hello[:3], hello[3:8], hello[8:]} {
		piece = bytes.Clone(piece) // Next unmasks it in place
		for len(piece) > 0 {
			event, n, err := d.Next(piece)
			if err != nil {
				fmt.Println(err)
				return
			}
			if event.Start || event.End || len(event.Data) > 0 {
				fmt.Printf("%s %q start %v end %v\n", event.Header.Opcode, event.Data, event.Start, event.End)
			}
			piece = piece[n:]
		}
	}
	// Output:
	// text "He" start true end false
	// text "llo" start false end true
}

// An error names the rule, its section, the byte that decided, and the close code to
// send.
func ExampleProtocolError() {
	d := frame.NewDecoder(frame.Server, frame.Options{})
	_, _, err := d.Next([]byte{0x81, 0x05}) // a client's frame that is not masked
	var broken *frame.ProtocolError
	if errors.As(err, &broken) {
		fmt.Println(broken.Rule, "|", broken.Section, "|", broken.Offset, "|", broken.Code)
	}
	fmt.Println(errors.Is(err, frame.ErrUnmaskedClientFrame))
	// Output:
	// unmasked client frame | RFC 6455 §5.1 | 1 | 1002 (protocol error)
	// true
}

// A Reader finds messages in a stream. Control frames may come between the fragments of a
// message.
func ExampleReader() {
	var stream []byte
	stream = frame.AppendFrame(stream, frame.Header{Opcode: frame.Text}, []byte("two "))
	stream = frame.AppendFrame(stream, frame.Header{Fin: true, Opcode: frame.Ping}, []byte("?"))
	stream = frame.AppendFrame(stream, frame.Header{Fin: true, Opcode: frame.Continuation}, []byte("pieces"))
	stream = frame.AppendFrame(stream, frame.Header{Fin: true, Opcode: frame.Binary}, []byte{1, 2})

	r := frame.NewReader(bytes.NewReader(stream), frame.Client, frame.Options{MaxMessage: 1 << 20})
	defer r.Release()
	for {
		m, err := r.Next()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %q\n", m.Opcode, m.Data) // a view: valid until the next call
	}
	// Output:
	// ping "?"
	// text "two pieces"
	// binary "\x01\x02"
	// EOF
}

// Without a source, the caller puts bytes into Space as they come. Buffered returns the
// messages that are whole.
func ExampleReader_Space() {
	stream := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Text}, []byte("first"))
	stream = frame.AppendFrame(stream, frame.Header{Fin: true, Opcode: frame.Text}, []byte("second"))
	r := frame.NewReader(nil, frame.Client, frame.Options{})
	for _, piece := range [][]byte{stream[:9], stream[9:]} {
		r.Filled(copy(r.Space(), piece))
		for {
			m, ok, err := r.Buffered()
			if err != nil {
				fmt.Println(err)
				return
			}
			if !ok {
				break // until more bytes have come
			}
			fmt.Printf("%s\n", m.Data)
		}
	}
	// Output:
	// first
	// second
}

// A batch takes all whole messages of the read buffer, together with their memory.
func ExampleReader_NextBatch() {
	var stream []byte
	for _, text := range []string{"one", "two", "three"} {
		stream = frame.AppendFrame(stream, frame.Header{Fin: true, Opcode: frame.Text}, []byte(text))
	}
	r := frame.NewReader(bytes.NewReader(stream), frame.Client, frame.Options{})
	b, err := r.NextBatch()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range b.Messages { // valid until Release, in any goroutine
		fmt.Printf("%s\n", m.Data)
	}
	b.Release()
	// Output:
	// one
	// two
	// three
}

// A Writer queues messages and writes them in one call.
func ExampleWriter() {
	var out strings.Builder
	w := frame.NewWriter(&out, frame.Server)
	w.Append(frame.Text, []byte("one"))
	w.Append(frame.Text, []byte("two"))
	fmt.Println(w.Queued(), out.Len())
	if err := w.Flush(); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%d %q\n", w.Queued(), out.String())
	// Output:
	// 10 0
	// 0 "\x81\x03one\x81\x03two"
}

// A message for many connections is encoded once.
func ExamplePrepare() {
	p, err := frame.Prepare(frame.Text, []byte("to all"), false)
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		var out bytes.Buffer
		if err := frame.NewWriter(&out, frame.Server).WritePrepared(p); err != nil {
			fmt.Println(err)
		}
		fmt.Printf("%d %q\n", p.Size(), out.Bytes())
	}
	// Output:
	// 8 "\x81\x06to all"
	// 8 "\x81\x06to all"
}

func ExampleCloseCode() {
	for _, code := range []frame.CloseCode{frame.CodeNormal, frame.CodeAbnormal, 4001} {
		fmt.Println(code, code.Receivable())
	}
	// Output:
	// 1000 (normal closure) true
	// 1006 (abnormal closure) false
	// 4001 true
}
