// Package conformance tests any WebSocket server or client against RFC 6455 and RFC 7692.
// Each check has the number of the public suite's case that it follows, or of a
// requirement of this project.
//
// The package encodes and decodes every byte itself. It uses none of the engine's code,
// so a fault of the engine cannot hide itself.
//
// The agent under test echoes every message. TestServer connects to a server. A Listener
// waits for clients, which may know the public suite's paths.
package conformance
