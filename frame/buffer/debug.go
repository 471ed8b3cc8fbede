//go:build tickwiredebug

package buffer

import "sync"

const poison = 0xDB

var (
	mu   sync.Mutex
	back = map[*Buffer]struct{}{} // the buffers that are in a pool, or were until the collector took them
)

func lend(b *Buffer) {
	mu.Lock()
	_, pooled := back[b]
	delete(back, b)
	mu.Unlock()
	if !pooled {
		return
	}
	for _, c := range b.B {
		if c != poison {
			panic("buffer: a buffer was written after Put")
		}
	}
}

func takeBack(b *Buffer) {
	mu.Lock()
	defer mu.Unlock()
	if _, twice := back[b]; twice {
		panic("buffer: a buffer was put twice")
	}
	back[b] = struct{}{}
	for i := range b.B {
		b.B[i] = poison
	}
}
