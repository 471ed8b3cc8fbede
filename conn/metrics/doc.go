// Package metrics measures feeds: for Prometheus (package prom), for OpenTelemetry
// (package otelbridge), or for an exporter of your own (Set.Collect).
//
//	var set metrics.Set
//	err := set.Client("btc", client) // before client runs
//
// It is a separate module, so a program that does not measure does not need its
// dependencies. Use it from a checkout, like the root module:
//
//	go mod edit -replace github.com/seed-7f57ff33/tickwire=../tickwire
//	go mod edit -replace github.com/seed-7f57ff33/tickwire/conn/metrics=../tickwire/conn/metrics
//
// Measuring adds no cost to a message. The counters are the engine's own, and are read
// when an exporter asks. This package counts only rare events itself: ends, failed
// attempts, round trips and slow reads. It uses OnChange, OnConnect and conn.Observer.
//
// The number of series is bounded. No label has a URL, a key or a text from the peer.
// The program names feeds and groups. The peer chooses Close codes and statuses, so they
// are grouped. Close codes are the registered ones, 3xxx, 4xxx and other. Statuses are
// grouped by hundreds. A line of a feed has 35 series and a histogram, and at most 90
// more for its ends.
//
// These are the metrics, by their OpenTelemetry names. Prometheus has underscores instead
// of dots, and the unit and _total at the end of the name.
//
//   - tickwire.client.dials ({dial}; feed, line)
//     Attempts to connect that have begun.
//   - tickwire.client.failed_attempts ({attempt}; feed, line, reason)
//     Attempts that failed, in OnConnect too, by reason.
//   - tickwire.client.sessions ({session}; feed, line)
//     Connections on which OnConnect has succeeded.
//   - tickwire.client.rotations ({rotation}; feed, line)
//     Connections replaced at their MaxAge.
//   - tickwire.client.up ({session}; feed, line)
//     1 while there is a session, otherwise 0.
//   - tickwire.client.down.time (s; feed, line)
//     Time without a session while the client ran.
//   - tickwire.client.messages.delivered ({message}; feed, line)
//     Messages that the handler got.
//   - tickwire.client.messages.consumed ({message}; feed, line)
//     Messages that LifeSign consumed: answers and pings.
//   - tickwire.client.messages.sent ({message}; feed, line)
//     Messages sent by Send and LifeSign.
//   - tickwire.client.outbound.refused ({frame}; feed, line)
//     Messages, pings and pongs that Outbound refused.
//   - tickwire.conn.open ({connection}; feed, line)
//     Connections that are open.
//   - tickwire.conn.closed ({connection}; feed, line, side, code)
//     Ended connections, also without a session, by who ended them and the peer's code.
//   - tickwire.conn.messages ({message}; feed, line, direction)
//     Messages read and written.
//   - tickwire.conn.io (By; feed, line, direction)
//     Bytes read from and written to the transport.
//   - tickwire.conn.pings ({ping}; feed, line, direction)
//     Pings read and written.
//   - tickwire.conn.pongs ({pong}; feed, line, direction)
//     Pongs read and written.
//   - tickwire.conn.reads ({read}; feed, line)
//     Reads of the transport that returned bytes.
//   - tickwire.conn.waits ({wait}; feed, line)
//     Reads that found nothing and waited.
//   - tickwire.conn.writes ({write}; feed, line)
//     Writes to the transport.
//   - tickwire.conn.stamped_reads ({read}; feed, line)
//     Reads with a known receive lag (Config.Timestamps).
//   - tickwire.conn.receive_lag.time (s; feed, line)
//     Sum of the receive lags of stamped reads: the wait in the kernel.
//   - tickwire.conn.receive_lag.max (s; feed, line)
//     Longest receive lag of the connections that are open.
//   - tickwire.conn.receive_backlog.max (By; feed, line)
//     Most bytes that a read of an open connection left in the kernel.
//   - tickwire.conn.slow_reads ({event}; feed, line)
//     Times that this side was found to read too slowly (Observer.Slow).
//   - tickwire.conn.round_trip.duration (s; feed, line)
//     Round-trip time of pings.
//   - tickwire.arbiter.messages.delivered ({message}; feed)
//     Messages delivered in order, once each.
//   - tickwire.arbiter.messages.dropped ({message}; feed)
//     First copies that others, a snapshot or a reset cover.
//   - tickwire.arbiter.gaps ({gap}; feed)
//     Gaps: runs of numbers that no line delivered in time.
//   - tickwire.arbiter.forced_gaps ({gap}; feed)
//     Gaps declared before the window ended, because too much waited.
//   - tickwire.arbiter.numbers.missing ({number}; feed)
//     Numbers that are missing in gaps.
//   - tickwire.arbiter.restarts ({restart}; feed)
//     Times that the numbering restarted.
//   - tickwire.arbiter.waiting ({message}; feed)
//     Messages that wait for earlier numbers.
//   - tickwire.arbiter.waiting.size (By; feed)
//     Size of the messages that wait for earlier numbers.
//   - tickwire.arbiter.line.messages ({message}; feed, line, outcome)
//     Messages from a line, by outcome.
//   - tickwire.arbiter.line.filled ({message}; feed, line)
//     Messages from a line for which later ones waited.
//   - tickwire.group.connections ({connection}; group)
//     Connections in the group.
//   - tickwire.group.slow ({connection}; group)
//     Connections with queued bytes.
//   - tickwire.group.waiting.size (By; group)
//     Bytes queued for slow connections.
//   - tickwire.group.waiting.max (By; group)
//     Most bytes queued for one connection, bounded by Group.Lag.
//   - tickwire.group.removed ({connection}; group)
//     Connections ended because they were too slow.
package metrics
