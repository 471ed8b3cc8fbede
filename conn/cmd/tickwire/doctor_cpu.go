package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// isWord reports whether s looks like a name from the kernel.
func isWord(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.") == ""
}

func checkGovernor(h *host, f *finding) {
	const name = "cpufreq/scaling_governor"
	good := h.each(f, name, func(cpu int) (string, error) {
		s, err := h.file(fmt.Sprintf("%s/cpu%d/%s", cpuDir, cpu, name))
		if err == nil && !isWord(s) {
			err = &garbage{"a governor", s}
		}
		return s, err
	})
	if slices.ContainsFunc(good, func(v perCPU) bool { return v.value != "performance" }) {
		f.better("A processor that has been idle is clocked down. The first messages of a burst are read at a low clock.",
			"sudo cpupower frequency-set -g performance",
			"echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
	}
	f.ok()
	if len(good) == 0 {
		f.explain("Without a frequency driver the firmware sets the clock, or the host of a virtual machine.")
	}
}

func checkTurbo(h *host, f *finding) {
	path, on := cpuDir+"/intel_pstate/no_turbo", int64(0)
	if !h.exists(path) {
		path, on = cpuDir+"/cpufreq/boost", 1
	}
	switch n, ok := h.number(f, path); {
	case !ok:
		f.explain("Without a frequency driver the firmware sets the clock, or the host of a virtual machine.")
	case n == on:
		f.ok()
	default:
		f.better("The processor does not go above its base clock.", fmt.Sprintf("echo %d | sudo tee %s", on, path))
	}
}

// An idle state with a longer wake-up time than this is too deep: a round trip takes some
// 25 µs.
const maxWake = 10 // µs

// noLimit is the value of /dev/cpu_dma_latency if no program has set a limit.
const noLimit = 2_000_000_000 // µs

func checkIdleStates(h *host, f *finding) {
	limit := h.wakeLimit(f)
	const driver = cpuDir + "/cpuidle/current_driver"
	if s, err := h.file(driver); err == nil && s == "none" {
		f.read(driver, s)
		f.explain("Without an idle driver an idle processor halts. On a virtual machine the hypervisor wakes it.",
			"sudo modprobe cpuidle_haltpoll force=1  # on KVM: polls before it halts", "in the program: conn.Config{Spin: 50 * time.Microsecond}")
		f.info()
		return
	}
	const name = "cpuidle/state*"
	deep := false
	h.each(f, name, func(cpu int) (string, error) {
		state, latency, err := h.deepest(fmt.Sprintf("%s/cpu%d/cpuidle", cpuDir, cpu), limit)
		if err != nil {
			return "", err
		}
		deep = deep || latency > maxWake
		return fmt.Sprintf("%s (%d µs to wake)", state, latency), nil
	})
	if deep {
		f.better("An idle processor takes this long to wake when a packet arrives.",
			fmt.Sprintf("sudo cpupower idle-set -D %d", maxWake),
			`sudo sh -c 'exec 3>/dev/cpu_dma_latency; printf "\0\0\0\0" >&3; sleep infinity'  # as long as it runs`)
	}
	f.ok()
}

// wakeLimit returns the longest allowed wake-up time in µs: a program sets it while it
// holds the device open.
func (h *host) wakeLimit(f *finding) uint64 {
	const path = "/dev/cpu_dma_latency"
	b, err := h.bytes(path)
	if err == nil && len(b) != 4 {
		err = &garbage{"4 bytes", string(b)}
	}
	if err != nil {
		f.Read = append(f.Read, reading{Path: path, Error: reason(err)})
		return noLimit
	}
	limit := uint64(binary.NativeEndian.Uint32(b))
	if limit >= noLimit {
		f.read(path, "no limit")
		return noLimit
	}
	f.read(path, fmt.Sprintf("%d µs", limit))
	return limit
}

// deepest returns the idle state with the longest wake-up time within the limit.
func (h *host) deepest(dir string, limit uint64) (name string, latency uint64, err error) {
	names, err := h.dir(dir)
	if err != nil {
		return "", 0, err
	}
	err = fs.ErrNotExist
	name = "none"
	for _, state := range names {
		if !strings.HasPrefix(state, "state") {
			continue
		}
		disabled, e := h.file(dir + "/" + state + "/disable")
		if e != nil && !errors.Is(e, fs.ErrNotExist) {
			return "", 0, e
		}
		text, e := h.file(dir + "/" + state + "/latency")
		if e != nil {
			return "", 0, e
		}
		n, e := strconv.ParseUint(text, 10, 32)
		if e != nil {
			return "", 0, &garbage{"a latency", text}
		}
		err = nil
		if disabled != "" && disabled != "0" || n > limit || n < latency {
			continue
		}
		if name, e = h.file(dir + "/" + state + "/name"); e != nil {
			name = state
		}
		latency = n
	}
	return name, latency, err
}

func checkSMT(h *host, f *finding) {
	h.more(f, cpuDir+"/smt/control")
	const name = "topology/thread_siblings_list"
	cores := map[string][]int{}
	h.each(f, name, func(cpu int) (string, error) {
		s, err := h.file(fmt.Sprintf("%s/cpu%d/%s", cpuDir, cpu, name))
		if err != nil {
			return "", err
		}
		list, err := parseList(s)
		if err == nil && !slices.Contains(list, cpu) {
			err = &garbage{"a list with the processor itself", s}
		}
		if err != nil {
			return "", err
		}
		cores[s] = list
		return map[bool]string{true: "shares its core", false: "alone on its core"}[len(list) > 1], nil
	})
	var shared []string
	for s, list := range cores {
		if len(list) > 1 {
			shared = append(shared, s)
		}
	}
	if len(shared) > 0 {
		slices.SortFunc(shared, func(a, b string) int { return cores[a][0] - cores[b][0] })
		f.better("Two threads of one core share its units and caches: one that spins slows the other. These share: "+
			strings.Join(shared[:min(4, len(shared))], "  ")+map[bool]string{true: "  and so on.", false: "."}[len(shared) > 4],
			"echo off | sudo tee /sys/devices/system/cpu/smt/control",
			fmt.Sprintf("taskset -c %d PROGRAM  # and leave its sibling idle", cores[shared[len(shared)-1]][0]))
	}
	f.ok()
}

func checkIsolated(h *host, f *finding) {
	path := cpuDir + "/isolated"
	s, err := h.file(path)
	if err == nil {
		_, err = parseList(s)
	}
	switch {
	case err != nil:
		f.failed(path, err)
	case s == "":
		f.read(path, "none")
		if online := h.online(); len(online) > 1 {
			last := online[len(online)-1]
			f.explain("The scheduler may run anything beside a thread that reads. On an isolated processor it runs only what is put there.",
				fmt.Sprintf("on the kernel's command line: isolcpus=managed_irq,domain,%d nohz_full=%[1]d rcu_nocbs=%[1]d", last),
				fmt.Sprintf("taskset -c %d PROGRAM  # after that", last))
		}
	default:
		f.read(path, s)
	}
	h.more(f, cpuDir+"/nohz_full")
	const status = "/proc/self/status"
	if s, err := h.file(status); err != nil {
		f.failed(status, err)
	} else {
		for line := range strings.Lines(s) {
			if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
				f.read(status, "Cpus_allowed_list "+list)
			}
		}
	}
	f.info()
}

// slowClocks are clock sources that need a system call, an I/O port or a device.
var slowClocks = []string{"hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies", "hyperv_clocksource_msr"}

// A clock reading that takes longer is a system call.
const maxClock = 250 * time.Nanosecond

func checkClockSource(h *host, f *finding) {
	const dir = "/sys/devices/system/clocksource/clocksource0"
	cost := h.clock()
	f.read("time.Now", cost.String())
	s, _ := h.word(f, dir+"/current_clocksource", false)
	available, _ := h.more(f, dir+"/available_clocksource")
	if slices.Contains(slowClocks, s) || cost > maxClock {
		remedy := "in the program: leave conn.Config.Timestamps and ReadTimeout out where they are not needed"
		if fields := strings.Fields(available); slices.Contains(fields, "tsc") && s != "tsc" {
			remedy = "echo tsc | sudo tee " + dir + "/current_clocksource"
		}
		f.better("Each time.Now is a slow call here: deadlines, stamps and keepalive read the clock.", remedy)
	}
	f.ok()
}

func checkHugePages(h *host, f *finding) {
	const dir = "/sys/kernel/mm/transparent_hugepage"
	enabled, _ := h.word(f, dir+"/enabled", true)
	defrag, _ := h.word(f, dir+"/defrag", true)
	if enabled != "never" && defrag == "always" {
		f.better("A page fault may stop to compact memory before it gets a huge page.",
			"echo defer+madvise | sudo tee "+dir+"/defrag")
	}
	if enabled == "always" {
		const path = dir + "/khugepaged/max_ptes_none"
		if n, ok := h.number(f, path); ok && n > 0 {
			f.better("Memory that Go has given back is made resident again, as part of huge pages.",
				"echo 0 | sudo tee "+path, "echo madvise | sudo tee "+dir+"/enabled")
		}
	}
	f.ok()
}

func checkHypervisor(h *host, f *finding) {
	const path = "/proc/cpuinfo"
	if s, err := h.file(path); err != nil {
		f.failed(path, err)
	} else {
		flag := "no flag \"hypervisor\""
		for line := range strings.Lines(s) {
			name, value, _ := strings.Cut(line, ":")
			if strings.TrimSpace(name) == "flags" && slices.Contains(strings.Fields(value), "hypervisor") {
				flag = "flag \"hypervisor\""
				f.explain("This is a virtual machine: some settings are its host's, and cannot be seen from here.")
				break
			}
		}
		f.read(path, flag)
	}
	for _, path := range []string{"/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name", "/sys/hypervisor/type"} {
		h.more(f, path)
	}
	f.info()
}

// A virtual machine that waits for a processor for a larger share of its time waits too
// often.
const maxSteal = 0.01

func checkSteal(h *host, f *finding) {
	const path = "/proc/stat"
	s, err := h.file(path)
	if err != nil {
		f.failed(path, err)
		return
	}
	line, _, _ := strings.Cut(s, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		f.failed(path, &garbage{"a line cpu with steal", line})
		return
	}
	// User, nice, system, idle, iowait, irq, softirq, steal. User and nice include the
	// time of guests.
	var all, steal float64
	for i, field := range fields[1:9] {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			f.failed(path, &garbage{"numbers", line})
			return
		}
		all += float64(n)
		if i == 7 {
			steal = float64(n)
		}
	}
	share := steal / max(all, 1)
	f.read(path, fmt.Sprintf("steal %.1f %% since boot", share*100))
	if share > maxSteal {
		f.better("The host of this virtual machine gave its processors to others meanwhile. Only a host with fewer guests helps.",
			"vmstat 5  # column st: whether it is so now")
	}
	f.ok()
}
