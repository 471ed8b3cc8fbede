package main

import (
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// numberOf returns an Ingester's Number for the flag -number: FIELD, or FIRST:LAST for
// messages with a range of numbers. The fields are those of a JSON object, not of one
// within it.
func numberOf(spec string) (func(data []byte) (from, to uint64, ok bool), error) {
	if spec == "" {
		return nil, nil
	}
	first, last, isRange := strings.Cut(spec, ":")
	if first == "" || isRange && last == "" || strings.ContainsAny(spec, `"\`) {
		return nil, cli.BadUsage("-number: want FIELD or FIRST:LAST, not %q", spec)
	}
	if !isRange {
		return func(data []byte) (from, to uint64, ok bool) {
			n, ok := field(data, first)
			return n, n, ok
		}, nil
	}
	return func(data []byte) (from, to uint64, ok bool) {
		from, ok1 := field(data, first)
		to, ok2 := field(data, last)
		return from, to, ok1 && ok2 && from <= to
	}, nil
}

// field returns the value of a field of a JSON object: an integer, or a string of digits.
// It reads only up to the field, and does not check the rest.
func field(data []byte, name string) (uint64, bool) {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := stringEnd(data, i)
			if end < 0 {
				return 0, false
			}
			key := data[i+1 : end]
			i = end
			if depth != 1 || string(key) != name {
				continue
			}
			if rest := skipSpace(data[end+1:]); len(rest) > 0 && rest[0] == ':' {
				return integer(skipSpace(rest[1:]))
			}
		}
	}
	return 0, false
}

// stringEnd returns where the string that begins at i ends, or -1.
func stringEnd(data []byte, i int) int {
	for i++; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

func skipSpace(data []byte) []byte {
	for len(data) > 0 && (data[0] == ' ' || data[0] == '\t' || data[0] == '\n' || data[0] == '\r') {
		data = data[1:]
	}
	return data
}

// integer returns the integer at the begin of data, quoted or not.
func integer(data []byte) (n uint64, ok bool) {
	quoted := len(data) > 0 && data[0] == '"'
	if quoted {
		data = data[1:]
	}
	for i, c := range data {
		if c < '0' || c > '9' {
			end := c == ',' || c == '}' || c == ' ' || c == '\t' || c == '\n' || c == '\r'
			return n, i > 0 && (quoted && c == '"' || !quoted && end)
		}
		digit := uint64(c - '0')
		if n > (1<<64-1-digit)/10 {
			return 0, false
		}
		n = n*10 + digit
	}
	return 0, false
}
