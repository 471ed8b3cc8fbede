// Package redial is one logical client over many connections: a feed that does not stop.
//
// What a session is. One connection on which OnConnect has run is a session, and its number is the epoch. Every message carries
// its epoch, and none of an old epoch comes after the first of a new one. A session begins with nothing: what was subscribed or
// logged in is gone, and messages may have been missed. Session.GapBegan says since when, Session.Last why.
//
// What is retried. Client.Policy says it: with Persistent, the default, whatever may get better by itself; with Strict little
// more than failures of the network. Each attempt that fails lengthens the wait before the next one (Backoff), and a server's
// Retry-After is obeyed. No attempt takes longer than ConnectTimeout. OnChange hears of every step.
//
// How a subscription is confirmed. OnConnect subscribes on Session.Conn and waits for the answer with Session.Await: what
// crosses it on the way is kept and reaches the handler first, in order. A confirmed subscription can still be silent:
// Session.Watch gives it a clock, and Session.Alive, called for each of its messages, winds that clock. A session whose clock
// runs out is replaced like one that was lost.
//
// What the handler may do. It runs in the goroutine of Run, or in that of the
// Client.Poller, one message at a time, and
// may keep Message.Data until it returns. Through Message.Session it may look at the
// connection, read more from it, and write; Client.Send writes from any goroutine and
// Client.Reconnect ends the session from any goroutine. While the handler works nothing
// is read, so it must not wait for an answer by itself. An error that it returns ends
// Run, unless it wraps what only says that a connection of the Client has ended, can no
// longer be written, or is being replaced: the error of Client.Send or of a call of
// Session.Conn. That message then counts as handled, and the feed goes on. With Fatal
// such an error ends Run too.
//
// How to stop. End the context of Run, or return an error of its own from the handler, or
// leave the loop over Messages. Run then says goodbye to the server, waits CloseWait for
// the answer, and returns; nothing runs on, save a hook that does not return.
//
// Redundant lines. Lines runs several Clients that bring the same numbered feed and delivers each message once, in order, from the line
// that brings it first; what no line brings within a window is told as a gap. Arbiter does that without the Clients.
//
// Many clients on one loop. With Client.Poller the connections of any number of Clients are
// read by the goroutine of one conn.Poller, which calls all the handlers. Their Runs wait
// meanwhile, each in its goroutine.
//
// One goroutine reads, that of Run, Messages or the Poller; what OnConnect reads it reads in a
// goroutine of its own, before that. At most one dial is under way at any time, and at
// most one connection is open except during a rotation with Overlap. Only a hook that
// goes on after its context has ended can still run beside the next dial.
package redial
