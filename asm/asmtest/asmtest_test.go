package asmtest

import (
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
)

// TestGuardsFault: the bytes next to guarded memory fault when touched, and its own bytes
// do not.
func TestGuardsFault(t *testing.T) {
	g := NewGuarded(t, 5000)
	if g.Len() < 5000 {
		t.Fatalf("Len() = %d", g.Len())
	}
	var sink byte
	for name, b := range map[string][]byte{"before": g.Before(), "after": g.After()} {
		if Protected && !Faults(func() { sink += b[0] }) {
			t.Errorf("a read of the byte %s does not fault", name)
		}
		if Protected && !Faults(func() { b[0] = 1 }) {
			t.Errorf("a write to the byte %s does not fault", name)
		}
	}
	for _, n := range []int{0, 1, 77, g.Len()} {
		for _, b := range [][]byte{g.Head(n), g.Tail(n)} {
			if len(b) != n || cap(b) != n {
				t.Errorf("len %d, cap %d, want %d", len(b), cap(b), n)
			}
			if Faults(func() {
				for i := range b {
					b[i]++
				}
			}) {
				t.Errorf("n=%d: the memory itself faults", n)
			}
		}
	}
	_ = sink
}

func TestCanaries(t *testing.T) {
	b := make([]byte, 600)
	Arm(b, 100, 500)
	if i := Touched(b, 100, 500); i != -1 {
		t.Fatalf("untouched: %d", i)
	}
	for _, i := range []int{0, 99, 500, 599} {
		b[i]++
		if got := Touched(b, 100, 500); got != i {
			t.Errorf("byte %d changed: found %d", i, got)
		}
		b[i]--
	}
	b[100]++
	if i := Touched(b, 100, 500); i != -1 {
		t.Errorf("a byte inside counts as outside: %d", i)
	}
}

func TestEachTierForces(t *testing.T) {
	var seen []asm.Tier
	before := asm.Active()
	EachTier(t, func(t *testing.T, tier asm.Tier) {
		if asm.Active() != tier {
			t.Errorf("active %v, want %v", asm.Active(), tier)
		}
		seen = append(seen, tier)
	})
	if len(seen) != len(asm.Available()) {
		t.Errorf("ran %v of %v", seen, asm.Available())
	}
	if asm.Active() != before {
		t.Errorf("left %v active, before it was %v", asm.Active(), before)
	}
}

func TestCheckSource(t *testing.T) {
	const text = "TEXT ·f(SB), NOSPLIT, $0-8\n"
	for _, c := range []struct {
		name, source, problem string
	}{
		{"plain", text + "\tMOVQ p+0(FP), AX\n\tRET\n", ""},
		{"legacy only", text + "\tMOVOU (AX), X0\n\tRET\n", ""},
		{"clean VEX", text + "\tVMOVDQU (AX), Y0\n\tVZEROUPPER\n\tRET\n", ""},
		{"no VZEROUPPER", text + "\tVMOVDQU (AX), Y0\n\tRET\n", "without VZEROUPPER"},
		{"no VZEROUPPER after 16 bytes", text + "\tVMOVDQU (AX), X0\n\tRET\n", "without VZEROUPPER"},
		{"tail call", text + "\tVMOVDQU (AX), Y0\n\tJMP ·g(SB)\n", "without VZEROUPPER"},
		{"one of two paths", text + "\tVMOVDQU (AX), Y0\n\tTESTQ AX, AX\n\tJEQ out\n\tVZEROUPPER\nout:\n\tRET\n", "without VZEROUPPER"},
		{"legacy inside", text + "\tVMOVDQU (AX), Y0\n\tMOVQ AX, X1\n\tVZEROUPPER\n\tRET\n", "legacy SSE instruction after"},
		{"legacy before", text + "\tMOVQ AX, X0\n\tVPBROADCASTD X0, Y0\n\tVZEROUPPER\n\tRET\n", "VEX instruction after"},
		{"around a loop", text + "loop:\n\tPXOR X0, X1\n\tVPXOR Y0, Y1, Y1\n\tJNE loop\n\tVZEROUPPER\n\tRET\n", "legacy SSE instruction after"},
		{"legacy on the other path", text + "\tJEQ other\n\tVPXOR Y0, Y1, Y1\n\tVZEROUPPER\n\tRET\nother:\n\tPXOR X0, X1\n\tRET\n", ""},
		{"registers above 15", text + "\tVPXORQ Z16, Z31, Z20\n\tKORTESTQ K1, K1\n\tRET\n", ""},
		{"registers above 15 and legacy", text + "\tMOVQ AX, X0\n\tVMOVDQU8.Z (AX), K1, Z16\n\tMOVQ X0, AX\n\tRET\n", ""},
		{"registers of both kinds", text + "\tVPXORQ Z16, Z15, Z16\n\tRET\n", "without VZEROUPPER"},
		{"a low register written", text + "\tVEXTRACTI32X4 $0, Z16, X3\n\tRET\n", "without VZEROUPPER"},
		{"call", text + "\tCALL ·g(SB)\n\tRET\n", "a call"},
		{"off the end", text + "\tMOVQ AX, BX\n", "runs off the end"},
		{"unknown label", text + "\tJMP nowhere\n", "not understood"},
		{"frame", "TEXT ·f(SB), NOSPLIT, $16-8\n\tRET\n", "frame of 0"},
		{"stack check", "TEXT ·f(SB), 0, $0-8\n\tRET\n", "NOSPLIT"},
		{"macro", "#define A(x) PXOR x, x\n" + text + "\tRET\n", "a macro"},
		{"comment", text + "\tVMOVDQU (AX), Y0 // MOVQ AX, X0\n\tVZEROUPPER\n\tRET // X0\n", ""},
	} {
		functions, problems := CheckSource(c.source)
		all := strings.Join(problems, "; ")
		if functions != 1 || (c.problem == "") != (all == "") || !strings.Contains(all, c.problem) {
			t.Errorf("%s: %d functions, problems %q, want %q", c.name, functions, all, c.problem)
		}
	}
}
