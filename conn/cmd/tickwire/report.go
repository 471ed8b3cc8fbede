package main

import (
	"encoding/json"
	"fmt"
	"io"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// A report covers a stretch of time: a second on the live line, a phase in the summary.
// The JSON names are for programs and must not change.
type report struct {
	Phase             string   `json:"phase"`
	Rate              float64  `json:"rate,omitempty"` // as requested, messages/s; absent at full speed
	Seconds           float64  `json:"seconds"`
	Messages          int64    `json:"messages"`
	Bytes             int64    `json:"bytes"`      // of payload
	WireBytes         int64    `json:"wire_bytes"` // of frames, after compression
	MessagesPerSecond float64  `json:"messages_per_second"`
	MBPerSecond       float64  `json:"mb_per_second"`
	CPUPerMessage     float64  `json:"cpu_ns_per_message"`
	AllocsPerMessage  float64  `json:"allocations_per_message"`
	Allocations       uint64   `json:"allocations"`
	GCCycles          uint64   `json:"gc_cycles"`
	ReadsPerMessage   float64  `json:"reads_per_message"`
	Latency           *latency `json:"latency_ns,omitempty"`
}

// Latency is measured from the making of a message to its verification.
type latency struct {
	P50  int64 `json:"p50"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p99.9"`
	Max  int64 `json:"max"`
}

// counts is what consumers have received.
type counts struct {
	messages, bytes, wire, reads int64
}

// newReport returns the difference of two moments of a phase. The histogram may be nil.
func newReport(p phase, from, to used, before, after counts, h *hdr.Histogram) report {
	elapsed := to.at.Sub(from.at).Seconds()
	n := after.messages - before.messages
	r := report{
		Phase:       p.name,
		Rate:        p.rate,
		Seconds:     elapsed,
		Messages:    n,
		Bytes:       after.bytes - before.bytes,
		WireBytes:   after.wire - before.wire,
		Allocations: to.mallocs - from.mallocs,
		GCCycles:    to.cycles - from.cycles,
	}
	if elapsed > 0 {
		r.MessagesPerSecond = float64(n) / elapsed
		r.MBPerSecond = float64(r.Bytes) / 1e6 / elapsed
	}
	if n > 0 {
		r.CPUPerMessage = float64(to.cpu-from.cpu) / float64(n)
		r.AllocsPerMessage = float64(r.Allocations) / float64(n)
		r.ReadsPerMessage = float64(after.reads-before.reads) / float64(n)
	}
	if h != nil && h.TotalCount() > 0 {
		r.Latency = &latency{h.ValueAtQuantile(50), h.ValueAtQuantile(99), h.ValueAtQuantile(99.9), h.Max()}
	}
	return r
}

// line returns the report on one line.
func (r *report) line(tier string) string {
	latency := "latency -"
	if l := r.Latency; l != nil {
		latency = fmt.Sprintf("p50 %s p99 %s p99.9 %s max %s",
			cli.Duration(l.P50), cli.Duration(l.P99), cli.Duration(l.P999), cli.Duration(l.Max))
	}
	return fmt.Sprintf("%-10s %s msg/s  %.1f MB/s  %s  %.4f allocs/msg  %d GC  %.4f reads/msg  %s",
		r.Phase, cli.Quantity(r.MessagesPerSecond), r.MBPerSecond, latency,
		r.AllocsPerMessage, r.GCCycles, r.ReadsPerMessage, tier)
}

// short returns the part of the report that fits into 80 columns.
func (r *report) short() string {
	latency := ""
	if l := r.Latency; l != nil {
		latency = fmt.Sprintf("  p50 %s  p99.9 %s", cli.Duration(l.P50), cli.Duration(l.P999))
	}
	return fmt.Sprintf("%-10s %s msg/s %.0f MB/s%s  %.2f allocs/msg", r.Phase, cli.Quantity(r.MessagesPerSecond), r.MBPerSecond, latency, r.AllocsPerMessage)
}

// A summary is what feed prints at the end of a run.
type summary struct {
	URL         string   `json:"url"`
	Connections int      `json:"connections"`
	TLS         bool     `json:"tls"`
	Records     string   `json:"records,omitempty"`        // of the embedded exchange: per-message or large
	Opened      string   `json:"records_opened,omitempty"` // by whom
	Deflate     bool     `json:"deflate"`
	Tier        string   `json:"tier"`
	Verified    bool     `json:"verified"` // number and checksum of every message
	Interrupted bool     `json:"interrupted,omitempty"`
	Error       string   `json:"error,omitempty"`
	Phases      []report `json:"phases"`
}

// print writes the summary for people, or as one JSON object.
func (s *summary) print(w io.Writer, machine bool) error {
	if machine {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(s)
	}
	verified := "every number and checksum verified"
	if s.Error != "" {
		verified = "FAILED: " + s.Error
	} else if !s.Verified {
		verified = "contents not verified"
	}
	fmt.Fprintf(w, "\n%s, %d connection(s), tier %s, %s\n", s.URL, s.Connections, s.Tier, verified)
	if s.Opened != "" {
		of := "the server's"
		if s.Records != "" {
			of = s.Records
		}
		fmt.Fprintf(w, "TLS records: %s, opened %s\n", of, s.Opened)
	}
	for i := range s.Phases {
		s.Phases[i].table(w)
	}
	return nil
}

func (r *report) table(w io.Writer) {
	title := r.Phase
	if r.Rate > 0 {
		title += fmt.Sprintf(" (%s messages/s asked for)", cli.Quantity(r.Rate))
	}
	fmt.Fprintf(w, "\n%s, %.2f s\n", title, r.Seconds)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-26s "+format+"\n", append([]any{name}, args...)...)
	}
	row("messages", "%d", r.Messages)
	row("messages/s", "%.0f", r.MessagesPerSecond)
	row("MB/s", "%.1f", r.MBPerSecond)
	row("bytes per message", "%.0f, %.0f on the wire", perMessage(r.Bytes, r.Messages), perMessage(r.WireBytes, r.Messages))
	row("CPU per message", "%.1f ns", r.CPUPerMessage)
	row("allocations per message", "%.6f (%d in all)", r.AllocsPerMessage, r.Allocations)
	row("GC cycles", "%d", r.GCCycles)
	row("read calls per message", "%.4f", r.ReadsPerMessage)
	if l := r.Latency; l != nil {
		row("latency p50", "%s", cli.Duration(l.P50))
		row("latency p99", "%s", cli.Duration(l.P99))
		row("latency p99.9", "%s", cli.Duration(l.P999))
		row("latency max", "%s", cli.Duration(l.Max))
	}
}

func perMessage(bytes, messages int64) float64 {
	return float64(bytes) / float64(max(messages, 1))
}
