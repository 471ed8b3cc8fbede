// Command seed makes seeds of FuzzDecoder from real traffic.
//
//	go run ./fuzz/seed feed.rec               a recording of tickwire record
//	go run ./fuzz/seed -raw capture.bin       the frames that a client received
//	go run ./fuzz/seed -raw -server up.bin    those that a server received, masked
//
// A raw capture begins with a frame, after the handshake. Each seed has a few frames
// (-frames) of one connection. It goes to fuzz/testdata/fuzz/FuzzDecoder (-dir). Its name
// depends on its content only, so running twice adds nothing. A compressed stream has
// FuzzDecoder's bit for that. A stream whose end is cut off loses its last frame.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// The bits of FuzzDecoder's first argument that a seed can have.
const (
	bitServer      = 1 << 0
	bitCompression = 1 << 1
)

// longest is the longest stream that FuzzDecoder reads.
const longest = 20_000

func main() {
	raw := flag.Bool("raw", false, "the files are bare frames, not recordings")
	server := flag.Bool("server", false, "with -raw: a server received them")
	frames := flag.Int("frames", 20, "frames in a seed")
	dir := flag.String("dir", "fuzz/testdata/fuzz/FuzzDecoder", "where the seeds go")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: seed [flags] FILE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 || *frames < 1 || *server && !*raw {
		flag.Usage()
		os.Exit(2)
	}
	for _, path := range flag.Args() {
		n, err := seedFile(path, *raw, *server, *frames, *dir)
		if err != nil {
			fmt.Fprintf(os.Stderr, "seed: %s: %v\n", path, err)
			os.Exit(1)
		}
		fmt.Printf("%s: %d seeds in %s\n", path, n, *dir)
	}
}

// stream is what one connection has received.
type stream struct {
	bits  byte
	bytes []byte
}

func seedFile(path string, raw, server bool, frames int, dir string) (n int, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	streams := []stream{{bytes: b}}
	if server {
		streams[0].bits = bitServer
	}
	if !raw {
		if streams, err = recorded(b); err != nil {
			return 0, err
		}
	}
	for _, s := range streams {
		for _, piece := range pieces(s.bytes, frames) {
			if err := write(dir, s.bits, piece); err != nil {
				return n, err
			}
			n++
		}
	}
	if n == 0 {
		return 0, errors.New("the file has no whole frame")
	}
	return n, nil
}

// recorded returns the streams of a recording.
func recorded(b []byte) ([]stream, error) {
	recording, err := conn.ReadRecording(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var streams []stream
	at := map[uint32]int{}
	for {
		r, err := recording.Next()
		if err == io.EOF {
			return streams, nil
		} else if err != nil {
			return nil, err
		}
		i, ok := at[r.Connection]
		if !ok {
			i = len(streams)
			at[r.Connection] = i
			streams = append(streams, stream{})
		}
		switch r.Kind {
		case conn.RecordBegin:
			if bytes.Contains(r.Data, []byte("Role: server")) {
				streams[i].bits |= bitServer
			}
			if bytes.Contains(r.Data, []byte("permessage-deflate")) {
				streams[i].bits |= bitCompression
			}
		case conn.RecordData:
			streams[i].bytes = append(streams[i].bytes, r.Data...)
		}
	}
}

// pieces cuts a stream between messages. Each piece has about frames frames, and is no
// longer than FuzzDecoder reads.
func pieces(b []byte, frames int) (all [][]byte) {
	begin, n := 0, 0
	for end := 0; ; {
		h, size := frame.ParseHeader(b[end:])
		if size == 0 || h.Length > uint64(len(b)-end-size) {
			return all
		}
		end += size + int(h.Length)
		n++
		between := h.Fin && !h.Opcode.IsControl()
		if last := end == len(b); between && n >= frames || last {
			if end-begin <= longest {
				all = append(all, b[begin:end])
			}
			begin, n = end, 0
			if last {
				return all
			}
		}
	}
}

// write writes a seed to where the go command looks for it.
func write(dir string, bits byte, stream []byte) error {
	var b strings.Builder
	fmt.Fprintf(&b, "go test fuzz v1\nbyte(%q)\n[]byte(%q)\n[]byte(%q)\n", rune(bits), stream, "\x07")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(b.String())))[:16]
	return os.WriteFile(filepath.Join(dir, name), []byte(b.String()), 0o644)
}
