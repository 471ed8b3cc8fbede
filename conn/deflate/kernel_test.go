package deflate

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// randomCode returns lengths of a complete prefix code of n out of symbols symbols.
func randomCode(r *rand.Rand, symbols, n int) []uint8 {
	leaves := []uint8{1, 1}
	deep := r.IntN(2) == 0
	for len(leaves) < n {
		i := r.IntN(len(leaves))
		if deep {
			i = max(i, r.IntN(len(leaves)), r.IntN(len(leaves)))
		}
		if leaves[i] < codeBitsMax {
			leaves[i]++
			leaves = append(leaves, leaves[i])
		}
	}
	lens := make([]uint8, symbols)
	for i, s := range r.Perm(symbols)[:n] {
		lens[s] = leaves[i]
	}
	return lens
}

// randomCodes returns tables of which most lead to literals and matches, some to what is
// no symbol.
func randomCodes(t *testing.T, r *rand.Rand) *codes {
	c := new(codes)
	var sorted [litMax]uint32
	var ok bool
	lits := 2 + r.IntN(litMax-1)
	code := codeOf(nil, randomCode(r, litMax, lits))
	if c.litMask, ok = code.fill(c.lit[:], litEntries[:], litBitsMax, &sorted); !ok {
		t.Fatal("a complete code of literals was refused")
	}
	dists := randomCode(r, 32, 2+r.IntN(31))
	switch r.IntN(8) {
	case 0:
		clear(dists)
	case 1:
		clear(dists)
		dists[r.IntN(32)] = 1
	}
	code = codeOf(nil, dists)
	if c.distMask, ok = code.fill(c.dist[:], distEntries[:], distBitsMax, &sorted); !ok {
		t.Fatal("a code of distances was refused")
	}
	return c
}

// TestKernelEqualsGeneric gives every tier the same input, history and tables, right or
// wrong, between pages that must not be touched: what is written, what is left of the
// input and why the loop ended is what decodeGeneric says.
func TestKernelEqualsGeneric(t *testing.T) {
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		r := rand.New(rand.NewPCG(1, 2))
		input, output := asmtest.NewGuarded(t, 4096), asmtest.NewGuarded(t, 1<<14)
		var verdicts [4]int
		rounds := few(60_000)
		if testing.Short() {
			rounds /= 10
		}
		var c *codes
		for i := range rounds {
			if i%8 == 0 {
				c = randomCodes(t, r)
			}
			n := inputPad + r.IntN(200)
			if r.IntN(20) == 0 {
				n = inputPad + r.IntN(3000)
			}
			in := input.Tail(n)
			for k := range in {
				in[k] = byte(r.Uint32())
			}
			room := slack + 1 + r.IntN(output.Len()-slack-1)
			out := output.Tail(room)
			for k := range out {
				out[k] = byte(k * 7)
			}
			s := decoder{in: in, end: n - r.IntN(min(n, tailPad)), out: out, window: 1 << (8 + r.IntN(8)), codes: c, nb: uint(r.IntN(64))}
			s.ip = r.IntN(n - inputPad + 1)
			s.ip = min(s.ip, s.end)
			s.bits = r.Uint64() & (1<<s.nb - 1)
			s.op = r.IntN(room - slack)
			s.base = r.IntN(s.op + 1)
			if r.IntN(3) == 0 {
				s.base = 0
			}
			opEnd := s.op + 1 + r.IntN(room-slack-s.op)
			want := s
			want.out = bytes.Clone(out)
			wantVerdict := decodeGeneric(&want, opEnd)
			got := s
			verdict := got.decode(opEnd)
			verdicts[verdict]++
			if verdict != wantVerdict || got.ip != want.ip || got.op != want.op || got.bits != want.bits || got.nb != want.nb {
				t.Fatalf("round %d: verdict %d ip %d op %d bits %x of %d; by decodeGeneric %d ip %d op %d bits %x of %d",
					i, verdict, got.ip, got.op, got.bits, got.nb, wantVerdict, want.ip, want.op, want.bits, want.nb)
			}
			if !bytes.Equal(out[:got.op], want.out[:want.op]) {
				t.Fatalf("round %d: other bytes than decodeGeneric's", i)
			}
		}
		for v, n := range verdicts {
			if n == 0 {
				t.Errorf("verdict %d in none of %d rounds", v, rounds)
			}
		}
	})
}
