package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-7f57ff33/tickwire/asm"
)

func checkTier(h *host, f *finding) {
	names := make([]string, 0, len(h.available))
	for _, t := range h.available {
		names = append(names, t.String())
	}
	f.read("processor", h.cpu)
	f.read("kernels", strings.Join(names, " "))
	f.read("active kernels", h.active.String())
	if h.wish != "" {
		f.read("TICKWIRE_TIER", h.wish)
	}
	best := h.available[len(h.available)-1]
	switch {
	case h.active != best:
		f.better("The environment asks for slower kernels than this processor can run.", "unset TICKWIRE_TIER")
	case best == asm.Generic && (h.goarch == "amd64" || h.goarch == "arm64"):
		f.better("This program was built without its kernels.", "go build  # without -tags purego")
	case best < asm.AVX2 && h.goarch == "amd64":
		f.better("The processor has no AVX2, or its hypervisor hides it.", "grep -o -m1 avx2 /proc/cpuinfo  # on the host of the virtual machine too")
	}
	f.ok()
}

func checkMaxProcs(h *host, f *finding) {
	f.read("runtime.GOMAXPROCS", strconv.Itoa(h.maxProcs))
	f.read("runtime.NumCPU", strconv.Itoa(h.cpus))
	switch {
	case h.maxProcs > h.cpus:
		f.better("More threads run Go than there are processors: they wait for each other.", "unset GOMAXPROCS")
	case h.maxProcs < h.cpus:
		f.explain("Go does not use all processors. That is well if something else uses them.")
	}
	if h.goos == "linux" {
		h.checkQuota(f)
	}
	if h.maxProcs < h.cpus {
		f.info()
	}
	f.ok()
}

// checkQuota compares GOMAXPROCS with the limit of the control group.
func (h *host) checkQuota(f *finding) {
	dirs, version, err := h.cgroup("cpu")
	if err != nil {
		f.failed("/proc/self/cgroup", err)
		return
	}
	quota, where := h.cpuQuota(f, dirs, version)
	if where != "" && float64(h.maxProcs) > quota {
		remedy := []string{}
		if quota >= 1 {
			remedy = append(remedy, fmt.Sprintf("export GOMAXPROCS=%d", int(quota)))
		}
		value := "max 100000"
		if version == 1 {
			value = "-1"
		}
		f.better(fmt.Sprintf("The control group may use %.3g processors. When %d threads have used that up, all stop until its next period, of mostly 100 ms.",
			quota, h.maxProcs), append(remedy, fmt.Sprintf("echo %s | sudo tee %s", value, quote(where)))...)
	}
	h.throttled(f, dirs[0])
}

// cpuQuota returns the lowest processor limit of the groups, and the file with it; none
// if there is no such file.
func (h *host) cpuQuota(f *finding, dirs []string, version int) (quota float64, where string) {
	name := "cpu.max"
	if version == 1 {
		name = "cpu.cfs_quota_us"
	}
	limited := false
	for _, dir := range dirs {
		file := dir + "/" + name
		s, err := h.file(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the root group, or the controller is off
		}
		if err == nil && version == 1 {
			period, e := h.file(dir + "/cpu.cfs_period_us")
			s, err = s+" "+period, e
		}
		var q float64
		if err == nil {
			q, err = parseQuota(s)
		}
		if err != nil {
			f.failed(file, err)
			continue
		}
		if q > 0 {
			limited = true
			f.read(file, s)
			if where == "" || q < quota {
				quota, where = q, file
			}
		}
	}
	if !limited && f.Verdict != verdictUnread {
		f.read(path.Join(dirs[0], name), "no limit")
	}
	return quota, where
}

// parseQuota returns the number of processors in "150000 100000". It returns 0 for "max
// 100000" and for version 1's "-1 100000".
func parseQuota(s string) (float64, error) {
	bad := &garbage{"a quota and a period", s}
	fields := strings.Fields(s)
	if len(fields) != 2 {
		return 0, bad
	}
	period, err := strconv.ParseUint(fields[1], 10, 63)
	if err != nil || period == 0 {
		return 0, bad
	}
	if fields[0] == "max" || fields[0] == "-1" {
		return 0, nil
	}
	quota, err := strconv.ParseUint(fields[0], 10, 63)
	if err != nil || quota == 0 {
		return 0, bad
	}
	return float64(quota) / float64(period), nil
}

// throttled reports whether the group was throttled.
func (h *host) throttled(f *finding, dir string) {
	file := dir + "/cpu.stat"
	s, err := h.file(file)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.failed(file, err)
		}
		return
	}
	for line := range strings.Lines(s) {
		n, ok := strings.CutPrefix(line, "nr_throttled ")
		if !ok {
			continue
		}
		count, err := whole(strings.TrimSpace(n))
		if err != nil {
			f.failed(file, err)
			return
		}
		f.read(file, line)
		if count > 0 {
			f.better("The control group has been stopped that often since it was made.")
		}
	}
}

// The Go heap may take this share of the group's memory. Other memory takes the rest.
const heapShare = 0.9

func checkMemLimit(h *host, f *finding) {
	none := h.memLimit == math.MaxInt64
	if none {
		f.read("GOMEMLIMIT", "none")
	} else {
		f.read("GOMEMLIMIT", fmt.Sprint(h.memLimit))
	}
	dirs, version, err := h.cgroup("memory")
	if err != nil {
		f.failed("/proc/self/cgroup", err)
		return
	}
	files := []string{"memory.max", "memory.high"}
	if version == 1 {
		files = []string{"memory.limit_in_bytes"}
	}
	limit := int64(math.MaxInt64)
	for _, dir := range dirs {
		for _, name := range files {
			s, err := h.file(dir + "/" + name)
			if errors.Is(err, fs.ErrNotExist) || err == nil && s == "max" {
				continue
			}
			var n int64
			if err == nil {
				n, err = whole(s)
			}
			if err == nil && n < 0 {
				err = &garbage{"a limit", s}
			}
			if err != nil {
				f.failed(dir+"/"+name, err)
			} else if n < 1<<62 { // version 1 writes "no limit" as the largest multiple of a page
				f.read(dir+"/"+name, s)
				limit = min(limit, n)
			}
		}
	}
	remedy := fmt.Sprintf("export GOMEMLIMIT=%d  # %.0f %% of the group's", int64(float64(limit)*heapShare), heapShare*100)
	switch {
	case limit == math.MaxInt64:
		if f.Verdict != verdictUnread {
			f.read(path.Join(dirs[0], files[0]), "no limit")
		}
	case none:
		f.better("The garbage collector does not know the control group's limit. The kernel slows or ends the process there.", remedy)
	case h.memLimit > limit:
		f.better("The Go runtime may use more memory than the control group allows.", remedy)
	}
	f.ok()
}

// cgroup returns the directories of this process's group for one controller, from its own
// up to the mount.
func (h *host) cgroup(controller string) (dirs []string, version int, err error) {
	own, err := h.file("/proc/self/cgroup")
	if err != nil {
		return nil, 0, err
	}
	mounts, err := h.file("/proc/self/mountinfo")
	if err != nil {
		return nil, 0, fmt.Errorf("/proc/self/mountinfo: %s", reason(err))
	}
	groups := map[int]string{}
	for line := range strings.Lines(own) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(fields) < 3:
		case slices.Contains(strings.Split(fields[1], ","), controller):
			groups[1] = fields[2]
		case fields[0] == "0" && fields[1] == "":
			groups[2] = fields[2]
		}
	}
	for _, version := range []int{1, 2} { // each controller is in one of them
		group, ok := groups[version]
		if !ok {
			continue
		}
		if root, point, ok := cgroupMount(mounts, controller, version); ok {
			return groupDirs(point, root, group), version, nil
		}
	}
	return nil, 0, fmt.Errorf("no control group with %s is mounted", controller)
}

// cgroupMount finds a hierarchy in mountinfo: its mount point, and the group that is
// mounted there.
func cgroupMount(mounts, controller string, version int) (root, point string, ok bool) {
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 {
			continue
		}
		if version == 2 && right[0] == "cgroup2" ||
			version == 1 && right[0] == "cgroup" && slices.Contains(strings.Split(right[2], ","), controller) {
			unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
			return unescape.Replace(left[3]), unescape.Replace(left[4]), true
		}
	}
	return "", "", false
}

// groupDirs returns the directory of a group below a mount, and those above it. If the
// mount does not show the group, as in a container, the mount's root is the group.
func groupDirs(point, root, group string) []string {
	below := ""
	if root == "/" {
		below = group
	} else if rest, ok := strings.CutPrefix(group, root); ok && (rest == "" || rest[0] == '/') {
		below = rest
	}
	if slices.Contains(strings.Split(below, "/"), "..") {
		below = ""
	}
	point = path.Clean(point)
	var dirs []string
	for dir := path.Join(point, below); ; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
		if dir == point || len(dir) <= len(point) {
			return dirs
		}
	}
}

// A server or a set of connections needs a descriptor for each connection.
const minFiles = 65536

func checkOpenFiles(h *host, f *finding) {
	const file = "/proc/self/limits"
	s, err := h.file(file)
	if err != nil {
		f.failed(file, err)
		return
	}
	const name = "Max open files"
	for line := range strings.Lines(s) {
		rest, ok := strings.CutPrefix(line, name)
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 {
			continue
		}
		n, err := whole(fields[0])
		if fields[0] == "unlimited" {
			n, err = math.MaxInt64, nil
		}
		if err != nil {
			f.failed(file, err)
			return
		}
		f.read(file, name+" "+fields[0])
		if n < minFiles {
			f.better("Each connection takes a descriptor: a server or a group cannot have more. Go has raised the limit to the hard one.",
				fmt.Sprintf("sudo prlimit --pid $$ --nofile=%d:%d  # for this shell and what it starts", minFiles, minFiles),
				fmt.Sprintf("LimitNOFILE=%d  # in the [Service] of a systemd unit", minFiles))
		}
		f.ok()
		return
	}
	f.failed(file, &garbage{"a line \"" + name + "\"", s})
}

// quote returns s as one word of a shell.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.:@/%=,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
