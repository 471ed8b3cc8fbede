package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const netClass = "/sys/class/net"

// An iface is a network interface, and the reason if it is not inspected.
type iface struct{ name, leftOut string }

// allInterfaces returns all interfaces. If one of a device is up, only such interfaces
// are inspected; otherwise all that are up.
func (h *host) allInterfaces() ([]iface, error) {
	names, err := h.dir(netClass)
	if err != nil {
		return nil, err
	}
	var all []iface
	hardware := false
	for _, name := range names {
		dir := netClass + "/" + name
		if !h.exists(dir + "/operstate") {
			continue // a file of a driver, such as bonding_masters
		}
		i := iface{name: name}
		state, err := h.file(dir + "/operstate")
		kind, _ := h.file(dir + "/type")
		carrier, _ := h.file(dir + "/carrier")
		switch {
		case name == "lo" || kind == "772":
			i.leftOut = "loopback"
		case err != nil:
			i.leftOut = reason(err)
		case state != "up" && !(state == "unknown" && carrier == "1"):
			i.leftOut = state
		case h.exists(dir + "/device"):
			hardware = true
		}
		all = append(all, i)
	}
	for i := range all {
		if all[i].leftOut == "" && hardware && !h.exists(netClass+"/"+all[i].name+"/device") {
			all[i].leftOut = "virtual"
		}
	}
	return all, nil
}

// interfaces returns the names of the interfaces to inspect.
func (h *host) interfaces() []string {
	all, _ := h.allInterfaces()
	var names []string
	for _, i := range all {
		if i.leftOut == "" {
			names = append(names, i.name)
		}
	}
	return names
}

func checkInterfaces(h *host, f *finding) {
	all, err := h.allInterfaces()
	if err == nil && len(all) == 0 {
		err = errors.New("no interfaces")
	}
	if err != nil {
		f.failed(netClass, err)
		return
	}
	var parts []string
	for _, i := range all {
		if i.leftOut == "" {
			parts = append(parts, i.name)
		} else {
			parts = append(parts, i.name+" left out ("+i.leftOut+")")
		}
	}
	f.read(netClass, strings.Join(parts, ", "))
	f.info()
}

func checkSpeed(h *host, f *finding, name string) {
	path := netClass + "/" + name + "/speed"
	switch n, ok := h.number(f, path); {
	case !ok:
		f.explain("The driver does not tell: a virtual interface has no speed of its own.")
	case n <= 0 || n == 1<<32-1: // some kernel versions print -1 so
		f.Read = f.Read[:len(f.Read)-1]
		f.failed(path, fmt.Errorf("unknown to the driver (%d)", n))
		f.explain("A virtual interface has no speed of its own.")
	case n < 1000:
		f.better("The link takes this many Mbit/s: a cable, a port or a negotiation is not what it should be.", "sudo ethtool -r "+quote(name))
	}
	if duplex, _ := h.more(f, netClass+"/"+name+"/duplex"); duplex == "half" {
		f.better("The link sends or receives, not both at once.", "sudo ethtool -r "+quote(name))
	}
	f.ok()
}

func checkGRO(h *host, f *finding, name string) {
	path := "ioctl ETHTOOL_GGRO " + name
	on, err := h.kernel.gro(name)
	switch {
	case err != nil:
		f.failed(path, err)
		f.explain("", "ethtool -k "+quote(name)+" | grep generic-receive  # shows it")
	case on:
		f.read(path, "on")
	default:
		f.read(path, "off")
		f.better("Each segment goes through TCP alone. That costs throughput and saves nothing where packets are polled.", "sudo ethtool -K "+quote(name)+" gro on")
	}
	flush := netClass + "/" + name + "/gro_flush_timeout"
	if n, ok := h.number(f, flush); ok && n > 0 {
		f.better(fmt.Sprintf("Segments may wait %d µs for others to be gathered with. Without busy polling that is latency.", n/1000),
			"echo 0 | sudo tee "+quote(flush))
	}
	f.ok()
}

// A card that delays its interrupt longer than this delays a message as much.
const maxModeration = 10 // µs

func checkCoalescing(h *host, f *finding, name string) {
	path := "ioctl ETHTOOL_GCOALESCE " + name
	c, err := h.kernel.coalesce(name)
	if err != nil {
		f.failed(path, err)
		f.explain("The driver does not tell how long its card waits with an interrupt.")
		return
	}
	f.read(path, fmt.Sprintf("rx-usecs %d, rx-frames %d, adaptive-rx %s", c.usecs, c.frames, map[bool]string{true: "on", false: "off"}[c.adaptive]))
	if c.adaptive || c.usecs > maxModeration {
		f.better("The card waits with its interrupt for more packets. That is latency for the first; less of it costs processor time.",
			"sudo ethtool -C "+quote(name)+" adaptive-rx off rx-usecs 0")
	}
	f.ok()
}

func checkRPS(h *host, f *finding, name string) {
	dir := netClass + "/" + name + "/queues"
	names, err := h.dir(dir)
	var good, bad []perCPU // one value per queue
	for _, queue := range names {
		number, ok := strings.CutPrefix(queue, "rx-")
		if !ok {
			continue
		}
		i, _ := strconv.Atoi(number)
		mask, err := h.file(dir + "/" + queue + "/rps_cpus")
		if err == nil && (mask == "" || strings.Trim(mask, "0123456789abcdefABCDEF,") != "") {
			err = &garbage{"a mask of processors", mask}
		}
		if err != nil {
			bad = append(bad, perCPU{i, reason(err), err})
		} else {
			good = append(good, perCPU{i, mask, nil})
		}
	}
	path := dir + "/rx-*/rps_cpus"
	if err == nil && len(good)+len(bad) == 0 {
		err = errors.New("no receive queues")
	}
	switch {
	case err != nil:
		f.failed(path, err)
	case len(bad) > 0:
		f.failed(path, errors.New(inGroups(bad, "rx-")))
	}
	if len(good) > 0 {
		f.read(path, inGroups(good, "rx-"))
	}
	if slices.ContainsFunc(good, func(v perCPU) bool { return strings.Trim(v.value, "0,") != "" }) {
		f.better("A packet is handed from the processor that got the interrupt to another, which has to be woken. It pays only where one processor cannot handle a queue.",
			"echo 0 | sudo tee "+quote(dir)+"/rx-*/rps_cpus")
	}
	f.ok()
}

// checkInterrupts shows which processors handle a card's interrupts.
func checkInterrupts(h *host, f *finding, name string) {
	const path = "/proc/interrupts"
	s, err := h.file(path)
	if err != nil {
		f.failed(path, err)
		return
	}
	numbers, busiest := h.interruptsOf(s, name)
	if len(numbers) == 0 {
		f.failed(path, errors.New("no line of this interface"))
		return
	}
	var good, bad []perCPU // one value per interrupt
	for _, n := range numbers {
		if list, err := h.affinity(n); err != nil {
			bad = append(bad, perCPU{n, reason(err), err})
		} else {
			good = append(good, perCPU{n, list, nil})
		}
	}
	f.read(path, "irq "+formatList(numbers))
	const lists = "/proc/irq/*/effective_affinity_list"
	if len(good) > 0 {
		f.read(lists, inGroups(good, "irq "))
	}
	if len(bad) > 0 {
		f.failed(lists, errors.New(inGroups(bad, "irq ")))
		return
	}
	f.explain("A thread that reads is best on a processor near these, and not on the same.",
		fmt.Sprintf("echo 0 | sudo tee /proc/irq/%d/smp_affinity_list  # moves the busiest to cpu0; stop irqbalance first", busiest))
	f.info()
}

// affinity returns the processors that may handle an interrupt.
func (h *host) affinity(number int) (string, error) {
	dir := fmt.Sprintf("/proc/irq/%d/", number)
	list, err := h.file(dir + "effective_affinity_list")
	if errors.Is(err, fs.ErrNotExist) || err == nil && list == "" {
		list, err = h.file(dir + "smp_affinity_list") // without effective_affinity_list: those that are allowed
	}
	if err != nil {
		return "", err
	}
	if cpus, err := parseList(list); err != nil || len(cpus) == 0 {
		return "", &garbage{"a list of processors", list}
	}
	return list, nil
}

// interruptsOf returns the numbers of a card's interrupts, and the busiest one. Their
// lines end with the name of the interface or of its device, and often more: eth0-TxRx-0,
// virtio2-input.0, mlx5_comp0@pci:0000:03:00.0.
func (h *host) interruptsOf(table, name string) (numbers []int, busiest int) {
	var listed []int
	if entries, err := h.dir(netClass + "/" + name + "/device/msi_irqs"); err == nil {
		for _, entry := range entries {
			if n, err := strconv.Atoi(entry); err == nil {
				listed = append(listed, n)
			}
		}
	}
	var most uint64
	words := []string{name}
	if target, err := fs.ReadLink(h.root, strings.TrimPrefix(netClass+"/"+name+"/device", "/")); err == nil {
		words = append(words, path.Base(target))
	}
	for line := range strings.Lines(table) {
		number, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || !slices.Contains(listed, n) &&
			!slices.ContainsFunc(words, func(word string) bool { return containsName(rest, word) }) {
			continue
		}
		var count uint64
		for _, field := range strings.Fields(rest) { // one count per processor, then words
			c, err := strconv.ParseUint(field, 10, 64)
			if err != nil {
				break
			}
			count += c
		}
		if len(numbers) == 0 || count > most {
			busiest, most = n, count
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), busiest
}

// containsName reports whether s contains a name that ends there: virtio1 is not in
// virtio12-input.0.
func containsName(s, name string) bool {
	letter := func(b byte) bool {
		return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_'
	}
	for {
		i := strings.Index(s, name)
		if i < 0 {
			return false
		}
		end := i + len(name)
		if (i == 0 || !letter(s[i-1])) && (end == len(s) || !letter(s[end])) {
			return true
		}
		s = s[i+1:]
	}
}
