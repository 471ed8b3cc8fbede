// Package conformance tries any WebSocket server, or any client, against RFC 6455 and
// RFC 7692. Each check has a number: that of the public suite whose description it
// follows, or of a requirement of this project. It works on octets: what goes out and
// what comes is encoded and decoded here, by none of the engine's code, so that a fault
// of the engine cannot hide itself.
//
// The agent sends every message back. TestServer connects to a server; a Listener waits
// for clients, which may know the public suite's paths.
package conformance
