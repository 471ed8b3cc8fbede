// Command gate fails when the library has become slower, or allocates more, or calls the system more often.
//
//	GOWORK=off go -C bench run ./cmd/gate -base main
//	GOWORK=off go -C bench run ./cmd/gate -base HEAD~1 -quick
//	GOWORK=off go -C bench run ./cmd/gate              the exact part alone, against bench/baseline
//	GOWORK=off go -C bench run ./cmd/gate -update      writes bench/baseline
//
// With -base the library is built as it was at that revision and as it is now, both under the benchmark code as it is now.
// The two programs take turns. A case fails if it is more than 10 % slower and the difference is significant (p < 0.05 by the
// test that benchstat uses), or if its allocations or system calls have risen at all.
//
// Without a base the allocations and system calls are compared with those committed in bench/baseline/exact.json. Beside them
// bench/baseline has ratios of times per CPU model: a tier over the generic code, ours over memmove. Where there is a file for
// this CPU, a ratio that has become worse by more than a quarter fails.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "measure" {
		if err := measure(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "gate:", err)
			os.Exit(1)
		}
		return
	}
	ok, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gate:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func run() (ok bool, err error) {
	var (
		base   = flag.String("base", "", "`revision` to compare with")
		quick  = flag.Bool("quick", false, "fewer rounds")
		rounds = flag.Int("rounds", 0, "rounds, instead of 24 or, with -quick, 9")
		update = flag.Bool("update", false, "write bench/baseline from the library as it is")
	)
	flag.Parse()
	root, err := repository()
	if err != nil {
		return false, err
	}
	temp, err := os.MkdirTemp("", "gate")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(temp)
	n, layouts := 24, 6
	if *quick {
		n, layouts = 9, 3
	}
	if *base == "" || *update {
		layouts = 1
	}
	head, err := build(root, root, filepath.Join(temp, "head"), layouts)
	if err != nil {
		return false, err
	}
	if *update {
		return true, updateBaseline(root, head[0])
	}
	if *base == "" {
		return checkBaseline(root, head[0])
	}
	if *rounds > 0 {
		n = *rounds
	}
	tree := filepath.Join(temp, "tree")
	if err := command(root, "git", "worktree", "add", "--detach", tree, *base); err != nil {
		return false, err
	}
	defer command(root, "git", "worktree", "remove", "--force", tree)
	old, err := build(root, tree, filepath.Join(temp, "base"), layouts)
	if err != nil {
		fmt.Printf("the benchmark code does not build with the library at %s: nothing to compare with\n%v\n", *base, err)
		return checkBaseline(root, head[0])
	}
	return compare(old, head, n)
}

// build builds this command with the library in tree, and returns where the programs are. There are several: where the linker
// puts a loop is worth a quarter of its speed, and differs between any two programs, so each has its functions in an order of
// its own.
func build(root, tree, program string, layouts int) ([]string, error) {
	bench := filepath.Join(root, "bench")
	mod := program + ".mod"
	b, err := os.ReadFile(filepath.Join(bench, "go.mod"))
	if err != nil {
		return nil, err
	}
	sum, err := os.ReadFile(filepath.Join(bench, "go.sum"))
	if err != nil {
		return nil, err
	}
	replaced := strings.Replace(string(b), "tickwire => ../", "tickwire => "+tree, 1)
	if replaced == string(b) {
		return nil, fmt.Errorf("bench/go.mod does not replace the library by ../")
	}
	if err := os.WriteFile(mod, []byte(replaced), 0o666); err != nil {
		return nil, err
	}
	if err := os.WriteFile(program+".sum", sum, 0o666); err != nil {
		return nil, err
	}
	var programs []string
	for i := range layouts {
		one := fmt.Sprintf("%s.%d", program, i)
		if err := command(bench, "go", "build", "-modfile="+mod, fmt.Sprintf("-ldflags=-randlayout=%d", i+1), "-o", one, "./cmd/gate"); err != nil {
			return nil, err
		}
		programs = append(programs, one)
	}
	return programs, nil
}

func command(dir, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// repository returns the root of the checkout that holds the working directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "bench", "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s is not within the repository", dir)
		}
	}
}
