package scenario

import (
	"bufio"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The cases of kernels: KernelRows, and tables whose names end in KernelSizes.
const (
	KernelRows  = "ratios and their targets"
	KernelSizes = ", over sizes"
)

// kernels runs cmd/kernels, and takes its lines as results.
func kernels(p *Plan) error {
	args := []string{"run", "./cmd/kernels"}
	if p.Quick {
		args = append(args, "-limit", "2s", "-quick")
	}
	var sizes sizesTable
	for _, c := range []struct {
		name string
		args []string
		take func(*Plan, string) error
	}{
		{KernelRows, args, (*Plan).kernelRow},
		{"functions" + KernelSizes, append(args[:len(args):len(args)], "-sizes"), func(p *Plan, line string) error { return sizes.take(p, line) }},
	} {
		if !p.wants(c.name) || p.interrupted() || ProfileDir != "" {
			continue
		}
		start := time.Now()
		cmd := exec.Command("go", c.args...)
		cmd.Dir = p.Dir
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		lines := 0
		for scan := bufio.NewScanner(out); scan.Scan(); lines++ {
			if err := c.take(p, scan.Text()); err != nil {
				return err
			}
		}
		if err := cmd.Wait(); lines == 0 || err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(c.args, " "), err, said.String())
		}
		p.say("kernels/%s: %.1f s", c.name, time.Since(start).Seconds())
	}
	return nil
}

// kernelLine is a row of cmd/kernels: its name, the ratio, the bound and the aim.
var kernelLine = regexp.MustCompile(`^(.{62}) +([0-9.]+) (>=|<=) +([0-9.]+) +([0-9.]+)`)

func (p *Plan) kernelRow(line string) error {
	m := kernelLine.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	metrics := make(map[string]float64)
	for i, unit := range map[int]string{2: "ratio", 4: "at least", 5: "aim"} {
		v, err := strconv.ParseFloat(m[i], 64)
		if err != nil {
			return err
		}
		metrics[unit] = v
	}
	if m[3] == "<=" {
		metrics["at most"] = metrics["at least"]
		delete(metrics, "at least")
	}
	r := p.env
	r.Case, r.Entrant, r.Metrics = KernelRows, strings.TrimSpace(m[1]), metrics
	return p.Emit(r)
}

// sizesTable is what is known of the current table: its title and its head.
type sizesTable struct {
	title string
	names []string
}

var cell = regexp.MustCompile(`([0-9.]+) (ns|GB/s)`)

func (t *sizesTable) take(p *Plan, line string) error {
	if rest, ok := strings.CutPrefix(line, "bytes"); ok {
		t.names = strings.Fields(rest)
		return nil
	}
	cells := cell.FindAllStringSubmatchIndex(line, -1)
	if len(cells) == 0 {
		t.title, t.names = line, nil
		return nil
	}
	if len(cells) != len(t.names) {
		return nil
	}
	size := strings.TrimSpace(line[:cells[0][0]])
	for i, c := range cells {
		v, err := strconv.ParseFloat(line[c[2]:c[3]], 64)
		if err != nil {
			return err
		}
		r := p.env
		r.Case, r.Entrant = t.title+KernelSizes, t.names[i]
		r.Metrics = map[string]float64{size + ", " + line[c[4]:c[5]]: v}
		if err := p.Emit(r); err != nil {
			return err
		}
	}
	return nil
}
