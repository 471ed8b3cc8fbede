package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestFeedMessages(t *testing.T) {
	for _, n := range []uint64{1, 2, 1_000_000, math.MaxUint64} {
		p := appendFeed([]byte("x"), n, time.Now().UnixNano())[1:]
		if got, err := checkFeed(p); err != nil || got != n || !json.Valid(p) {
			t.Fatalf("message %d: %d, %v: %s", n, got, err, p)
		}
		if len(p) < 150 || len(p) > 260 {
			t.Errorf("message %d has %d bytes", n, len(p))
		}
		for i := range p {
			changed := bytes.Clone(p)
			changed[i] ^= 1
			if _, err := checkFeed(changed); !errors.Is(err, errFeedChecksum) && !errors.Is(err, errFeedMessage) {
				t.Fatalf("message %d with byte %d changed: %v", n, i, err)
			}
			if _, err := checkFeed(p[:i]); err == nil {
				t.Fatalf("message %d, cut at %d, is taken", n, i)
			}
		}
	}
}

func TestField(t *testing.T) {
	for _, test := range []struct {
		data string
		want uint64
		ok   bool
	}{
		{`{"n":17}`, 17, true},
		{` { "a" : [1,{"n":5}] , "n" : 18446744073709551615 }`, math.MaxUint64, true},
		{`{"a":{"n":3},"n":"12","b":1}`, 12, true},
		{`{"a":"n","b":"\"n\":4","n":0}`, 0, true},
		{`{"a":"\\","n":6,"x`, 6, true},
		{`{"n":18446744073709551616}`, 0, false},
		{`{"n":-1}`, 0, false},
		{`{"n":1.5}`, 0, false},
		{`{"n":1e3}`, 0, false},
		{`{"n":"1`, 0, false},
		{`{"n":"12x"}`, 0, false},
		{`{"n":""}`, 0, false},
		{`{"n":12`, 0, false},
		{`{"n":null}`, 0, false},
		{`{"n"`, 0, false},
		{`{"n`, 0, false},
		{`["n",1]`, 0, false},
		{`[{"n":1}]`, 0, false},
		{`{"a":1}`, 0, false},
		{``, 0, false},
	} {
		if got, ok := field([]byte(test.data), "n"); got != test.want && ok || ok != test.ok {
			t.Errorf("%s: %d, %v; want %d, %v", test.data, got, ok, test.want, test.ok)
		}
	}
}

func TestNumberOf(t *testing.T) {
	for _, test := range []struct {
		spec, data string
		from, to   uint64
		ok         bool
	}{
		{"u", `{"u":5}`, 5, 5, true},
		{"U:u", `{"U":3,"u":5}`, 3, 5, true},
		{"U:u", `{"U":6,"u":5}`, 6, 5, false},
		{"U:u", `{"u":5}`, 0, 5, false},
	} {
		number, err := numberOf(test.spec)
		if err != nil {
			t.Fatal(err)
		}
		if from, to, ok := number([]byte(test.data)); ok != test.ok || ok && (from != test.from || to != test.to) {
			t.Errorf("%s of %s: %d, %d, %v", test.spec, test.data, from, to, ok)
		}
	}
	if number, err := numberOf(""); number != nil || err != nil {
		t.Error("a feed without numbers has some")
	}
	for _, spec := range []string{":", "a:", ":a", `a"b`} {
		if _, err := numberOf(spec); err == nil {
			t.Errorf("%q is taken", spec)
		}
	}
}

// FuzzField compares with package json, for objects that it takes.
func FuzzField(f *testing.F) {
	f.Add(`{"a":[{"n":1}],"n":2}`)
	f.Add(`{"a":"\"n\":3","n":"4"}`)
	f.Fuzz(func(t *testing.T, data string) {
		got, ok := field([]byte(data), "n")
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(data), &object) != nil || strings.Count(data, `"n"`) > 1 || strings.Contains(data, `\`) {
			return // only that it does not panic
		}
		var want uint64
		text := strings.Trim(string(object["n"]), `"`)
		_, err := fmt.Sscanf(text, "%d", &want)
		valid := err == nil && text != "" && strings.Trim(text, "0123456789") == ""
		if ok != valid || ok && got != want {
			t.Errorf("%q: %d, %v; package json: %s", data, got, ok, object["n"])
		}
	})
}

// What a consumer counts, by the numbers that come.
func TestConsumerCounts(t *testing.T) {
	for _, test := range []struct {
		name                    string
		numbers                 []uint64
		lost, doubled, disorder uint64
	}{
		{"all", []uint64{1, 2, 3, 4, 5}, 0, 0, 0},
		{"none", nil, 5, 0, 0},
		{"the first lost", []uint64{2, 3, 4, 5}, 1, 0, 0},
		{"the last lost", []uint64{1, 2, 3, 4}, 1, 0, 0},
		{"two lost", []uint64{1, 3, 5}, 2, 0, 0},
		{"twice", []uint64{1, 1, 2, 3, 2, 4, 5}, 0, 2, 0},
		{"late", []uint64{1, 4, 2, 3, 5}, 0, 0, 2},
		{"late from the middle", []uint64{1, 5, 3, 2, 4}, 0, 0, 3},
		{"late, then twice", []uint64{1, 3, 2, 2, 4, 5}, 0, 1, 1},
	} {
		c := &consumer{}
		for _, n := range test.numbers {
			c.number(n)
		}
		c.end(5)
		if c.lost.Load() != test.lost || c.doubled.Load() != test.doubled || c.disorder.Load() != test.disorder {
			t.Errorf("%s: %d lost, %d doubled, %d out of order", test.name, c.lost.Load(), c.doubled.Load(), c.disorder.Load())
		}
	}
}

func TestHistogram(t *testing.T) {
	for v := uint64(0); v < 1<<40; v = v + 1 + v/5 {
		i := bucket(v)
		if end := bucketEnd(i); end < v || end > v+v/16+1 || bucket(end) != i || bucket(end+1) != i+1 {
			t.Fatalf("%d is in bucket %d, which ends at %d", v, i, end)
		}
	}
	if i := bucket(math.MaxUint64); i >= len(histogram{}.counts) {
		t.Errorf("bucket %d", i)
	}
	var h, other histogram
	if h.quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := range 100 {
		other.add(time.Duration(i + 1))
	}
	h.merge(&other)
	if p50, p99, all := h.quantile(0.5), h.quantile(0.99), h.quantile(1); p50 < 50 || p50 > 54 || p99 < 99 || p99 > 104 || all < 100 || all > 104 {
		t.Errorf("p50 %d, p99 %d, p100 %d", p50, p99, all)
	}
}
