package asmtest

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// CheckAssembly reads amd64 assembly files and fails the test for each place that
// CheckSource finds.
func CheckAssembly(t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		functions, problems := CheckSource(string(text))
		if functions == 0 {
			t.Errorf("%s: no function found", file)
		}
		for _, p := range problems {
			t.Errorf("%s:%s", file, p)
		}
	}
}

// CheckSource follows every path through each function of an amd64 assembly file. It
// returns the number of functions, and each problem as "line: text".
//
// On some processors a legacy SSE instruction costs over 100 ns while the upper half of a
// YMM register is in use. So does a VEX instruction after it. The upper halves may be in
// use when a function is entered. The Go compiler puts a legacy instruction after every
// call of an assembly function. So on no path may
//   - a legacy vector instruction follow a VEX one without VZEROUPPER between, or a VEX
//     one a legacy one;
//   - a function be left, by RET or by a jump out of it, after a VEX instruction without
//     VZEROUPPER.
//
// Instructions that use only the vector registers 16 to 31 count as neither legacy nor
// VEX.
//
// Functions must also be NOSPLIT with a frame of 0. They must not call, and must not use
// macros, which CheckSource does not expand.
func CheckSource(text string) (functions int, problems []string) {
	var body []instruction
	finish := func() {
		if len(body) > 0 {
			functions++
			problems = append(problems, checkPaths(body)...)
		}
		body = nil
	}
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "//")
		if strings.HasPrefix(line, "#define") {
			problems = append(problems, fmt.Sprintf("%d: a macro", i+1))
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, part := range strings.Split(line, ";") {
			in := parse(part)
			in.line = i + 1
			switch {
			case in.op == "TEXT":
				finish()
				if !strings.Contains(part, "NOSPLIT") || !regexp.MustCompile(`\$0-\d+\s*$`).MatchString(part) {
					problems = append(problems, fmt.Sprintf("%d: not NOSPLIT with a frame of 0", i+1))
				}
			case in.op == "DATA" || in.op == "GLOBL" || in.op == "PCALIGN" || in.op == "" && in.label == "":
			default:
				body = append(body, in)
			}
		}
	}
	finish()
	return functions, problems
}

type instruction struct {
	line     int
	label    string
	op       string
	operands string
}

var labelled = regexp.MustCompile(`^\s*([\pL_][\pL\pN_]*):(.*)$`)

func parse(s string) (in instruction) {
	if m := labelled.FindStringSubmatch(s); m != nil {
		in.label, s = m[1], m[2]
	}
	in.op, in.operands, _ = strings.Cut(strings.TrimSpace(s), " ")
	if op, rest, ok := strings.Cut(in.op, "\t"); ok {
		in.op, in.operands = op, rest+" "+in.operands
	}
	return in
}

// What a path has done since its start or the last VZEROUPPER. The values are bits,
// because several paths can reach a place.
const (
	nothing = 1 << iota
	legacy
	vex
)

// The vector registers that legacy encodings have, and those above. An instruction that
// uses only the latter does not change the upper halves of the others, and does not wait
// for them.
var (
	low  = regexp.MustCompile(`\b[XYZ]([0-9]|1[0-5])\b`)
	high = regexp.MustCompile(`\b[XYZ](1[6-9]|2[0-9]|3[01])\b`)
)

var xmm = regexp.MustCompile(`\bX([0-9]|1[0-5])\b`)

// step returns the state after the instruction in, and the problem with reaching it in
// state s.
func (in instruction) step(s int) (after int, wrong string) {
	switch {
	case in.op == "VZEROUPPER" || in.op == "VZEROALL":
		return nothing, ""
	case strings.HasPrefix(in.op, "V") && in.op != "VERR" && in.op != "VERW":
		if high.MatchString(in.operands) && !low.MatchString(in.operands) {
			return s, ""
		}
		if s&legacy != 0 {
			wrong = "VEX instruction after a legacy SSE one"
		}
		return vex, wrong
	case xmm.MatchString(in.operands):
		if s&vex != 0 {
			wrong = "legacy SSE instruction after a VEX one"
		}
		return legacy, wrong
	case in.op == "CALL":
		return s, "a call"
	case in.leaves() && s&vex != 0:
		return s, "leaves the function without VZEROUPPER"
	}
	return s, ""
}

func (in instruction) leaves() bool {
	return in.op == "RET" || in.op == "JMP" && strings.Contains(in.operands, "(SB)")
}

// checkPaths carries states along all edges until nothing changes.
func checkPaths(body []instruction) (problems []string) {
	labels := map[string]int{}
	for i, in := range body {
		if in.label != "" {
			labels[in.label] = i
		}
	}
	states, reported := make([]int, len(body)), map[string]bool{}
	report := func(in instruction, wrong string) {
		p := fmt.Sprintf("%d: %s: %s %s", in.line, wrong, in.op, in.operands)
		if !reported[p] {
			reported[p] = true
			problems = append(problems, p)
		}
	}
	states[0] = nothing
	for work := []int{0}; len(work) > 0; {
		i := work[len(work)-1]
		work = work[:len(work)-1]
		in := body[i]
		after, wrong := in.step(states[i])
		if wrong != "" {
			report(in, wrong)
		}
		next, ok := in.next(i, labels)
		if !ok {
			report(in, "jump that is not understood")
		}
		for _, n := range next {
			if n >= len(body) {
				report(in, "runs off the end")
			} else if states[n]|after != states[n] {
				states[n] |= after
				work = append(work, n)
			}
		}
	}
	return problems
}

// next returns the instructions that can follow number i.
func (in instruction) next(i int, labels map[string]int) (next []int, ok bool) {
	if in.leaves() || in.op == "UNDEF" {
		return nil, true
	}
	if in.op == "" || in.op[0] != 'J' {
		return []int{i + 1}, true
	}
	target, ok := labels[strings.TrimSpace(in.operands)]
	if in.op == "JMP" {
		return []int{target}, ok
	}
	return []int{i + 1, target}, ok
}
