package main

import (
	"encoding/hex"
	"errors"
	"hash/crc32"
	"strconv"
)

// A message of the demo's feed is one JSON object of about 200 bytes:
//
//	{"n":1,"t":1732363200000000000,"s":"BTC-USD", … ,"c":"89abcdef"}
//
// n is its number, from 1; t is when it was made, in nanoseconds since 1970; c is the
// CRC-32C, in hexadecimal, of everything before its comma.
const (
	feedSum  = `,"c":"`
	feedEnd  = `"}`
	feedBody = `,"s":"BTC-USD","e":"trade","p":"97123.45","q":"0.183211","side":"buy","order":"c3b4f1a29d5e7780","liquidity":"taker"`
)

var (
	errFeedMessage  = errors.New("not a message of the feed")
	errFeedChecksum = errors.New("the checksum is wrong")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// appendFeed appends message n, made at a time.
func appendFeed(dst []byte, n uint64, made int64) []byte {
	start := len(dst)
	dst = strconv.AppendUint(append(dst, `{"n":`...), n, 10)
	dst = strconv.AppendInt(append(dst, `,"t":`...), made, 10)
	dst = append(dst, feedBody...)
	dst = strconv.AppendUint(append(dst, `,"id":`...), 481_516_000+n*n%1_000_003, 10)
	sum := crc32.Checksum(dst[start:], castagnoli)
	dst = append(dst, feedSum...)
	dst = hex.AppendEncode(dst, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	return append(dst, feedEnd...)
}

// checkFeed returns the number of a message whose checksum is right.
func checkFeed(p []byte) (n uint64, err error) {
	const tail = len(feedSum) + 8 + len(feedEnd)
	if len(p) < tail || string(p[len(p)-tail:len(p)-tail+len(feedSum)]) != feedSum || string(p[len(p)-len(feedEnd):]) != feedEnd {
		return 0, errFeedMessage
	}
	sum := crc32.Checksum(p[:len(p)-tail], castagnoli)
	var want [8]byte
	hex.Encode(want[:], []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	if string(p[len(p)-tail+len(feedSum):len(p)-len(feedEnd)]) != string(want[:]) {
		return 0, errFeedChecksum
	}
	n, ok := field(p, "n")
	if !ok || n == 0 {
		return 0, errFeedMessage
	}
	return n, nil
}
