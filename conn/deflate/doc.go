// Package deflate implements permessage-deflate, the compression of WebSocket messages
// (RFC 7692). [Config] and [Params] describe what the two sides agree on. The [Inflater]
// is for received messages, the [Deflater] for sent ones.
//
// The Inflater is the package's own. It keeps its window for the life of the connection.
// It finds exactly where a message's last block ends, so a cut message is never
// delivered as a shorter one. Its inner loop is assembly where the processor has AVX2,
// and plain Go elsewhere, with the same results. The compressor of the default level is
// the package's own, too. It holds little memory and supports every window size. In
// feeds it compresses nearly as well as larger compressors. Levels 1 to 9 are those of
// klauspost/compress/flate, which holds a megabyte for each connection.
//
// # Risk
//
// Compression reveals secrets by the length of what is sent. An attacker that can choose
// a part of a message, or of an earlier one in the same direction, and can see lengths on
// the network, can find a secret of the same context byte by byte, also under TLS (the
// attacks CRIME and BREACH; RFC 7692 §8). So do not compress tokens, cookies or private
// messages together with what others may write. Public market data has no secret.
//
// Three ways to avoid it: send single messages uncompressed
// (conn.Conn.WriteUncompressed); agree on no context takeover, which separates messages
// from each other, but not the parts of one; or do not offer or accept the extension.
//
// A compressed message can inflate to far more than its size. The limit on a message's
// size counts inflated bytes and always holds. Inflating stops at the byte that exceeds
// it. Until then it holds at most the limit and 72 KiB, including the window, and for a
// moment a quarter of the limit more. The same holds for a message that is delivered.
// Its parts are joined at its end. A message over a fifth of the limit is joined as it
// comes, in a buffer of the whole limit.
//
// Compressed bytes are inflated as they come, and not kept. conn.Conn.ReadMessage and
// TakeBatch hold the inflated message and the read buffer (conn.Config.ReadBuffer, 64 KiB
// by default), however a message is fragmented; conn.Conn.NextReader holds only the
// window. An error, including text that is not UTF-8, ends the connection at the bytes
// that show it, without waiting for the rest of the message.
//
// # When it pays
//
// A message of JSON as a market-data feed sends it, CPU in µs on each side and bytes on
// the wire, one machine (go test -run '^$' -bench Pays ./conn/deflate):
//
//	                               200 B                1000 B               8000 B
//	                       deflate inflate wire  deflate inflate wire  deflate inflate wire
//	default                    5.3    0.28   45     25     3.2   359      135      19  2732
//	history of 2 KiB           5.3    0.30   51     23     3.5   390      128      19  2682
//	history of 32 KiB          6.3    0.27   42     24     3.1   360      140      18  2731
//	window of 10 bits          5.2    0.30   51     23     3.4   389      131      19  2678
//	no takeover                7.0     1.4  121     23     4.2   420      127      18  2727
//	level 1                    6.0    0.28   54     14     3.3   393       59      18  2960
//	level 5                    5.8    0.29   44     19     3.5   374      103      16  2873
//	level 9                     21    0.24   38    243     3.0   335     1008      16  2599
//	level 5, 2 KiB              16    0.29   49     33     3.3   376      106      19  2927
//
// The last line is level 5 with a History of 2 KiB: the library's compressor, made ready
// for each message. All levels, and what each holds, are printed by go test -run '^$'
// -bench Levels ./conn/deflate.
//
// A receiver of small messages spends 0.3 µs to read a quarter of the bytes. That is
// worth it on a network that is billed, shared or slower than a few gigabits. A sender
// spends nearly twenty times as much, for each connection. To send one message to many
// connections, prepare it once (conn.Prepare). Within a host, and for payloads that are
// already compressed or random, it is not worth it. Small messages need context
// takeover: without it a message of 200 bytes saves little and costs more. Messages
// below DefaultThreshold are sent uncompressed, and the context is kept for the next.
//
// # Memory
//
// What an idle connection holds after a megabyte of feed (go test -run IdleMemory -v
// ./conn/deflate):
//
//	Inflater, context takeover, window of 15 bits     41 KiB
//	                                   12 bits         9 KiB
//	                                    9 bits         5 KiB
//	Inflater, no context takeover                    1.1 KiB
//	Deflater, context takeover, default               12 KiB
//	                            History of 2 KiB       3 KiB
//	                            History of 32 KiB     48 KiB
//	                            window of 10 bits      3 KiB
//	                            level 1              800 KiB
//	                            level 5              1.1 MiB
//	                            level 5, 2 KiB         4 KiB
//	Deflater, no context takeover                    0.2 KiB
//
// A whole idle connection that compresses with the defaults, including its goroutine's
// stack, in either role (TICKWIRE_FULL=1 go test -run F78IdleMemoryCompressed -v ./conn,
// 10,000 connections):
//
//	context takeover, after one message of 4 KiB      27 KiB
//	                  after many                      60 KiB
//	                  and with Config.ReleaseIdle     52 KiB
//	no context takeover                                7 KiB
//
// Both take memory with the first message, and hold only the used part of a window.
// Decoding tables and the compressor's other memory come from a pool that all
// connections share. A message borrows them until its end. A compressor may forget its
// history at any time. With Config.ReleaseIdle the compressor of an idle connection
// does. An Inflater may not: the peer may refer to the whole window. To limit that,
// agree on a smaller window, or on no context takeover.
package deflate
