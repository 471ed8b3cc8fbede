package main

import (
	"encoding/binary"
	"strings"
	"syscall"
	"testing"
)

// attribute makes a netlink attribute.
func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(syscall.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// route makes a message of a dump of routes.
func route(kind byte, attributes ...[]byte) []byte {
	body := make([]byte, syscall.SizeofRtMsg)
	body[7] = kind
	for _, a := range attributes {
		body = append(body, a...)
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(syscall.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, syscall.RTM_NEWROUTE)
	b = append(b, make([]byte, syscall.SizeofNlMsghdr-len(b))...)
	return append(b, body...)
}

func TestDoctorCountsRoutes(t *testing.T) {
	number := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	metrics := func(all ...[]byte) []byte {
		var b []byte
		for _, a := range all {
			b = append(b, a...)
		}
		return attribute(syscall.RTA_METRICS, b)
	}
	const mtu, quickAck = 2, 15
	gateway := attribute(syscall.RTA_GATEWAY, []byte{10, 0, 0, 1})
	for name, test := range map[string]struct {
		rib        []byte
		quick, all int
	}{
		"none":            {nil, 0, 0},
		"plain":           {route(syscall.RTN_UNICAST, gateway), 0, 1},
		"of this host":    {route(syscall.RTN_LOCAL, metrics(attribute(quickAck, number(1)))), 0, 0},
		"quick":           {route(syscall.RTN_UNICAST, gateway, metrics(attribute(mtu, number(1400)), attribute(quickAck, number(1)))), 1, 1},
		"quick, off":      {route(syscall.RTN_UNICAST, metrics(attribute(quickAck, number(0)))), 0, 1},
		"other metrics":   {route(syscall.RTN_UNICAST, metrics(attribute(mtu, number(15)))), 0, 1},
		"after a name":    {route(syscall.RTN_UNICAST, metrics(attribute(16, []byte("cubic\x00")), attribute(quickAck, number(1)))), 1, 1},
		"cut":             {route(syscall.RTN_UNICAST, attribute(syscall.RTA_METRICS, []byte{9, 0, quickAck, 0, 1})), 0, 1},
		"of length 0":     {route(syscall.RTN_UNICAST, attribute(syscall.RTA_METRICS, make([]byte, 8))), 0, 1},
		"short of a word": {route(syscall.RTN_UNICAST, metrics(attribute(quickAck, []byte{1}))), 0, 1},
		"two":             {append(route(syscall.RTN_UNICAST, gateway), route(syscall.RTN_UNICAST, metrics(attribute(quickAck, number(1))))...), 1, 2},
	} {
		if quick, all, err := countRoutes(test.rib); quick != test.quick || all != test.all || err != nil {
			t.Errorf("%s: %d of %d, %v", name, quick, all, err)
		}
	}
	bad := route(syscall.RTN_UNICAST, gateway)
	bad[0] = 200
	if _, _, err := countRoutes(bad); err == nil {
		t.Error("a message that is longer than the dump")
	}
}

// What the kernel of this machine answers, or refuses, comes with no panic; and an
// interface that is not there is an error.
func TestDoctorAsksTheKernel(t *testing.T) {
	k := thisKernel()
	for _, name := range []string{"no-such-if", "", strings.Repeat("x", 16), strings.Repeat("x", 500)} {
		if _, err := k.gro(name); err == nil {
			t.Errorf("gro of %q", name)
		}
		if _, err := k.coalesce(name); err == nil {
			t.Errorf("coalescing of %q", name)
		}
	}
	if on, err := k.gro("lo"); err != nil || !on { // on since Linux 2.6.29, for every interface
		t.Logf("lo: gro %v, %v", on, err)
	}
	if err := k.stamps(); err != nil {
		t.Error(err)
	}
	if quick, all, err := k.routes(); err != nil || quick < 0 || quick > all {
		t.Errorf("%d of %d routes, %v", quick, all, err)
	}
}
