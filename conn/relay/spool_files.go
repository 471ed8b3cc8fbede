package relay

import (
	"encoding/binary"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// spoolFiles is a queue of batches in files. A file is removed when it was read.
type spoolFiles struct {
	dir, prefix string
	files       []*spoolFile // the oldest first
	number      int          // of files so far
	batches     int
	bytes       int64 // from the first batch on
}

type spoolFile struct {
	*os.File
	size, read int64
}

// spoolFileBytes is how long a file gets, about.
const spoolFileBytes = 16 << 20

// openSpoolFiles removes what an earlier Run has left in dir.
func openSpoolFiles(dir, stream string) (spoolFiles, error) {
	f := spoolFiles{dir: dir, prefix: "relay-" + url.PathEscape(stream) + "-"}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return f, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return f, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	for _, e := range entries {
		var n int
		if _, err := fmt.Sscanf(e.Name(), f.prefix+"%d.spool", &n); err != nil || e.Name() != f.name(n) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return f, fmt.Errorf("%w: %w", ErrSpool, err)
		}
	}
	return f, nil
}

func (f *spoolFiles) name(n int) string { return fmt.Sprintf("%s%06d.spool", f.prefix, n) }

// push writes a batch. In the room for the batch's header comes what pop needs.
func (f *spoolFiles) push(b *spoolBatch) error {
	last, err := f.last()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSpool, err)
	}
	data := b.buf[b.start-batchHeader:]
	b.putMeta(data)
	if _, err := last.WriteAt(data, last.size); err != nil {
		return fmt.Errorf("%w: %w", ErrSpool, err)
	}
	last.size += int64(len(data))
	f.bytes += int64(len(data))
	f.batches++
	return nil
}

// last returns the file to write to.
func (f *spoolFiles) last() (*spoolFile, error) {
	if n := len(f.files); n > 0 && f.files[n-1].size < spoolFileBytes {
		return f.files[n-1], nil
	}
	f.number++
	file, err := os.OpenFile(filepath.Join(f.dir, f.name(f.number)), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	f.files = append(f.files, &spoolFile{File: file})
	return f.files[len(f.files)-1], nil
}

// pop reads the oldest batch.
func (f *spoolFiles) pop(b *spoolBatch) error {
	file := f.files[0]
	if _, err := file.ReadAt(b.buf[:batchHeader], file.read); err != nil {
		return fmt.Errorf("%w: %w", ErrSpool, err)
	}
	n := b.setMeta(b.buf[:batchHeader])
	if int64(n) > file.size-file.read-batchHeader {
		return fmt.Errorf("%w: %s was changed", ErrSpool, file.Name())
	}
	if need := batchHeader + n; cap(b.buf) < need {
		b.buf = make([]byte, need)
	} else {
		b.buf = b.buf[:need]
	}
	if _, err := file.ReadAt(b.buf[batchHeader:], file.read+batchHeader); err != nil {
		return fmt.Errorf("%w: %w", ErrSpool, err)
	}
	file.read += int64(len(b.buf))
	f.bytes -= int64(len(b.buf))
	f.batches--
	if file.read == file.size {
		f.removeFirst()
	}
	return nil
}

func (f *spoolFiles) removeFirst() {
	file := f.files[0]
	f.files = f.files[1:]
	file.Close()
	os.Remove(file.Name())
}

// close removes all files.
func (f *spoolFiles) close() {
	for len(f.files) > 0 {
		f.removeFirst()
	}
}

func (b *spoolBatch) putMeta(p []byte) {
	binary.BigEndian.PutUint32(p, uint32(len(p)-batchHeader))
	binary.BigEndian.PutUint32(p[4:], uint32(b.count))
	binary.BigEndian.PutUint64(p[8:], b.first)
	binary.BigEndian.PutUint64(p[16:], b.last)
	binary.BigEndian.PutUint32(p[24:], b.era)
	binary.BigEndian.PutUint32(p[28:], uint32(b.gaps)<<3|bit(b.restart)<<2|bit(b.hole)<<1|bit(b.waited))
	binary.BigEndian.PutUint64(p[32:], uint64(b.began.UnixNano()))
	binary.BigEndian.PutUint64(p[40:], uint64(b.newest.UnixNano()))
}

// setMeta is the inverse of putMeta. It returns the length of the records.
func (b *spoolBatch) setMeta(p []byte) int {
	b.count = int(binary.BigEndian.Uint32(p[4:]))
	b.first, b.last = binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[16:])
	b.era = binary.BigEndian.Uint32(p[24:])
	flags := binary.BigEndian.Uint32(p[28:])
	b.gaps, b.restart, b.hole, b.waited = int(flags>>3), flags&4 != 0, flags&2 != 0, flags&1 != 0
	b.began = time.Unix(0, int64(binary.BigEndian.Uint64(p[32:])))
	b.newest = time.Unix(0, int64(binary.BigEndian.Uint64(p[40:])))
	return int(binary.BigEndian.Uint32(p))
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
