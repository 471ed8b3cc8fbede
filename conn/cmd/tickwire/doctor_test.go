package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
	"unicode"

	"github.com/seed-7f57ff33/tickwire/asm"
)

// A tree is a made-up root. Some of its files cannot be opened.
type tree struct {
	fstest.MapFS
	fail map[string]error
}

func (t *tree) refuse(op, name string) error {
	err := t.fail["/"+name]
	if err == nil {
		err = t.fail["*"]
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (t *tree) Open(name string) (fs.File, error) {
	if err := t.refuse("open", name); err != nil {
		return nil, err
	}
	return t.MapFS.Open(name)
}

func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := t.refuse("open", name); err != nil {
		return nil, err
	}
	return t.MapFS.ReadDir(name)
}

// set gives files their contents. "-" deletes one, or a whole folder.
func (t *tree) set(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		name := strings.TrimPrefix(pairs[i], "/")
		if pairs[i+1] == "-" {
			maps.DeleteFunc(t.MapFS, func(k string, _ *fstest.MapFile) bool { return k == name || strings.HasPrefix(k, name+"/") })
			continue
		}
		t.MapFS[name] = &fstest.MapFile{Data: []byte(pairs[i+1]), Mode: 0o444}
	}
}

// goodHost has nothing to mend, and everything can be read.
func goodHost() (*host, *tree) { return hostOf(16) }

func hostOf(cpus int) (*host, *tree) {
	t := &tree{fstest.MapFS{}, map[string]error{}}
	t.set("/sys/devices/system/cpu/online", fmt.Sprintf("0-%d\n", cpus-1), "/sys/devices/system/cpu/isolated", "14-15\n", "/sys/devices/system/cpu/nohz_full", "14-15\n",
		"/sys/devices/system/cpu/smt/control", "off\n", "/sys/devices/system/cpu/cpufreq/boost", "1\n",
		"/sys/devices/system/cpu/cpuidle/current_driver", "intel_idle\n", "/dev/cpu_dma_latency", "\x00\x94\x35\x77")
	for cpu := range cpus {
		dir := fmt.Sprintf("/sys/devices/system/cpu/cpu%d", cpu)
		t.set(dir+"/cpufreq/scaling_governor", "performance\n", dir+"/topology/thread_siblings_list", fmt.Sprintln(cpu))
		for i, state := range []string{"POLL 0 0", "C1 2 0", "C6 133 1"} {
			f := strings.Fields(state)
			s := fmt.Sprintf("%s/cpuidle/state%d/", dir, i)
			t.set(s+"name", f[0]+"\n", s+"latency", f[1]+"\n", s+"disable", f[2]+"\n")
		}
	}
	t.set("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n",
		"/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm \n",
		"/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n",
		"/sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never\n",
		"/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none", "0\n",
		"/sys/class/dmi/id/sys_vendor", "Maker\n", "/sys/class/dmi/id/product_name", "Box\n",
		"/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx2\n",
		"/proc/stat", "cpu  900 0 50 5000 0 0 0 10 0 0\ncpu0 1 2 3\n",
		"/proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-15\n",
		"/proc/self/limits", "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1048576              1048576              files     \n",
		"/proc/self/cgroup", "0::/app.slice/feed\n",
		"/proc/self/mountinfo", "22 27 0:21 / /proc rw - proc proc rw\n41 31 0:38 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n",
		"/sys/fs/cgroup/app.slice/feed/cpu.max", "max 100000\n", "/sys/fs/cgroup/app.slice/cpu.max", "max 100000\n",
		"/sys/fs/cgroup/app.slice/feed/cpu.stat", "usage_usec 5\nnr_throttled 0\n",
		"/sys/fs/cgroup/app.slice/feed/memory.max", "max\n", "/sys/fs/cgroup/app.slice/feed/memory.high", "max\n",
		"/proc/net/netstat", "TcpExt: DelayedACKs RcvPruned TCPRcvQDrop TCPBacklogDrop TCPZeroWindowDrop\nTcpExt: 7 0 0 0 0\nIpExt: A\nIpExt: 1\n",
		"/proc/net/softnet_stat", "0000ffff 00000000 00000000 00000000\n0000ffff 00000000 00000001 00000000\n",
		"/proc/interrupts", "      CPU0 CPU1\n 38:  1  5  PCI-MSIX-0000:00:03.0  1-edge  virtio2-input.0\n 39:  9  1  PCI-MSIX-0000:00:03.0  2-edge  virtio2-output.0\n"+
			" 40:  99  99  PCI-MSIX-0000:00:04.0  2-edge  virtio23-input.0\nNMI:  0  0  eth0\n",
		"/proc/irq/38/effective_affinity_list", "1\n", "/proc/irq/39/smp_affinity_list", "0\n",
	)
	for name, value := range map[string]string{
		"core/rmem_max": "8388608", "core/rmem_default": "212992", "core/busy_poll": "50", "core/busy_read": "50", "core/netdev_max_backlog": "1000",
		"core/netdev_budget": "300", "core/netdev_tstamp_prequeue": "1", "ipv4/tcp_rmem": "4096\t131072\t33554432", "ipv4/tcp_moderate_rcvbuf": "1",
		"ipv4/tcp_window_scaling": "1", "ipv4/tcp_autocorking": "0", "ipv4/tcp_slow_start_after_idle": "0",
	} {
		t.set("/proc/sys/net/"+name, value+"\n")
	}
	t.set("/sys/class/net/lo/operstate", "unknown\n", "/sys/class/net/lo/type", "772\n", "/sys/class/net/bonding_masters", "\n",
		"/sys/class/net/docker0/operstate", "up\n", "/sys/class/net/eth1/operstate", "down\n", "/sys/class/net/eth1/device/vendor", "x\n",
		"/sys/devices/virtio2/vendor", "x\n")
	t.MapFS["sys/class/net/eth0/device"] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("../../../devices/virtio2")}
	for name, value := range map[string]string{"operstate": "up", "type": "1", "carrier": "1", "speed": "10000", "duplex": "full",
		"gro_flush_timeout": "0", "queues/rx-0/rps_cpus": "0000,00000000", "queues/rx-1/rps_cpus": "0000,00000000", "queues/tx-0/xps_cpus": "ff"} {
		t.set("/sys/class/net/eth0/"+name, value+"\n")
	}
	return &host{
		root: t, goos: "linux", goarch: "amd64", maxProcs: 16, cpus: 16, memLimit: math.MaxInt64, cpu: "CPU",
		available: []asm.Tier{asm.Generic, asm.SSE2, asm.SSSE3, asm.AVX2}, active: asm.AVX2, clock: func() time.Duration { return 40 },
		kernel: kernel{
			gro:      func(string) (bool, error) { return true, nil },
			coalesce: func(string) (coalescing, error) { return coalescing{usecs: 3, frames: 1}, nil },
			stamps:   func() error { return nil },
			routes:   func() (int, int, error) { return 3, 3, nil },
		},
	}, t
}

// look returns the findings on a host, and stops the test if one of them is not whole.
func look(t *testing.T, h *host) []finding {
	t.Helper()
	findings, err := examine(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		reasons := f.Why
		for _, r := range f.Read {
			reasons += r.Error
			if r.Path == "" || r.Value == "" && r.Error == "" && f.Verdict != verdictInfo && f.Verdict != verdictOK {
				t.Errorf("%s: an empty reading in %+v", f.title(), f)
			}
		}
		switch {
		case !slices.Contains([]verdict{verdictOK, verdictBetter, verdictInfo, verdictUnread}, f.Verdict):
			t.Errorf("%s: verdict %q", f.title(), f.Verdict)
		case f.Verdict == verdictBetter && f.Why == "", f.Verdict == verdictUnread && reasons == "":
			t.Errorf("%s: no reason in %+v", f.title(), f)
		case f.Verdict == verdictOK && f.Why+strings.Join(f.Remedy, "") != "":
			t.Errorf("%s: ok, with words: %+v", f.title(), f)
		}
	}
	return findings
}

func find(t *testing.T, findings []finding, title string) finding {
	t.Helper()
	for _, f := range findings {
		if f.title() == title {
			return f
		}
	}
	t.Fatalf("no finding %q", title)
	return finding{}
}

func TestDoctorFindsNothingToMend(t *testing.T) {
	h, _ := goodHost()
	var titles []string
	for _, f := range look(t, h) {
		titles = append(titles, f.title())
		if want := slices.Contains([]string{"hypervisor", "isolated_cpus", "rmem_default", "interfaces", "interrupts eth0"}, f.title()); (f.Verdict == verdictInfo) != want ||
			!want && f.Verdict != verdictOK {
			t.Errorf("%+v", f)
		}
	}
	if len(titles) != len(checks()) || len(slices.Compact(slices.Sorted(slices.Values(titles)))) != len(titles) {
		t.Errorf("%q", titles)
	}
}

// Each finding, by what is changed of the good host.
func TestDoctorFindings(t *testing.T) {
	const cpu, net = "/sys/devices/system/cpu/", "/sys/class/net/eth0/"
	const core, ipv4 = "/proc/sys/net/core/", "/proc/sys/net/ipv4/"
	const group = "/sys/fs/cgroup/app.slice/feed/"
	denied := func(paths ...string) func(*host, *tree) {
		return func(_ *host, t *tree) {
			for _, p := range paths {
				t.fail[p] = fs.ErrPermission
			}
		}
	}
	on := func(f func(*host)) func(*host, *tree) { return func(h *host, _ *tree) { f(h) } }
	v1 := []string{"/proc/self/cgroup", "4:memory:/a b/c\n1:cpu,cpuacct:/a b/c\n0::/\n",
		"/proc/self/mountinfo", "1 2 0:2 / /cg/u rw - cgroup2 cgroup2 rw\n1 2 0:1 /a\\040b /cg/c rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n1 2 0:3 / /cg/m rw - cgroup x rw,memory\n"}
	for _, test := range []struct {
		title, name string
		set         []string
		change      func(*host, *tree)
		want        verdict
		lines       []string // of the third column, each a part of one
	}{
		{"tier", "lowered", nil, on(func(h *host) { h.active, h.wish = asm.SSE2, "sse2" }), verdictBetter,
			[]string{"active kernels = sse2", "TICKWIRE_TIER = sse2", "remedy: unset TICKWIRE_TIER"}},
		{"tier", "a wish without effect", nil, on(func(h *host) { h.wish = "x\x1b[2J" }), verdictOK, []string{`TICKWIRE_TIER = x\x1b[2J`}},
		{"tier", "purego", nil, on(func(h *host) { h.available, h.active = []asm.Tier{asm.Generic}, asm.Generic }), verdictBetter, []string{"without -tags purego"}},
		{"tier", "no kernels for it", nil, on(func(h *host) { h.goarch, h.available, h.active = "riscv64", []asm.Tier{asm.Generic}, asm.Generic }), verdictOK, []string{"kernels = generic"}},
		{"tier", "no AVX2", nil, on(func(h *host) { h.available, h.active = h.available[:3], asm.SSSE3 }), verdictBetter, []string{"no AVX2", "avx2 /proc/cpuinfo"}},
		{"tier", "NEON", nil, on(func(h *host) { h.goarch, h.available, h.active = "arm64", []asm.Tier{asm.Generic, asm.NEON}, asm.NEON }), verdictOK, []string{"neon"}},

		{"gomaxprocs", "quota", []string{group + "cpu.max", "150000 100000\n"}, nil, verdictBetter,
			[]string{"GOMAXPROCS = 16", group + "cpu.max = 150000 100000", "may use 1.5 processors", "remedy: export GOMAXPROCS=1", "echo max 100000 | sudo tee " + group + "cpu.max"}},
		{"gomaxprocs", "quota of a group above", []string{"/sys/fs/cgroup/app.slice/cpu.max", "400000 100000\n", group + "cpu.max", "800000 100000\n"}, nil, verdictBetter,
			[]string{"may use 4 processors", "GOMAXPROCS=4", "tee /sys/fs/cgroup/app.slice/cpu.max"}},
		{"gomaxprocs", "quota of less than one", []string{group + "cpu.max", "50000 100000\n"}, on(func(h *host) { h.maxProcs, h.cpus = 1, 1 }), verdictBetter, []string{"may use 0.5 processors"}},
		{"gomaxprocs", "quota that is enough", []string{group + "cpu.max", "1600000 100000\n"}, nil, verdictOK, []string{"cpu.max = 1600000 100000"}},
		{"gomaxprocs", "throttled", []string{group + "cpu.stat", "nr_periods 9\nnr_throttled 4\n"}, nil, verdictBetter, []string{"cpu.stat = nr_throttled 4"}},
		{"gomaxprocs", "garbage", []string{group + "cpu.max", "many"}, nil, verdictUnread, []string{`cpu.max: want a quota and a period, got "many"`}},
		{"gomaxprocs", "no period", []string{group + "cpu.max", "5 0"}, nil, verdictUnread, []string{"want a quota"}},
		{"gomaxprocs", "denied", nil, denied(group + "cpu.max"), verdictUnread, []string{"cpu.max: permission denied"}},
		{"gomaxprocs", "denied, but bad above", []string{"/sys/fs/cgroup/app.slice/cpu.max", "100000 100000"}, denied(group + "cpu.max"), verdictBetter, []string{"permission denied", "GOMAXPROCS=1"}},
		{"gomaxprocs", "the root group", []string{"/proc/self/cgroup", "0::/"}, nil, verdictOK, []string{"/sys/fs/cgroup/cpu.max = no limit"}},
		{"gomaxprocs", "outside of the namespace", []string{"/proc/self/cgroup", "0::/../../x", "/sys/fs/cgroup/cpu.max", "100000 100000"}, nil, verdictBetter, []string{"tee /sys/fs/cgroup/cpu.max"}},
		{"gomaxprocs", "no groups", []string{"/proc/self/cgroup", "-"}, nil, verdictUnread, []string{"/proc/self/cgroup: not there"}},
		{"gomaxprocs", "no mount", []string{"/proc/self/mountinfo", "nonsense\n - \n"}, nil, verdictUnread, []string{"no control group with cpu is mounted"}},
		{"gomaxprocs", "no mounts", []string{"/proc/self/mountinfo", "-"}, nil, verdictUnread, []string{"mountinfo: not there"}},
		{"gomaxprocs", "version 1", append([]string{"/cg/c/c/cpu.cfs_quota_us", "-1", "/cg/c/c/cpu.cfs_period_us", "100000", "/cg/c/cpu.cfs_quota_us", "250000", "/cg/c/cpu.cfs_period_us", "100000"}, v1...),
			nil, verdictBetter, []string{"/cg/c/cpu.cfs_quota_us = 250000 100000", "may use 2.5", "GOMAXPROCS=2", "echo -1 | sudo tee /cg/c/cpu.cfs_quota_us"}},
		{"gomaxprocs", "version 1 without a limit", append([]string{"/cg/c/c/cpu.cfs_quota_us", "-1", "/cg/c/c/cpu.cfs_period_us", "100000"}, v1...), nil, verdictOK, []string{"/cg/c/c/cpu.cfs_quota_us = no limit"}},
		{"gomaxprocs", "version 1 without a period", append([]string{"/cg/c/c/cpu.cfs_quota_us", "5"}, v1...), nil, verdictUnread, []string{"not there"}},
		{"gomaxprocs", "too many", nil, on(func(h *host) { h.maxProcs = 32 }), verdictBetter, []string{"unset GOMAXPROCS"}},
		{"gomaxprocs", "fewer", nil, on(func(h *host) { h.maxProcs = 4 }), verdictInfo, []string{"GOMAXPROCS = 4", "NumCPU = 16"}},

		{"gomemlimit", "unknown to Go", []string{group + "memory.max", "1000000000"}, nil, verdictBetter, []string{"memory.max = 1000000000", "export GOMEMLIMIT=900000000"}},
		{"gomemlimit", "above", []string{group + "memory.max", "1000000000"}, on(func(h *host) { h.memLimit = 1000000001 }), verdictBetter, []string{"GOMEMLIMIT = 1000000001", "more memory than"}},
		{"gomemlimit", "below", []string{group + "memory.max", "1000000000"}, on(func(h *host) { h.memLimit = 900000000 }), verdictOK, []string{"GOMEMLIMIT = 900000000"}},
		{"gomemlimit", "high", []string{group + "memory.high", "2000", "/sys/fs/cgroup/app.slice/memory.max", "3000"}, nil, verdictBetter, []string{"GOMEMLIMIT=1800"}},
		{"gomemlimit", "garbage", []string{group + "memory.max", "lots"}, nil, verdictUnread, []string{`want a number, got "lots"`}},
		{"gomemlimit", "negative", []string{group + "memory.max", "-5"}, nil, verdictUnread, []string{`want a limit, got "-5"`}},
		{"gomemlimit", "denied", nil, denied(group + "memory.high"), verdictUnread, []string{"memory.high: permission denied"}},
		{"gomemlimit", "version 1", append([]string{"/cg/m/a b/c/memory.limit_in_bytes", "1000", "/cg/m/a b/memory.limit_in_bytes", "500"}, v1...), nil, verdictBetter, []string{"GOMEMLIMIT=450"}},
		{"gomemlimit", "version 1 without a limit", append([]string{"/cg/m/a b/c/memory.limit_in_bytes", "9223372036854771712"}, v1...), nil, verdictOK, []string{"= no limit"}},

		{"open_files", "few", []string{"/proc/self/limits", "Max open files            1024    4096   files\n"}, nil, verdictBetter, []string{"Max open files 1024", "--nofile=65536:65536", "LimitNOFILE=65536"}},
		{"open_files", "unlimited", []string{"/proc/self/limits", "Max open files  unlimited unlimited files\n"}, nil, verdictOK, []string{"unlimited"}},
		{"open_files", "garbage", []string{"/proc/self/limits", "Max open files  x y\n"}, nil, verdictUnread, []string{`want a number, got "x"`}},
		{"open_files", "other", []string{"/proc/self/limits", "Max cpu time  unlimited\n"}, nil, verdictUnread, []string{"Max open files"}},
		{"open_files", "denied", nil, denied("/proc/self/limits"), verdictUnread, []string{"permission denied; try as root"}},

		{"hypervisor", "virtual", []string{"/proc/cpuinfo", "processor : 0\nflags\t\t: fpu hypervisor avx\n", "/sys/hypervisor/type", "xen\n"}, nil, verdictInfo,
			[]string{`/proc/cpuinfo = flag "hypervisor"`, "sys_vendor = Maker", "/sys/hypervisor/type = xen", "virtual machine"}},
		{"hypervisor", "real", nil, nil, verdictInfo, []string{`no flag "hypervisor"`, "product_name = Box"}},
		{"hypervisor", "not told", []string{"/proc/cpuinfo", "-"}, nil, verdictUnread, []string{"/proc/cpuinfo: not there"}},
		{"hypervisor", "denied in part", nil, denied("/sys/class/dmi/id/sys_vendor"), verdictInfo, []string{"sys_vendor: permission denied"}},

		{"steal", "much", []string{"/proc/stat", "cpu 100 0 0 800 0 0 0 100 0 0\n"}, nil, verdictBetter, []string{"steal 10.0 %", "vmstat"}},
		{"steal", "nothing yet", []string{"/proc/stat", "cpu 0 0 0 0 0 0 0 0\n"}, nil, verdictOK, []string{"steal 0.0 %"}},
		{"steal", "an old kernel", []string{"/proc/stat", "cpu 1 2 3 4\n"}, nil, verdictUnread, []string{"with steal"}},
		{"steal", "garbage", []string{"/proc/stat", "cpu 1 2 3 4 5 6 x 8\n"}, nil, verdictUnread, []string{"want numbers"}},

		{"governor", "one", []string{cpu + "cpu3/cpufreq/scaling_governor", "powersave\n"}, nil, verdictBetter,
			[]string{cpu + "cpu*/cpufreq/scaling_governor = cpu0-2,4-15: performance, cpu3: powersave", "remedy: sudo cpupower frequency-set -g performance"}},
		{"governor", "an unknown one", []string{cpu + "cpu3/cpufreq/scaling_governor", "new-idea"}, nil, verdictBetter, []string{"cpu3: new-idea"}},
		{"governor", "garbage", []string{cpu + "cpu3/cpufreq/scaling_governor", "\x1b[2J"}, nil, verdictUnread, []string{"cpu0-2,4-15: performance; cpu3: want a governor"}},
		{"governor", "empty", []string{cpu + "cpu3/cpufreq/scaling_governor", ""}, nil, verdictUnread, []string{`got ""`}},
		{"governor", "denied in part", nil, denied(cpu+"cpu3/cpufreq/scaling_governor", cpu+"cpu4/cpufreq/scaling_governor"), verdictUnread, []string{"cpu3-4: permission denied"}},
		{"governor", "bad, and denied in part", []string{cpu + "cpu0/cpufreq/scaling_governor", "schedutil"}, denied(cpu + "cpu3/cpufreq/scaling_governor"), verdictBetter, []string{"cpu3: permission denied", "cpu0: schedutil"}},
		{"governor", "no processors", []string{cpu[:len(cpu)-1], "-"}, nil, verdictUnread, []string{"no processors are listed"}},
		{"governor", "the list is garbage", []string{cpu + "online", "0-4294967295"}, nil, verdictOK, []string{"cpu0-15: performance"}},

		{"turbo", "off", []string{cpu + "cpufreq/boost", "0"}, nil, verdictBetter, []string{"remedy: echo 1 | sudo tee " + cpu + "cpufreq/boost"}},
		{"turbo", "off, intel_pstate", []string{cpu + "intel_pstate/no_turbo", "1"}, nil, verdictBetter, []string{"echo 0 | sudo tee " + cpu + "intel_pstate/no_turbo"}},
		{"turbo", "on, intel_pstate", []string{cpu + "intel_pstate/no_turbo", "0"}, nil, verdictOK, []string{"no_turbo = 0"}},
		{"turbo", "no driver", []string{cpu + "cpufreq", "-"}, nil, verdictUnread, []string{"boost: not there", "the host of a virtual machine"}},
		{"turbo", "garbage", []string{cpu + "cpufreq/boost", "yes"}, nil, verdictUnread, []string{`want a number, got "yes"`}},

		{"idle_states", "deep", []string{cpu + "cpu7/cpuidle/state2/disable", "0"}, nil, verdictBetter,
			[]string{"cpu0-6,8-15: C1 (2 µs to wake), cpu7: C6 (133 µs to wake)", "cpupower idle-set -D 10", `printf "\0\0\0\0" >&3`}},
		{"idle_states", "deep, but held", []string{cpu + "cpu7/cpuidle/state2/disable", "0", "/dev/cpu_dma_latency", "\x05\x00\x00\x00"}, nil, verdictOK, []string{"/dev/cpu_dma_latency = 5 µs"}},
		{"idle_states", "deep, no file to disable", []string{cpu + "cpu7/cpuidle/state2/disable", "-"}, nil, verdictBetter, []string{"cpu7: C6"}},
		{"idle_states", "device denied", nil, denied("/dev/cpu_dma_latency"), verdictOK, []string{"/dev/cpu_dma_latency: permission denied"}},
		{"idle_states", "device garbage", []string{"/dev/cpu_dma_latency", "\x05"}, nil, verdictOK, []string{"want 4 bytes"}},
		{"idle_states", "no driver", []string{cpu + "cpuidle/current_driver", "none"}, nil, verdictInfo, []string{"current_driver = none", "cpuidle_haltpoll", "conn.Config{Spin"}},
		{"idle_states", "no states", []string{cpu + "cpu0/cpuidle", "-"}, nil, verdictUnread, []string{"cpu0: not there"}},
		{"idle_states", "garbage", []string{cpu + "cpu2/cpuidle/state1/latency", "-2"}, nil, verdictUnread, []string{"cpu2: want a latency"}},
		{"idle_states", "denied", nil, denied(cpu + "cpu2/cpuidle/state2/disable"), verdictUnread, []string{"cpu2: permission denied"}},

		{"smt", "siblings", []string{cpu + "cpu1/topology/thread_siblings_list", "1,9", cpu + "cpu9/topology/thread_siblings_list", "1,9", cpu + "smt/control", "on"}, nil, verdictBetter,
			[]string{"smt/control = on", "cpu1,9: shares its core", "1,9", "echo off | sudo tee " + cpu + "smt/control", "taskset -c 1 "}},
		{"smt", "garbage", []string{cpu + "cpu1/topology/thread_siblings_list", "9"}, nil, verdictUnread, []string{"cpu1: want a list with the processor itself"}},
		{"smt", "not told", []string{cpu + "cpu1/topology", "-"}, nil, verdictUnread, []string{"cpu1: not there"}},

		{"isolated_cpus", "none", []string{cpu + "isolated", "\n"}, nil, verdictInfo, []string{"isolated = none", "isolcpus=managed_irq,domain,15 nohz_full=15 rcu_nocbs=15", "taskset -c 15"}},
		{"isolated_cpus", "some", nil, nil, verdictInfo, []string{"isolated = 14-15", "nohz_full = 14-15", "Cpus_allowed_list 0-15"}},
		{"isolated_cpus", "garbage", []string{cpu + "isolated", "5-1"}, nil, verdictUnread, []string{"want a list of processors"}},
		{"isolated_cpus", "denied", nil, denied(cpu + "isolated"), verdictUnread, []string{"permission denied"}},

		{"clocksource", "slow", []string{"/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"}, nil, verdictBetter,
			[]string{"time.Now = 40ns", "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource"}},
		{"clocksource", "slow, and no other", []string{"/sys/devices/system/clocksource/clocksource0/current_clocksource", "acpi_pm", "/sys/devices/system/clocksource/clocksource0/available_clocksource", "acpi_pm"}, nil,
			verdictBetter, []string{"in the program: leave"}},
		{"clocksource", "slow by the clock", []string{"/sys/devices/system/clocksource/clocksource0/current_clocksource", "other"}, on(func(h *host) { h.clock = func() time.Duration { return time.Microsecond } }),
			verdictBetter, []string{"time.Now = 1µs", "echo tsc"}},
		{"clocksource", "another quick one", []string{"/sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock"}, nil, verdictOK, []string{"kvm-clock"}},
		{"clocksource", "garbage", []string{"/sys/devices/system/clocksource/clocksource0/current_clocksource", "\x00"}, nil, verdictUnread, []string{"want a name"}},
		{"clocksource", "not there", []string{"/sys/devices/system/clocksource", "-"}, nil, verdictUnread, []string{"current_clocksource: not there"}},

		{"huge_pages", "stalls", []string{"/sys/kernel/mm/transparent_hugepage/defrag", "[always] defer never"}, nil, verdictBetter, []string{"echo defer+madvise | sudo tee /sys/kernel/mm/transparent_hugepage/defrag"}},
		{"huge_pages", "stalls for none", []string{"/sys/kernel/mm/transparent_hugepage/defrag", "[always] never", "/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]"}, nil, verdictOK, []string{"[never]"}},
		{"huge_pages", "always", []string{"/sys/kernel/mm/transparent_hugepage/enabled", "[always] never", "/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none", "511"}, nil, verdictBetter,
			[]string{"max_ptes_none = 511", "echo 0 | sudo tee", "echo madvise"}},
		{"huge_pages", "always, bounded", []string{"/sys/kernel/mm/transparent_hugepage/enabled", "[always] never"}, nil, verdictOK, []string{"max_ptes_none = 0"}},
		{"huge_pages", "garbage", []string{"/sys/kernel/mm/transparent_hugepage/enabled", "always"}, nil, verdictUnread, []string{`want a choice in brackets, got "always"`}},
		{"huge_pages", "not there", []string{"/sys/kernel/mm/transparent_hugepage", "-"}, nil, verdictUnread, []string{"enabled: not there", "defrag: not there"}},

		{"rmem_max", "small", []string{core + "rmem_max", "212992"}, nil, verdictBetter, []string{core + "rmem_max = 212992", "sudo sysctl -w net.core.rmem_max=4194304"}},
		{"rmem_max", "just enough", []string{core + "rmem_max", "4194304"}, nil, verdictOK, nil},
		{"rmem_max", "not there", []string{core + "rmem_max", "-"}, nil, verdictUnread, []string{"rmem_max: not there", "on its host"}},
		{"rmem_max", "garbage", []string{core + "rmem_max", "99999999999999999999"}, nil, verdictUnread, []string{"want a number"}},
		{"tcp_rmem", "small", []string{ipv4 + "tcp_rmem", "4096 87380 6291456"}, nil, verdictBetter, []string{"tcp_rmem = 4096 87380 6291456", `sysctl -w net.ipv4.tcp_rmem="4096 131072 16777216"`}},
		{"tcp_rmem", "small at first", []string{ipv4 + "tcp_rmem", "8192 65536 99999999"}, nil, verdictBetter, []string{`"8192 131072 99999999"`}},
		{"tcp_rmem", "small in the end", []string{ipv4 + "tcp_rmem", "4096 131072 8388607"}, nil, verdictBetter, []string{`"4096 131072 16777216"`}},
		{"tcp_rmem", "just enough", []string{ipv4 + "tcp_rmem", "4096 131072 8388608"}, nil, verdictOK, nil},
		{"tcp_rmem", "small, and denied in part", []string{ipv4 + "tcp_rmem", "1 2 3"}, denied(ipv4 + "tcp_window_scaling"), verdictBetter, []string{"permission denied", `"1 131072 16777216"`}},
		{"tcp_rmem", "two", []string{ipv4 + "tcp_rmem", "1 2"}, nil, verdictUnread, []string{"want three numbers"}},
		{"tcp_rmem", "garbage", []string{ipv4 + "tcp_rmem", "1 2 x"}, nil, verdictUnread, []string{`got "x"`}},
		{"tcp_rmem", "fixed", []string{ipv4 + "tcp_moderate_rcvbuf", "0"}, nil, verdictBetter, []string{"do not grow", "net.ipv4.tcp_moderate_rcvbuf=1"}},
		{"tcp_rmem", "small windows", []string{ipv4 + "tcp_window_scaling", "0"}, nil, verdictBetter, []string{"64 KiB", "net.ipv4.tcp_window_scaling=1"}},
		{"tcp_rmem", "denied in part", nil, denied(ipv4 + "tcp_window_scaling"), verdictUnread, []string{"permission denied"}},
		{"rmem_default", "told", nil, nil, verdictInfo, []string{"212992", "TCP does not use it"}},
		{"rmem_default", "not there", []string{core + "rmem_default", "-"}, nil, verdictUnread, []string{"not there"}},

		{"receive_drops", "some", []string{netstat, "TcpExt: A TCPRcvQDrop RcvPruned\nTcpExt: 1 17 3\n"}, nil, verdictBetter, []string{"RcvPruned 3, TCPRcvQDrop 17", "nstat -az"}},
		{"receive_drops", "not counted", []string{netstat, "TcpExt: A\nTcpExt: 1\n"}, nil, verdictUnread, []string{"counts no drops"}},
		{"receive_drops", "lines of two lengths", []string{netstat, "TcpExt: A B\nTcpExt: 1\n"}, nil, verdictUnread, []string{"want two lines TcpExt"}},
		{"receive_drops", "garbage", []string{netstat, "TcpExt: RcvPruned\nTcpExt: x\n"}, nil, verdictUnread, []string{"want a number for RcvPruned"}},
		{"receive_drops", "not there", []string{netstat, "-"}, nil, verdictUnread, []string{"not there"}},

		{"softnet", "dropped", []string{"/proc/net/softnet_stat", "ff 0a 0\nff 01 0\n"}, nil, verdictBetter, []string{"510 packets, 11 dropped, 0 times", "netdev_max_backlog = 1000", "netdev_max_backlog=10000"}},
		{"softnet", "out of budget", []string{"/proc/net/softnet_stat", "ff 0 0a\n"}, nil, verdictBetter, []string{"netdev_budget = 300", "netdev_budget=600"}},
		{"softnet", "out of budget, large already", []string{"/proc/net/softnet_stat", "ff 0 0a\n", core + "netdev_budget", "900"}, nil, verdictBetter, []string{"netdev_budget=1800"}},
		{"softnet", "the setting is not there", []string{"/proc/net/softnet_stat", "ff 1 0a\n", core + "netdev_budget", "-", core + "netdev_max_backlog", "-"}, nil, verdictBetter, []string{"netdev_budget: not there", "queue was full"}},
		{"softnet", "garbage", []string{"/proc/net/softnet_stat", "ff 1 zz\n"}, nil, verdictUnread, []string{`got "zz"`}},
		{"softnet", "short", []string{"/proc/net/softnet_stat", "ff 1\n"}, nil, verdictUnread, []string{"three numbers"}},
		{"softnet", "empty", []string{"/proc/net/softnet_stat", ""}, nil, verdictUnread, []string{"a line for each"}},

		{"busy_poll", "off", []string{core + "busy_poll", "0"}, nil, verdictBetter, []string{"net.core.busy_poll=50"}},
		{"busy_poll", "denied", nil, denied(core + "busy_poll"), verdictUnread, []string{"permission denied"}},
		{"busy_read", "off", []string{core + "busy_read", "0"}, nil, verdictBetter, []string{"BusyPoll: 50", "net.core.busy_read=50"}},
		{"busy_read", "garbage", []string{core + "busy_read", ""}, nil, verdictUnread, []string{`got ""`}},
		{"quick_ack", "delayed", nil, on(func(h *host) { h.kernel.routes = func() (int, int, error) { return 1, 5, nil } }), verdictBetter,
			[]string{"1 of 5 routes", "DelayedACKs 7", "conn.SocketOptions{QuickAck: true}", "quickack 1"}},
		{"quick_ack", "refused", nil, on(func(h *host) { h.kernel.routes = func() (int, int, error) { return 0, 0, syscall.EPERM } }), verdictUnread, []string{"permission denied"}},
		{"quick_ack", "no counters", []string{netstat, "-"}, nil, verdictOK, []string{"3 of 3"}},
		{"autocorking", "on", []string{ipv4 + "tcp_autocorking", "1"}, nil, verdictBetter, []string{"net.ipv4.tcp_autocorking=0"}},
		{"autocorking", "not there", []string{ipv4 + "tcp_autocorking", "-"}, nil, verdictUnread, []string{"not there"}},
		{"slow_start_idle", "on", []string{ipv4 + "tcp_slow_start_after_idle", "1"}, nil, verdictBetter, []string{"net.ipv4.tcp_slow_start_after_idle=0"}},
		{"slow_start_idle", "garbage", []string{ipv4 + "tcp_slow_start_after_idle", "x"}, nil, verdictUnread, []string{"want a number"}},
		{"receive_stamps", "late", []string{core + "netdev_tstamp_prequeue", "0"}, nil, verdictBetter, []string{"net.core.netdev_tstamp_prequeue=1"}},
		{"receive_stamps", "refused", nil, on(func(h *host) { h.kernel.stamps = func() error { return syscall.EINVAL } }), verdictUnread, []string{"setsockopt SO_TIMESTAMPNS: " + syscall.EINVAL.Error(), "Timestamps"}},

		{"interfaces", "listed", nil, nil, verdictInfo, []string{"docker0 left out (virtual), eth0, eth1 left out (down), lo left out (loopback)"}},
		{"interfaces", "not there", []string{netClass, "-"}, nil, verdictUnread, []string{netClass + ": not there"}},
		{"interfaces", "denied", nil, denied(net + "operstate"), verdictInfo, []string{"eth0 left out (permission denied; try as root)"}},
		{"speed docker0", "no hardware", []string{net + "operstate", "down"}, nil, verdictUnread, []string{"docker0/speed: not there", "virtual"}},
		{"speed wg0", "of no state", []string{net + "operstate", "down", netClass + "/wg0/operstate", "unknown", netClass + "/wg0/carrier", "1", netClass + "/wg0/speed", "10"}, nil, verdictBetter, []string{"wg0/speed = 10"}},
		{"speed eth0", "slow", []string{net + "speed", "100"}, nil, verdictBetter, []string{"ethtool -r eth0"}},
		{"speed eth0", "half", []string{net + "duplex", "half"}, nil, verdictBetter, []string{"duplex = half"}},
		{"speed eth0", "unknown", []string{net + "speed", "-1"}, nil, verdictUnread, []string{"speed: unknown to the driver (-1)"}},
		{"speed eth0", "unknown, without a sign", []string{net + "speed", "4294967295"}, nil, verdictUnread, []string{"unknown to the driver"}},
		{"speed eth0", "refused", nil, func(_ *host, t *tree) { t.fail[net+"speed"] = syscall.EINVAL }, verdictUnread, []string{"speed: " + syscall.EINVAL.Error()}},
		{"speed", "no interface", []string{net + "operstate", "down", netClass + "/docker0/operstate", "down"}, nil, verdictUnread, []string{"see interfaces"}},

		{"gro eth0", "off", nil, on(func(h *host) { h.kernel.gro = func(string) (bool, error) { return false, nil } }), verdictBetter, []string{"ioctl ETHTOOL_GGRO eth0 = off", "ethtool -K eth0 gro on"}},
		{"gro eth0", "gathers", []string{net + "gro_flush_timeout", "20000"}, nil, verdictBetter, []string{"wait 20 µs", "echo 0 | sudo tee " + net + "gro_flush_timeout"}},
		{"gro eth0", "refused", nil, on(func(h *host) {
			h.kernel.gro = func(string) (bool, error) { return false, errors.New("the driver does not tell") }
		}), verdictUnread, []string{"the driver does not tell", "ethtool -k eth0"}},
		{"gro eth0", "not told", []string{net + "gro_flush_timeout", "-"}, nil, verdictUnread, []string{"gro_flush_timeout: not there"}},
		{"coalescing eth0", "adaptive", nil, on(func(h *host) {
			h.kernel.coalesce = func(string) (coalescing, error) { return coalescing{adaptive: true}, nil }
		}), verdictBetter, []string{"rx-usecs 0, rx-frames 0, adaptive-rx on", "ethtool -C eth0 adaptive-rx off rx-usecs 0"}},
		{"coalescing eth0", "slow", nil, on(func(h *host) {
			h.kernel.coalesce = func(string) (coalescing, error) { return coalescing{usecs: 11}, nil }
		}), verdictBetter, []string{"rx-usecs 11"}},
		{"coalescing eth0", "refused", nil, on(func(h *host) {
			h.kernel.coalesce = func(string) (coalescing, error) { return coalescing{}, syscall.EPERM }
		}), verdictUnread, []string{"permission denied"}},
		{"rps eth0", "on", []string{net + "queues/rx-1/rps_cpus", "0000,0000000f"}, nil, verdictBetter, []string{"rx-0: 0000,00000000, rx-1: 0000,0000000f", "echo 0 | sudo tee " + net + "queues/rx-*/rps_cpus"}},
		{"rps eth0", "garbage", []string{net + "queues/rx-1/rps_cpus", "on"}, nil, verdictUnread, []string{"rx-1: want a mask"}},
		{"rps eth0", "no queues", []string{net + "queues", "-"}, nil, verdictUnread, []string{"not there"}},
		{"rps eth0", "none to receive", []string{net + "queues/rx-0", "-", net + "queues/rx-1", "-"}, nil, verdictUnread, []string{"no receive queues"}},
		{"interrupts eth0", "by the device", nil, nil, verdictInfo, []string{"/proc/interrupts = irq 38-39", "/proc/irq/*/effective_affinity_list = irq 38: 1, irq 39: 0", "tee /proc/irq/39/smp_affinity_list"}},
		{"interrupts eth0", "by the name", []string{"/proc/interrupts", "  CPU0\n 7:  4  PCI  eth0-TxRx-0\n8: 5 PCI eth01\n", "/proc/irq/7/smp_affinity_list", "0-3"}, nil, verdictInfo, []string{"irq 7: 0-3"}},
		{"interrupts eth0", "by the list", []string{"/sys/devices/virtio2/msi_irqs/40", "msix", "/proc/irq/40/smp_affinity_list", "0"}, nil, verdictInfo, []string{"irq 38: 1, irq 39-40: 0", "irq/40/"}},
		{"interrupts eth0", "no lists", []string{"/proc/irq", "-"}, nil, verdictUnread, []string{"irq 38-39", "irq 38-39: not there"}},
		{"interrupts eth0", "garbage", []string{"/proc/irq/38/effective_affinity_list", "x"}, nil, verdictUnread, []string{"irq 39: 0", "irq 38: want a list"}},
		{"interrupts eth0", "none", []string{"/proc/interrupts", "CPU0\n"}, nil, verdictUnread, []string{"no line of this interface"}},
		{"interrupts eth0", "not there", []string{"/proc/interrupts", "-"}, nil, verdictUnread, []string{"not there"}},
	} {
		t.Run(test.title+": "+test.name, func(t *testing.T) {
			h, root := goodHost()
			root.set(test.set...)
			if test.change != nil {
				test.change(h, root)
			}
			f := find(t, look(t, h), test.title)
			if f.Verdict != test.want {
				t.Errorf("%q, want %q", f.Verdict, test.want)
			}
			whole := strings.Join(said(f), "\n")
			flat := strings.Join(strings.Fields(whole), " ") // reasons are wrapped
			for _, want := range test.lines {
				if !strings.Contains(whole, want) && !strings.Contains(flat, want) {
					t.Errorf("no %q in\n%s", want, whole)
				}
			}
			if test.want == verdictOK && strings.Contains(whole, "remedy") {
				t.Errorf("a remedy for what is well:\n%s", whole)
			}
		})
	}
}

// optional are files that add to what a check knows, and are left out where something
// else tells the same.
var optional = []string{"/sys/devices/system/cpu/online", "/cpuidle/state0/name", "/cpuidle/state1/name", "/cpuidle/state2/name", "/sys/class/net/lo/", "/sys/class/net/docker0/", "/sys/class/net/eth1/",
	"/sys/class/net/bonding_masters", "/sys/class/net/eth0/carrier", "/sys/class/net/eth0/type", "/queues/tx-", "max_ptes_none",
	"netdev_budget", "netdev_max_backlog", "/sys/devices/virtio2", "/sys/class/net/eth0/device", "current_driver"}

// A file that may not be read is named, with the reason, and makes nothing look well that
// needs it.
func TestDoctorNamesWhatIsDenied(t *testing.T) {
	_, files := hostOf(2)
	for name := range files.MapFS {
		name = "/" + name
		if slices.ContainsFunc(optional, func(s string) bool { return strings.Contains(name, s) }) {
			continue
		}
		for _, cause := range []error{fs.ErrPermission, syscall.EIO} {
			h, root := hostOf(2)
			root.fail[name] = cause
			found := false
			for _, f := range look(t, h) {
				if f.Verdict == verdictBetter {
					t.Errorf("%s: %+v", name, f)
				}
				text := strings.Join(said(f), "\n")
				found = found || strings.Contains(text, reason(&fs.PathError{Err: cause}))
			}
			if !found {
				t.Errorf("%s: nothing says %v", name, cause)
			}
		}
	}
}

func TestDoctorWithoutAnything(t *testing.T) {
	for name, cause := range map[string]error{"empty": nil, "denied": fs.ErrPermission, "broken": syscall.EIO} {
		h, root := goodHost()
		root.MapFS = fstest.MapFS{}
		root.fail["*"] = cause
		refused := errors.New("refused")
		h.kernel = kernel{func(string) (bool, error) { return false, refused }, func(string) (coalescing, error) { return coalescing{}, refused },
			func() error { return refused }, func() (int, int, error) { return 0, 0, refused }}
		findings := look(t, h)
		for _, f := range findings {
			if want := f.Check != "tier"; (f.Verdict == verdictUnread) != want {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if len(findings) != len(checks()) {
			t.Errorf("%s: %d findings", name, len(findings))
		}
	}
}

// Whatever stands in a file, there is an answer, and nothing of it reaches a terminal as
// it is.
func TestDoctorGarbage(t *testing.T) {
	_, files := hostOf(2)
	for name := range files.MapFS {
		for _, content := range []string{"", "\n", "-", "-1", "0", "99999999999999999999", "\x1b[2J\a\x00\xff", "[", "[]", ": :\n:", "a b c\n\nd", "0-", ",", "0-65536", "65535",
			"TcpExt:", "cpu", "flags: hypervisor", "1 2 3 4 5 6 7 8 9 10", "0::", "1:cpu,memory:/x", strings.Repeat("9 ", 4000), strings.Repeat("é", 4000)} {
			h, root := hostOf(2)
			root.set("/"+name, content)
			if content == "-" {
				root.MapFS[name] = &fstest.MapFile{Data: []byte("-")}
			}
			out := string(table(look(t, h)))
			if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }); i >= 0 {
				t.Errorf("%s as %q: a control character in %q", name, content, out[max(0, i-40):i+1])
			}
			for line := range strings.Lines(out) {
				if len(line) > 900 {
					t.Errorf("%s as %.20q: a line of %d bytes", name, content, len(line))
				}
			}
		}
	}
}

// The name of an interface may be nearly anything: the kernel refuses a slash, a colon
// and spaces.
func TestDoctorQuotesNames(t *testing.T) {
	const name = "a;'$b\x1b"
	h, root := goodHost()
	dir := netClass + "/" + name
	root.set("/sys/class/net/eth0/operstate", "down", dir+"/operstate", "up", dir+"/device/x", "", dir+"/speed", "10", dir+"/gro_flush_timeout", "5000", dir+"/queues/rx-0/rps_cpus", "f")
	h.kernel.coalesce = func(string) (coalescing, error) { return coalescing{usecs: 50}, nil }
	out := string(table(look(t, h)))
	for _, want := range []string{`ethtool -r 'a;'\''$b\x1b'`, `ethtool -C 'a;'\''$b\x1b' adaptive-rx`, `tee '` + netClass + `/a;'\''$b\x1b/gro_flush_timeout'`, `/queues'/rx-*/rps_cpus`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("the terminal gets the name as it is")
	}
}

func TestDoctorElsewhere(t *testing.T) {
	for _, goos := range []string{"windows", "darwin", "freebsd"} {
		h, _ := goodHost()
		h.goos, h.kernel, h.root = goos, kernel{}, nil
		h.maxProcs = 32
		for _, f := range look(t, h) {
			want := map[string]verdict{"tier": verdictOK, "gomaxprocs": verdictBetter}[f.Check]
			if want == "" {
				want = verdictUnread
				if !strings.Contains(f.Why, "this is "+goos) {
					t.Errorf("%+v", f)
				}
			}
			if f.Verdict != want {
				t.Errorf("%s: %+v", goos, f)
			}
		}
	}
}

// Three columns, each of which begins at one place. Nothing but a long word is wider than
// 80 columns.
func TestDoctorColumns(t *testing.T) {
	out := string(table([]finding{
		{Check: "ok", Verdict: verdictOK, Read: []reading{{Path: "/a", Value: "1"}}},
		{Check: "a_long_name", Interface: "eth0", Verdict: verdictBetter, Read: []reading{{Path: "/b", Value: "2"}, {Path: "/c", Error: "not there"}, {Path: "/d", Value: "x", Error: "y"},
			{Path: "/path/of/a/value/that/is/longer", Value: "than the column has room for"}},
			Why: strings.Repeat("word ", 20) + "end.", Remedy: []string{"do this", "or that"}},
		{Check: "unread", Verdict: verdictUnread, Read: []reading{}},
	}))
	const want = `CHECK             VERDICT            READ
ok                ok                 /a = 1
a_long_name eth0  could be better    /b = 2
                                     /c: not there
                                     /d = x; y
    /path/of/a/value/that/is/longer = than the column has room for
    why:    word word word word word word word word word word word word word
            word word word word word word word end.
    remedy: do this
    remedy: or that
unread            could not be read

3 checks: 1 ok, 1 could be better, 0 information, 1 could not be read
Nothing was changed. What sysctl -w and tee set lasts until the next boot;
/etc/sysctl.d keeps it.
`
	if out != want {
		t.Errorf("%s\nwant\n%s", out, want)
	}
}

func TestDoctorJSON(t *testing.T) {
	h, root := goodHost()
	root.set("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave")
	findings := look(t, h)
	out := string(jsonLines(findings))
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != len(findings) {
		t.Fatalf("%d lines, %d findings", len(lines), len(findings))
	}
	const want = `{"check":"governor","verdict":"could be better","read":[{"path":"/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",` +
		`"value":"cpu0-2,4-15: performance, cpu3: powersave"}],"why":"A processor that has been idle is clocked down. The first messages of a burst are read at a low clock.",` +
		`"remedy":["sudo cpupower frequency-set -g performance","echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"]}`
	if !slices.Contains(lines, want) {
		t.Errorf("no %s in\n%s", want, out)
	}
}

// The command runs here, whatever here is, and its exit code is 0.
func TestDoctor(t *testing.T) {
	stdout, stderr, code := run(t, "doctor")
	if code != exitOK || stderr != "" || !strings.HasPrefix(stdout, "CHECK ") || !strings.Contains(stdout, fmt.Sprintf("runtime.NumCPU = %d\n", thisHost().cpus)) {
		t.Errorf("exit code %d, %q, %s", code, stderr, stdout)
	}
	stdout, stderr, code = run(t, "doctor", "-json")
	if code != exitOK || stderr != "" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	names := map[string]bool{}
	for line := range strings.Lines(stdout) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		names[f.Check] = true
	}
	for _, c := range checks() {
		if !names[c.name] {
			t.Errorf("no finding %s", c.name)
		}
	}
	// What the environment says reaches the checks.
	cmd := tickwire(t, "doctor")
	cmd.Env = append(cmd.Env, "TICKWIRE_TIER=generic", "GOMAXPROCS=1000", "GOMEMLIMIT=12345678")
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "runtime.GOMAXPROCS = 1000\n") || !strings.Contains(string(out), "active kernels = generic\n") {
		t.Errorf("%v, %s", err, out)
	}
}

func TestDoctorLists(t *testing.T) {
	for in, want := range map[string]string{"": "", "0": "0", "0-3,8": "0-3,8", "1,2,3": "1-3", "0,2,4,6,8,10,12,14,16": "0,2,4,6,8,10,12,14,... (9)"} {
		list, err := parseList(in)
		if got := formatList(list); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"x", "-1", "3-1", "0-", ",", "0-99999999", "4294967296"} {
		if list, err := parseList(in); err == nil {
			t.Errorf("%q: %v", in, list)
		}
	}
	values := []perCPU{}
	for i := range 256 {
		values = append(values, perCPU{cpu: i, value: fmt.Sprint("v", i/32)})
	}
	if got := inGroups(values, "cpu"); got != "cpu0-31: v0, cpu32-63: v1, cpu64-95: v2, cpu96-127: v3, and 4 other values" {
		t.Error(got)
	}
}

func TestDoctorGroupDirs(t *testing.T) {
	for _, test := range []struct{ point, root, group, want string }{
		{"/cg", "/", "/a/b", "/cg/a/b /cg/a /cg"},
		{"/cg", "/", "/", "/cg"},
		{"/cg", "/docker/x", "/docker/x/a", "/cg/a /cg"},
		{"/cg", "/docker/x", "/docker/x", "/cg"},
		{"/cg", "/docker/x", "/docker/xy", "/cg"},
		{"/cg", "/", "/../x", "/cg"},
		{"/", "/", "/a", "/a /"},
	} {
		if got := strings.Join(groupDirs(test.point, test.root, test.group), " "); got != test.want {
			t.Errorf("%q: %s", test, got)
		}
	}
}

// said returns all that the table has of a finding.
func said(f finding) []string {
	lines := f.values()
	if f.Why != "" {
		lines = append(lines, "why:    "+f.Why)
	}
	for _, text := range f.Remedy {
		lines = append(lines, "remedy: "+text)
	}
	return lines
}
