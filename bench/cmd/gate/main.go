// Command gate fails if the library has become slower, allocates more, or makes more
// system calls.
//
//	GOWORK=off go -C bench run ./cmd/gate -base main
//	GOWORK=off go -C bench run ./cmd/gate -base HEAD~1 -quick
//	GOWORK=off go -C bench run ./cmd/gate -base main -run 'decode 200'
//	GOWORK=off go -C bench run ./cmd/gate           # against bench/baseline
//	GOWORK=off go -C bench run ./cmd/gate -update   # writes bench/baseline
//
// It counts the allocations and system calls of 10,000 messages. It fails if a count is
// higher than the one committed in bench/baseline/exact.json, or with -base, than that of
// the base.
//
// With -base it builds the library at that revision and at the current one, both with the
// current benchmark code. The two programs take turns. A case fails if it is more than 10
// % slower, and the difference is significant: p < 0.05 by benchstat's test. Both must
// show again in a second run of these cases, with other programs.
//
// Without a base it compares ratios of times with those in bench/baseline, if there is a
// file for this CPU. It also does so if the benchmark code does not build with the
// revision. A ratio is a tier over the generic code, or tickwire over memmove. It fails
// if it is worse by more than a quarter in each of three processes.
//
// The exit code is 1 if something is worse, and 2 if gate could not find out.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
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
		base    = flag.String("base", "", "`revision` to compare with")
		pattern = flag.String("run", "", "time only the cases that match the regular `expression`")
		quick   = flag.Bool("quick", false, "fewer rounds")
		rounds  = flag.Int("rounds", 0, "rounds, instead of 24 or, with -quick, 9")
		layouts = flag.Int("layouts", 0, "programs of each side, instead of 6 or, with -quick, 3")
		update  = flag.Bool("update", false, "write bench/baseline from the library as it is")
	)
	flag.Parse()
	if flag.NArg() > 0 {
		return false, fmt.Errorf("no argument is expected, got %q: the revision is -base's", flag.Args())
	}
	if _, err := regexp.Compile(*pattern); err != nil {
		return false, err
	}
	p := plan{pattern: *pattern, rounds: 24, layouts: 6, limit: 5 * time.Minute}
	if *quick {
		p.rounds, p.layouts, p.limit = 9, 3, 40*time.Second
	}
	if *rounds > 0 {
		p.rounds = *rounds
	}
	if *layouts > 0 {
		p.layouts = *layouts
	}
	root, err := repository()
	if err != nil {
		return false, err
	}
	temp, err := os.MkdirTemp("", "gate")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(temp)
	head := library{root, root, filepath.Join(temp, "head")}
	program, err := head.build(1, 1)
	if err != nil {
		return false, err
	}
	if *update {
		return true, updateBaseline(root, program[0])
	}
	counts, err := runChild[map[string]count](program[0], "exact")
	if err != nil {
		return false, err
	}
	if ok, err = checkExact(root, counts); err != nil {
		return false, err
	}
	if *base == "" {
		fast, err := checkRatios(root, program[0])
		return ok && fast, err
	}
	tree := filepath.Join(temp, "tree")
	if err := extract(root, *base, tree); err != nil {
		return false, err
	}
	better, err := compare(library{root, tree, filepath.Join(temp, "base")}, head, counts, *base, p)
	return ok && better, err
}

// compare compares the counts and times of head with those of base.
func compare(base, head library, counts map[string]count, name string, p plan) (ok bool, err error) {
	program, err := base.build(1, 1)
	if err != nil {
		fmt.Printf("\nthe benchmark code does not build with the library at %s: against what is committed\n%v\n", name, err)
		head, err := head.build(1, 1)
		if err != nil {
			return false, err
		}
		return checkRatios(base.root, head[0])
	}
	before, err := runChild[map[string]count](program[0], "exact")
	if err != nil {
		return false, err
	}
	fmt.Println()
	ok = judgeExact(name, before, counts)
	fast, err := compareTimes(base, head, p)
	return ok && fast, err
}

// library is the library at one revision, as a source tree.
type library struct {
	root    string // its benchmark code is used
	tree    string
	program string // path prefix of the programs
}

// build builds this command with the library, and returns the paths of several programs.
// The place of a loop in a program changes its speed by up to a quarter. So each program
// has its functions in another order, given by numbers from first on.
func (l library) build(first, layouts int) ([]string, error) {
	bench := filepath.Join(l.root, "bench")
	mod := l.program + ".mod"
	b, err := os.ReadFile(filepath.Join(bench, "go.mod"))
	if err != nil {
		return nil, err
	}
	sum, err := os.ReadFile(filepath.Join(bench, "go.sum"))
	if err != nil {
		return nil, err
	}
	replaced := strings.Replace(string(b), "tickwire => ../", "tickwire => "+l.tree, 1)
	if replaced == string(b) {
		return nil, fmt.Errorf("bench/go.mod does not replace the library by ../")
	}
	if err := os.WriteFile(mod, []byte(replaced), 0o666); err != nil {
		return nil, err
	}
	if err := os.WriteFile(l.program+".sum", sum, 0o666); err != nil {
		return nil, err
	}
	var programs []string
	for i := range layouts {
		layout := first + i
		one := fmt.Sprintf("%s.%d", l.program, layout)
		if _, err := os.Stat(one); err != nil {
			if err := command(bench, "go", "build", "-trimpath", "-modfile="+mod, fmt.Sprintf("-ldflags=-randlayout=%d", layout), "-o", one, "./cmd/gate"); err != nil {
				return nil, err
			}
		}
		programs = append(programs, one)
	}
	return programs, nil
}

// extract writes the files of a revision into a new directory.
func extract(root, revision, dir string) error {
	if err := os.Mkdir(dir, 0o777); err != nil {
		return err
	}
	if err := command(root, "git", "archive", "-o", dir+".tar", revision); err != nil {
		return err
	}
	return command(dir, "tar", "-xf", dir+".tar")
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

// repository returns the root of the checkout around the working directory.
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
