package peers

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/klauspost/compress/flate"
)

const syncTail = "\x00\x00\xff\xff"

// An inflateOracle inflates one compressed message. history has the bytes that it may
// refer to, and the window is in bits. The refusal is the error of the library; err is an
// error of asking it. After a block with BFINAL in the middle of a message, a new stream
// begins at the next byte. Its history is all bytes before (RFC 7692 §7.2.3.5).
type inflateOracle struct {
	name    string
	inflate func(p, history []byte, bits int) (out []byte, refusal string, err error)
}

// inflateOracles returns klauspost/compress, and zlib of Python and of Node if they are
// on this machine.
func inflateOracles(t testing.TB) []inflateOracle {
	oracles := []inflateOracle{{"klauspost/compress", inflateKlauspost}}
	for _, c := range []struct {
		name    string
		command []string
	}{
		{"Python's zlib", []string{"python3", "-c", pythonInflate}},
		{"Node's zlib", []string{"node", "-e", nodeInflate}},
	} {
		if _, err := exec.LookPath(c.command[0]); err != nil {
			t.Logf("no %s on this machine", c.command[0])
			continue
		}
		child := startChild(t, c.command)
		oracles = append(oracles, inflateOracle{c.name, child.inflate})
	}
	return oracles
}

func inflateKlauspost(p, history []byte, _ int) (out []byte, refusal string, err error) {
	r := bytes.NewReader(append(bytes.Clone(p), syncTail...))
	for {
		got, err := io.ReadAll(flate.NewReaderDict(r, history))
		out = append(out, got...)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return out, "", nil
		case err != nil:
			return nil, err.Error(), nil
		case r.Len() <= len(syncTail):
			return out, "", nil
		}
		history = append(bytes.Clone(history), got...)
		history = history[max(0, len(history)-1<<15):]
	}
}

// Both programs answer requests until their input ends. A request is the window bits in a
// byte, then history and message, each after its length in four bytes. The answer is a
// byte that is 1 for an error, then the inflated bytes or the error after their length.
const pythonInflate = `
import sys, zlib, struct
i, o = sys.stdin.buffer, sys.stdout.buffer
def inflate(p, history, bits):
    out = b''
    while True:
        d = zlib.decompressobj(-bits, zdict=history) if history else zlib.decompressobj(-bits)
        got = d.decompress(p)
        out += got
        if not d.eof or len(d.unused_data) <= 4:
            return out
        p, history = d.unused_data, (history + got)[-32768:]
while True:
    h = i.read(5)
    if len(h) < 5:
        break
    bits, n = struct.unpack('<BI', h)
    history = i.read(n)
    p = i.read(struct.unpack('<I', i.read(4))[0]) + b'\x00\x00\xff\xff'
    try:
        status, p = 0, inflate(p, history, bits)
    except zlib.error as e:
        status, p = 1, str(e).encode()
    o.write(struct.pack('<BI', status, len(p)) + p)
    o.flush()
`

const nodeInflate = `
const zlib = require('zlib'), fs = require('fs');
const tail = Buffer.from([0, 0, 255, 255]);
function read(n) {
  const p = Buffer.alloc(n);
  for (let at = 0; at < n;) {
    const got = fs.readSync(0, p, at, n - at);
    if (got == 0) process.exit(0);
    at += got;
  }
  return p;
}
function write(p) {
  for (let at = 0; at < p.length;) at += fs.writeSync(1, p, at);
}
function inflate(p, history, windowBits) {
  const out = [];
  for (;;) {
    const o = {windowBits, finishFlush: zlib.constants.Z_SYNC_FLUSH, info: true};
    if (history.length) o.dictionary = history;
    const r = zlib.inflateRawSync(p, o);
    out.push(r.buffer);
    p = p.subarray(r.engine.bytesWritten);
    if (p.length <= 4) return Buffer.concat(out);
    history = Buffer.concat([history, r.buffer]).subarray(-32768);
  }
}
for (;;) {
  const h = read(5);
  const history = read(h.readUInt32LE(1));
  const p = Buffer.concat([read(read(4).readUInt32LE()), tail]);
  let status = 0, out;
  try {
    out = inflate(p, history, h[0]);
  } catch (e) {
    status = 1;
    out = Buffer.from(e.message);
  }
  const head = Buffer.alloc(5);
  head[0] = status;
  head.writeUInt32LE(out.length, 1);
  write(Buffer.concat([head, out]));
}
`

// child is a program that lives as long as the test.
type child struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(t testing.TB, command []string) *child {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // ends the program
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &child{in, bufio.NewReader(out)}
}

func (c *child) inflate(p, history []byte, bits int) (out []byte, refusal string, err error) {
	request := binary.LittleEndian.AppendUint32([]byte{byte(bits)}, uint32(len(history)))
	request = append(request, history...)
	request = append(binary.LittleEndian.AppendUint32(request, uint32(len(p))), p...)
	if _, err := c.in.Write(request); err != nil {
		return nil, "", err
	}
	var h [5]byte
	if _, err := io.ReadFull(c.out, h[:]); err != nil {
		return nil, "", err
	}
	out = make([]byte, binary.LittleEndian.Uint32(h[1:]))
	if _, err := io.ReadFull(c.out, out); err != nil {
		return nil, "", err
	}
	if h[0] != 0 {
		return nil, string(out), nil
	}
	return out, "", nil
}
