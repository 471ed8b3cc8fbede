package deflate

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"testing"
)

// Both programs read messages, each behind its length in four bytes, and write them as zlib compresses them with context
// takeover, or inflates them; a length of 2^32-1 asks for nothing. They are the original that everything else is compared with.
const pythonZlib = `
import sys, zlib, struct
mode, level, bits = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
i, o = sys.stdin.buffer, sys.stdout.buffer
c = zlib.compressobj(level, zlib.DEFLATED, -bits)
d = zlib.decompressobj(-bits)
while True:
    h = i.read(4)
    if len(h) < 4:
        break
    p = i.read(struct.unpack('<I', h)[0])
    if mode == 'deflate':
        p = c.compress(p) + c.flush(zlib.Z_SYNC_FLUSH)
        assert p[-4:] == b'\x00\x00\xff\xff'
        p = p[:-4]
    else:
        p = d.decompress(p + b'\x00\x00\xff\xff')
    o.write(struct.pack('<I', len(p)) + p)
o.flush()
`

const nodeZlib = `
const zlib = require('zlib'), fs = require('fs');
const [mode, level, bits] = [process.argv[1], +process.argv[2], +process.argv[3]];
const input = fs.readFileSync(0);
const s = mode == 'deflate' ? zlib.createDeflateRaw({level, windowBits: bits}) : zlib.createInflateRaw({windowBits: bits});
const tail = Buffer.from([0, 0, 255, 255]);
let at = 0, got = [], out = [];
s.on('data', p => got.push(p));
function next() {
  if (at >= input.length) {
    process.stdout.write(Buffer.concat(out));
    return;
  }
  const n = input.readUInt32LE(at);
  let p = input.subarray(at + 4, at + 4 + n);
  at += 4 + n;
  if (mode != 'deflate') p = Buffer.concat([p, tail]);
  s.write(p);
  s.flush(zlib.constants.Z_SYNC_FLUSH, () => {
    let r = Buffer.concat(got);
    got = [];
    if (mode == 'deflate') {
      if (!r.subarray(-4).equals(tail)) process.exit(3);
      r = r.subarray(0, -4);
    }
    const h = Buffer.alloc(4);
    h.writeUInt32LE(r.length);
    out.push(h, r);
    next();
  });
}
next();
`

// original runs a program on messages and returns what it makes of them.
func original(t *testing.T, command []string, mode string, level, bits int, messages [][]byte) [][]byte {
	t.Helper()
	cmd := exec.Command(command[0], append(command[1:], mode, fmt.Sprint(level), fmt.Sprint(bits))...)
	var in bytes.Buffer
	for _, m := range messages {
		in.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(m))))
		in.Write(m)
	}
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(pipe)
	out := make([][]byte, 0, len(messages))
	for range messages {
		var h [4]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, binary.LittleEndian.Uint32(h[:]))
		if _, err := io.ReadFull(r, p); err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return out
}

// R88: 100,000 messages with context takeover, compressed by zlib and inflated here, and the other way round, are what they
// were. With TICKWIRE_FULL=1 (some ten minutes) so many of each size, level and window, with both programs; otherwise of one,
// and a part of the others.
func TestR88EqualsZlib(t *testing.T) {
	full := os.Getenv("TICKWIRE_FULL") != ""
	for _, zlib := range []struct {
		name    string
		command []string
	}{
		{"python", []string{"python3", "-c", pythonZlib}},
		{"node", []string{"node", "-e", nodeZlib}},
	} {
		if _, err := exec.LookPath(zlib.command[0]); err != nil {
			t.Logf("no %s on this machine", zlib.command[0])
			continue
		}
		for i, c := range []struct{ n, size, level, bits int }{
			{100_000, 200, 1, 15}, {5_000, 60, 6, 15}, {2_000, 200, 6, 15}, {1_000, 1000, 9, 15}, {300, 8000, 6, 15}, {2_000, 200, 6, 9}, {2_000, 200, 9, 12}, {1_000, 1000, 1, 10},
		} {
			if zlib.name != "python" && !full {
				if i > 1 {
					break
				}
				c.n = 5_000
			}
			if full {
				c.n = 100_000
				c.size = min(c.size, 1000)
			}
			if instrumented || testing.Short() {
				c.n = min(c.n, 1_000)
			}
			c.n = few(c.n)
			t.Run(fmt.Sprintf("%s/%d of %d, level %d, %d bits", zlib.name, c.n, c.size, c.level, c.bits), func(t *testing.T) {
				messages := feed(c.n, c.size)
				if c.size == 60 {
					for i, m := range messages {
						messages[i] = m[:40+i%50]
					}
				}
				in := newInflater(t, InflateOptions{WindowBits: c.bits})
				for i, p := range original(t, zlib.command, "deflate", c.level, c.bits, messages) {
					if got, err := in.Message(p, true); err != nil || !bytes.Equal(got, messages[i]) {
						t.Fatalf("message %d, compressed by zlib: %v", i, err)
					}
				}
				for _, o := range []DeflateOptions{{WindowBits: c.bits}, {WindowBits: c.bits, History: 1 << c.bits}, {Level: c.level, WindowBits: c.bits}} {
					out := newDeflater(t, o)
					compressed := make([][]byte, len(messages))
					for i, m := range messages {
						compressed[i] = out.Append(nil, m, true)
					}
					out.Close()
					for i, p := range original(t, zlib.command, "inflate", c.level, c.bits, compressed) {
						if crc32.ChecksumIEEE(p) != crc32.ChecksumIEEE(messages[i]) {
							t.Fatalf("%+v: message %d, inflated by zlib, is %.60q", o, i, p)
						}
					}
				}
			})
		}
	}
}
