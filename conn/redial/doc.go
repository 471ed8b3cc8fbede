// Package redial provides one logical client over many connections: a feed that does not
// stop.
//
// What a session is. A connection on which OnConnect has run is a session, and its number
// is the epoch. Every message has its epoch. No message of an old epoch comes after the
// first of a new one. A session starts from nothing: subscriptions and log-ins are gone,
// and messages may have been missed. Session.GapBegan says since when, and Session.Last
// why.
//
// What is retried. Client.Policy decides. Persistent, the default, retries everything
// that may improve by itself; Strict retries little more than network failures. Each
// failed attempt lengthens the wait before the next one (Backoff), and a server's
// Retry-After is obeyed. ConnectTimeout limits each attempt. OnChange is told of every
// step.
//
// How a subscription is confirmed. OnConnect subscribes on Session.Conn, and waits for
// the answer with Session.Await. Messages that come before the answer are kept, and reach
// the handler first, in order. A confirmed subscription can still be silent:
// Session.Watch gives it a clock, and Session.Alive, called for each of its messages,
// resets that clock. A session whose clock runs out is replaced like a lost one.
//
// What the handler may do. It runs in the goroutine of Run, or in that of the
// Client.Poller, one message at a time, and may use Message.Data until it returns.
// Through Message.Session it may inspect the connection, read more from it, and write.
// Client.Send writes from any goroutine, and Client.Reconnect ends the session from any
// goroutine. Nothing is read while the handler works, so it must not wait for an answer
// itself.
//
// An error that the handler returns ends Run, with one exception. It may be the error of
// Client.Send, or of a call on Session.Conn, and say only that a connection of the Client
// has ended, cannot be written, or is being replaced. Then the message counts as handled,
// and the feed continues. Wrapped with Fatal such an error ends Run too.
//
// How to stop. End the context of Run, return an error from the handler, or leave the
// loop over Messages. Run then says goodbye to the server, waits CloseWait for the
// answer, and returns. Nothing continues to run, except a hook that does not return.
//
// Redundant lines. Lines runs several Clients that bring the same numbered feed. It
// delivers each message once, in order, from the line that brings it first. Numbers that
// no line brings within a window are reported as a gap. Arbiter does the same without the
// Clients.
//
// Many clients on one loop. With Client.Poller the goroutine of one conn.Poller reads the
// connections of any number of Clients, and calls all their handlers. Each Run waits in
// its own goroutine meanwhile.
//
// One goroutine reads: that of Run, Messages or the Poller. What OnConnect reads it reads
// in its own goroutine, before that. At most one dial is in progress, and at most one
// connection is open except during a rotation with Overlap. Only a hook that continues
// after its context has ended can run during the next dial.
package redial
