package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

const doctorAbout = "print which settings of this host cost latency or throughput, and how to change them; " +
	"changes nothing, and findings are no failure"

// A verdict is the result of a check. JSON has the same words.
type verdict string

const (
	verdictOK     verdict = "ok"
	verdictBetter verdict = "could be better"
	verdictInfo   verdict = "information"
	verdictUnread verdict = "could not be read"
)

// A finding is the output of a check. The JSON names are for programs and must not
// change.
type finding struct {
	Check     string    `json:"check"`
	Interface string    `json:"interface,omitempty"` // the network interface of the check, if any
	Verdict   verdict   `json:"verdict"`
	Read      []reading `json:"read"`
	Why       string    `json:"why,omitempty"`
	Remedy    []string  `json:"remedy,omitempty"` // commands, or settings of the program
}

// A reading is a value and where it was read, or why it could not be read. A summary over
// many processors may have both.
type reading struct {
	Path  string `json:"path"`
	Value string `json:"value"`
	Error string `json:"error,omitempty"`
}

// read records a value.
func (f *finding) read(path, value string) {
	f.Read = append(f.Read, reading{Path: path, Value: oneValue(value)})
}

// failed records that a required value could not be read.
func (f *finding) failed(path string, err error) {
	f.Read = append(f.Read, reading{Path: path, Error: reason(err)})
	if f.Verdict != verdictBetter {
		f.Verdict = verdictUnread
	}
}

// ok and info set the verdict, unless failed has: then a required value is missing.
func (f *finding) ok()   { f.settle(verdictOK) }
func (f *finding) info() { f.settle(verdictInfo) }

func (f *finding) settle(v verdict) {
	if f.Verdict == "" {
		f.Verdict = v
	}
}

// better says what should be changed, and how. It overrides failed: a bad value is bad,
// whatever else could not be read.
func (f *finding) better(why string, remedy ...string) {
	f.Verdict = verdictBetter
	f.explain(why, remedy...)
}

// explain adds a reason and remedies to a finding.
func (f *finding) explain(why string, remedy ...string) {
	if f.Why != "" && why != "" {
		f.Why += " "
	}
	f.Why += why
	f.Remedy = append(f.Remedy, remedy...)
}

// A check inspects one property of the host.
type check struct {
	name   string
	run    func(*host, *finding)
	of     func(h *host, f *finding, name string) // instead of run: called for each network interface
	always bool                                   // works on every system
}

// checks returns all checks, in the order of the output.
func checks() []check {
	return []check{
		{name: "tier", run: checkTier, always: true},
		{name: "gomaxprocs", run: checkMaxProcs, always: true},
		{name: "gomemlimit", run: checkMemLimit},
		{name: "open_files", run: checkOpenFiles},
		{name: "hypervisor", run: checkHypervisor},
		{name: "steal", run: checkSteal},
		{name: "governor", run: checkGovernor},
		{name: "turbo", run: checkTurbo},
		{name: "idle_states", run: checkIdleStates},
		{name: "smt", run: checkSMT},
		{name: "isolated_cpus", run: checkIsolated},
		{name: "clocksource", run: checkClockSource},
		{name: "huge_pages", run: checkHugePages},
		{name: "rmem_max", run: checkReceiveMax},
		{name: "tcp_rmem", run: checkReceiveTCP},
		{name: "rmem_default", run: checkReceiveDefault},
		{name: "receive_drops", run: checkReceiveDrops},
		{name: "softnet", run: checkSoftnet},
		{name: "busy_poll", run: checkBusyPoll},
		{name: "busy_read", run: checkBusyRead},
		{name: "quick_ack", run: checkQuickAck},
		{name: "autocorking", run: checkAutocorking},
		{name: "slow_start_idle", run: checkSlowStart},
		{name: "receive_stamps", run: checkStamps},
		{name: "interfaces", run: checkInterfaces},
		{name: "speed", of: checkSpeed},
		{name: "gro", of: checkGRO},
		{name: "coalescing", of: checkCoalescing},
		{name: "rps", of: checkRPS},
		{name: "interrupts", of: checkInterrupts},
	}
}

// runDoctor prints which settings of this host cost latency or throughput.
func runDoctor(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("doctor")
	asJSON := flags.Bool("json", false, "print one JSON object per finding, each on a line of its own")
	if _, err := parse(flags, std, args, 0); err != nil {
		return err
	}
	findings, err := examine(ctx, thisHost())
	if err != nil {
		return err
	}
	text := table(findings)
	if *asJSON {
		text = jsonLines(findings)
	}
	std.out.Write(text) // execute reports an error
	return nil
}

// examine runs all checks on a host.
func examine(ctx context.Context, h *host) ([]finding, error) {
	var findings []finding
	var names []string
	if h.goos == "linux" {
		names = h.interfaces()
	}
	for _, c := range checks() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		switch {
		case h.goos != "linux" && !c.always:
			findings = append(findings, finding{Check: c.name, Verdict: verdictUnread, Read: []reading{},
				Why: fmt.Sprintf("This check reads Linux only; this is %s.", h.goos)})
		case c.of != nil && len(names) == 0:
			findings = append(findings, finding{Check: c.name, Verdict: verdictUnread, Read: []reading{},
				Why: "No interface to look at; see interfaces."})
		case c.of != nil:
			for _, name := range names {
				f := finding{Check: c.name, Interface: name, Read: []reading{}}
				c.of(h, &f, name)
				findings = append(findings, f)
			}
		default:
			f := finding{Check: c.name, Read: []reading{}}
			c.run(h, &f)
			findings = append(findings, f)
		}
	}
	return findings, nil
}

func jsonLines(findings []finding) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // remedies contain < and >
	for _, f := range findings {
		e.Encode(f) // only strings, into memory: no error
	}
	return b.Bytes()
}

// table has three columns: the check, its verdict, and the values read. A value that is
// too long for its column goes below, as do reasons and remedies.
func table(findings []finding) []byte {
	first := len("CHECK")
	for _, f := range findings {
		first = max(first, utf8.RuneCountInString(f.title()))
	}
	const second = len(verdictUnread)
	var b bytes.Buffer
	row := func(check string, v verdict, text string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s  %-*s  %s", first, check, second, v, cli.Printable(text)), " "))
		b.WriteByte('\n')
	}
	row("CHECK", "VERDICT", "READ")
	count := map[verdict]int{}
	for _, f := range findings {
		count[f.Verdict]++
		title, v := f.title(), f.Verdict
		for _, line := range f.values() {
			if first+second+4+utf8.RuneCountInString(cli.Printable(line)) <= cli.Columns {
				row(title, v, line)
			} else {
				if title != "" {
					row(title, v, "")
				}
				hanging(&b, "", line)
			}
			title, v = "", ""
		}
		if title != "" {
			row(title, v, "")
		}
		hanging(&b, "why:    ", f.Why)
		for _, text := range f.Remedy {
			b.WriteString("    remedy: " + cli.Printable(text) + "\n") // a command: copied whole, it works
		}
	}
	fmt.Fprintf(&b, "\n%d checks: %d ok, %d could be better, %d information, %d could not be read\n",
		len(findings), count[verdictOK], count[verdictBetter], count[verdictInfo], count[verdictUnread])
	if count[verdictBetter] > 0 {
		b.WriteString("Nothing was changed. What sysctl -w and tee set lasts until the next boot;\n/etc/sysctl.d keeps it.\n")
	}
	return b.Bytes()
}

// hanging writes text below the first column, after a label.
func hanging(b *bytes.Buffer, label, text string) {
	const indent = "    "
	for i, line := range cli.Wrap(cli.Printable(text), cli.Columns-len(indent)-len(label)) {
		if i > 0 {
			label = strings.Repeat(" ", len(label))
		}
		b.WriteString(indent + label + line + "\n")
	}
}

// title returns the check's name and its interface.
func (f *finding) title() string {
	return strings.TrimSpace(f.Check + " " + oneValue(f.Interface))
}

// values returns the third column.
func (f *finding) values() []string {
	var lines []string
	for _, r := range f.Read {
		switch {
		case r.Error == "":
			lines = append(lines, r.Path+" = "+r.Value)
		case r.Value == "":
			lines = append(lines, r.Path+": "+r.Error)
		default:
			lines = append(lines, r.Path+" = "+r.Value+"; "+r.Error)
		}
	}
	return lines
}
