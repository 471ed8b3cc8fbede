// Package deflate is permessage-deflate, the compression of WebSocket messages (RFC 7692): what the two sides agree on
// ([Config], [Params]), the [Inflater] for what comes and the [Deflater] for what goes.
//
// The Inflater is the package's own. It lives as long as the connection, keeps its window in place and says exactly where a
// message's last block ends, so that a cut message is never delivered as a shorter one. The compressor is
// klauspost/compress/flate: at about the same size of output it takes 0.6 to 0.8 of the CPU of the standard library's
// (go test -bench 'Deflate$' ./conn/deflate), and it can bound its window.
//
// # Risk
//
// Compression tells of a secret by the length of what is sent. If an attacker can choose a part of a message, or of a
// message before it in the same direction, and see the lengths on the wire, he can find out a secret in the same context byte
// by byte, TLS or not (the attacks called CRIME and BREACH; RFC 7692 §8). So do not compress where tokens, cookies or private
// messages stand beside what others may write. Public market data has no secret. Against it, for single messages: leave
// them uncompressed (conn.Conn.WriteUncompressed); for a side: no context takeover, which keeps messages apart from each
// other, though not the parts of one; for a connection: do not offer or accept the extension.
//
// What comes compressed can be far larger than it looks. The limit on a message's size is on the inflated bytes and always
// there; inflating stops at the byte that passes it, and until then has taken no more than the limit and 64 KiB, the window of
// context takeover included (76 KiB where the limit is under 12 KiB). Compressed bytes are inflated as they come, and not kept:
// conn.Conn.ReadMessage and TakeBatch hold that and the connection's read buffer (conn.Config.ReadBuffer, 64 KiB by default),
// however a message is cut into frames, and conn.Conn.NextReader never more than the window. Whatever is wrong, text that is not
// UTF-8 too, ends the connection with the bytes that show it, and does not wait for the rest of the message.
//
// A message over 32 KiB that is delivered is put together from parts at its end, and has both for that moment: one of two fifths
// of the limit still fits into the limit and 64 KiB, and one of the whole limit takes it twice.
//
// # When it pays
//
// A message of JSON as a market-data feed sends it, CPU in µs on each side and bytes on the wire, one machine
// (go test -run '^$' -bench Pays ./conn/deflate):
//
//	                               200 B                1000 B               8000 B
//	                       deflate inflate wire  deflate inflate wire  deflate inflate wire
//	takeover, level 1          7.3    0.39   54     14     5.2   393       63      24  2960
//	takeover, level 5          6.1    0.31   44     26     5.2   374      117      26  2873
//	takeover, level 9           26    0.44   38    233     5.0   335      991      22  2599
//	history of 2 KiB            14    0.35   49     45     5.6   376      117      26  2927
//	window of 10 bits          6.6    0.45   52     22     4.1   369       87      25  2785
//	no takeover                 11     1.9  124     26     5.8   430       86      28  2885
//
// A receiver of small messages pays a third of a microsecond to read a quarter of the bytes: on any network that is
// billed, shared or slower than some gigabits it pays. A sender pays twenty times that, for each connection: where the same
// message goes to many, prepare it once (conn.Prepare). Within a host, and for payloads that are compressed or random
// already, it does not pay. Small messages need context takeover: without it a message of 200 bytes saves little and costs
// more. Below DefaultThreshold messages go as they are, and the context is kept for the next.
//
// # Memory
//
// What an idle connection holds after a megabyte of feed (go test -run IdleMemory -v ./conn/deflate):
//
//	Inflater, context takeover, window of 15 bits     65 KiB
//	                                   12 bits         9 KiB
//	                                    9 bits         5 KiB
//	Inflater, no context takeover                    1.1 KiB
//	Deflater, context takeover, level 1              800 KiB
//	                            level 5, or a window 1.1 MiB
//	                            with History 2048      4 KiB
//	Deflater, no context takeover                    0.1 KiB
//
// Both take memory with the first message only, and hold no more of a window than has been used. Decoding tables, and
// compressors that no context binds, are lent for a message and shared by all connections.
package deflate
