// Package relay carries a feed over NATS JetStream to any number of WebSocket clients. A
// client that comes back, to whichever gateway, continues with the message after the last
// one it has: none is lost, none comes twice, and the order is kept.
//
//	feed ──▶ Ingester ──▶ stream (NATS JetStream) ──▶ Gateway ──▶ Client
//
// An [Ingester] appends a feed to a stream, many messages in one batch. A feed with
// numbers may have several, on different machines: if one dies another continues. A
// [Gateway] is an http.Handler that serves streams; there may be any number. A [Client]
// receives a stream from gateways, and keeps its [Position]. Connect and CreateStream
// prepare the connection and the stream. The command in cmd/relay runs each part.
//
// It is a module of its own, so that a program without a relay needs nothing of NATS in
// its go.mod.
//
// # What is promised
//
// A message that a stream has is delivered once and in order to each client, within an
// incarnation of the stream. That holds when a leader of the engine, an ingester, a
// gateway or a client is killed, or stopped for a while. A message that an ingester has
// received is in the stream once, unless a gap record in its place says why.
// Nothing is dropped in silence.
//
// # What is not promised
//
// README.md has the whole list. Its main points:
//
//   - An ingester that is killed loses what was not yet in the stream. With numbers the
//     other ingesters have it.
//   - A feed without numbers has one active ingester. If another takes over, a gap record
//     says so, and messages around it may be missing or there twice.
//   - The engine acknowledges a batch before it is on the disk. If all replicas die at
//     once, the last batches may be gone.
//   - When the leader of a stream is killed, the stream is silent for 4.7 to 9.0 s, by
//     constants of the engine. Ingesters keep the feed meanwhile, up to
//     Ingester.SpoolBytes.
//   - A stream keeps what StreamConfig allows. A client that comes back later gets a Gap
//     with Reason Expired, or ErrExpired if it is Strict.
//   - A stream that was deleted and made anew is another incarnation. Positions of the
//     old one are refused.
//
// # Positions
//
// The place of a record is the incarnation of the stream, the sequence of the batch and
// the index of the record in it: see [Position]. A position is no credential.
//
// # The batch format, version 1
//
// One message of the stream is one batch. AppendBatch makes it, and ParseBatch checks all
// of it. Integers are big-endian. A varint is an unsigned integer in groups of 7 bits,
// lowest first, as in package encoding/binary, and no longer than needed.
//
//	bytes  what
//	0–1    "TW"
//	2      version, 1
//	3      flags, 0
//	4–7    number of records, 1 to 65535
//	8–15   writer: identifies the ingester, at random anew for each Run
//	16–23  ordinal: records of this writer before the batch
//	24–31  first number in the batch; 0 in a feed without numbers
//	32–39  last number that is delivered or given up after the batch; 0 without numbers
//	40–43  era: how often the source restarted its numbers
//	44–47  CRC-32C of everything except these four bytes
//	48–    the records, one after the other, and nothing after them
//
// A record:
//
//	1 byte   kind: 1 text, 2 binary, 3 gap
//	varint   epoch: counts the ingester's connections to the source
//	varint   from: the first number of the message or of the gap; 0 without numbers
//	varint   how far the last number is after the first, modulo 2⁶⁴
//	8 bytes  when the ingester received it, in nanoseconds since 1970, signed
//	text and binary:
//	varint   length of the data
//	         the data; that of a text is UTF-8
//	gap:
//	1 byte   reason: 1 missing, 2 restarted, 3 disconnected, 4 overflowed, 5 taken over,
//	         6 too long
//
// The last number is not below the first, except in a gap with reason 2: there from is
// the number that was due, and the last one is the first of the new numbers. Such a gap
// is the first record of its batch.
//
// Limits: MaxRecords records; as many bytes as the engine takes in a message, 1 MiB by
// its default. An ingester fills batches up to Ingester.BatchBytes and BatchCount. A
// longer message has a batch of its own.
//
// Whatever breaks a rule is refused with a *BatchError, which matches ErrBatch and tells
// the rule and the offset: another version, flags or kind, a number of records out of
// range, a wrong checksum, a varint that is longer than needed, text that is not UTF-8,
// too few bytes or too many. So a version that adds something has another number, and an
// old reader refuses it instead of reading it wrongly.
//
// # The subprotocol
//
// PROTOCOL.md specifies what a Gateway and its clients say: [Subprotocol].
package relay
